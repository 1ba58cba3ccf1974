//! This module lists the files that belong to the workspace.

use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

/// Names folders that hold nothing anyone wrote, for a copy of the workspace without git.
const GENERATED: &[&str] = &[".git", "runs", "target"];

/// Returns the files that git tracks or would track after `git add`; in a copy without git, all
/// files outside of [`GENERATED`]. The paths start at the folder of the workspace and hold `/`.
pub fn files(sh: &Shell) -> Result<Vec<String>> {
    let mut files = Vec::new();
    if sh.path_exists(".git") {
        let listed =
            cmd!(sh, "git ls-files -z --cached --others --exclude-standard").quiet().read()?;
        files.extend(listed.split('\0').filter(|path| !path.is_empty()).map(String::from));
    } else {
        walk(sh, "", &mut files)?;
    }
    // git also lists what was just deleted
    files.retain(|path| sh.current_dir().join(path).is_file());
    Ok(files)
}

fn walk(sh: &Shell, folder: &str, files: &mut Vec<String>) -> Result<()> {
    for path in sh.read_dir(Path::new(".").join(folder))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if GENERATED.contains(&&*name) {
            continue;
        }
        let below = if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") };
        if sh.current_dir().join(&path).is_dir() {
            walk(sh, &below, files)?;
        } else {
            files.push(below);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_without_git_has_the_same_files_less_what_was_generated() {
        let sh = Shell::new().unwrap();
        let folder = sh.create_temp_dir().unwrap();
        sh.change_dir(folder.path());
        for path in ["Cargo.toml", "crates/a/src/lib.rs", "target/debug/x", "runs/x"] {
            sh.write_file(path, "").unwrap();
        }
        assert_eq!(files(&sh).unwrap(), ["Cargo.toml", "crates/a/src/lib.rs"]);
    }
}
