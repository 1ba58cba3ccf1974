//! The top level of the workspace is what a newcomer sees first: it holds the crates, the
//! documents, the tests, the automation, and the files that every project has.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Problem, Workspace};

const FOLDERS: &[&str] = &[".cargo", ".ci", ".github", "crates", "docs", "tests", "xtask"];

const FILES: &[&str] = &[
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
    "typos.toml",
];

/// Checks that the top level has no other folder and no other file.
pub fn holds_the_customary_names(workspace: &Workspace<'_>) -> Result<Vec<Problem>> {
    Ok(breaches(workspace.files.iter().map(|file| file.path.as_str())))
}

/// Returns a breach for every unknown name, with the first file below it.
fn breaches<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<Problem> {
    let mut unknown: BTreeMap<&str, &str> = BTreeMap::new();
    for path in paths {
        match path.split_once('/') {
            Some((folder, _)) if !FOLDERS.contains(&folder) => {
                unknown.entry(folder).or_insert(path);
            }
            None if !FILES.contains(&path) => {
                unknown.insert(path, path);
            }
            _ => {}
        }
    }
    let message = |name: &str| {
        format!("`{name}` stands at the top level, wanted a place in {}", FOLDERS.join(", "))
    };
    unknown.into_iter().map(|(name, path)| Problem::new(path, 1, message(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncustomary_name_is_found_once() {
        let paths = ["README.md", "bench/a.py", "bench/b.py", "crates/bench/a.rs", "notes.txt"];
        let found: Vec<String> =
            breaches(paths.into_iter()).iter().map(Problem::to_string).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("bench/a.py:1: `bench` stands at the top level"), "{found:?}");
        assert!(found[1].starts_with("notes.txt:1: `notes.txt`"), "{found:?}");
    }
}
