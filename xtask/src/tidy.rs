//! `cargo xtask tidy`: the rules of the workspace that no compiler knows. A test below runs them too, so that plain
//! `cargo test` holds them.
//!
//! A check of one file is a function of its path and text, without any access to files; the checks of the whole
//! workspace ([`edges`], [`backends`]) read what cargo says about it. Mend the code rather than the table or the list
//! of places here: whoever widens one of them says why in the commit.

mod backends;
mod code;
mod edges;
mod manifest;
mod paths;
mod places;
mod tensors;
mod text;

use std::{fmt, path::Path};

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::flags;

/// Which crates of the workspace a crate may name in `[dependencies]`.
#[derive(Debug, Clone, Copy)]
enum Edges {
    /// These, all of them.
    Exactly(&'static [&'static str]),
    /// None but these.
    AtMost(&'static [&'static str]),
    /// Whatever it likes.
    Any,
}

/// The crate edges that `docs/architecture.md` draws.
const EDGES: &[(&str, Edges)] = &[
    ("mm-patch", Edges::Exactly(&[])),
    ("mm-kernels", Edges::Exactly(&[])),
    ("mm-backbone", Edges::Exactly(&["mm-kernels"])),
    ("mm-diffusion", Edges::Exactly(&[])),
    ("mm-text", Edges::Exactly(&[])),
    (
        "mm-model",
        Edges::Exactly(&["mm-backbone", "mm-diffusion", "mm-kernels", "mm-patch", "mm-text"]),
    ),
    (
        "mm-train",
        Edges::Exactly(&[
            "mm-backbone",
            "mm-diffusion",
            "mm-kernels",
            "mm-model",
            "mm-patch",
            "mm-text",
        ]),
    ),
    (
        "mm-serve",
        Edges::AtMost(&["mm-backbone", "mm-diffusion", "mm-model", "mm-patch", "mm-text"]),
    ),
    ("mm-cli", Edges::Any),
    ("mm-tests", Edges::Exactly(&[])), // all it needs is a dev-dependency
    ("xtask", Edges::Exactly(&[])),
];

/// A breach of a rule, at a place an editor can jump to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    path: String,
    line: usize,
    wanted: String,
}

impl Problem {
    fn new(path: &str, line: usize, wanted: impl Into<String>) -> Self {
        Self { path: path.into(), line, wanted: wanted.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.wanted)
    }
}

/// A check of one file: `/`-separated path from the workspace's folder, and text.
type Check = fn(&str, &str) -> Vec<Problem>;

const CHECKS: &[Check] = &[
    text::opens_with_what_it_is,
    text::is_short,
    text::names_no_machine,
    text::has_no_forbidden_word,
    text::prints_without_panics,
    tensors::documents_its_axes,
    places::features_are_asked_in_few_places,
    places::files_are_touched_in_few_places,
    manifest::shares_the_workspaces_settings,
    manifest::leaves_backends_to_the_program,
];

impl flags::Tidy {
    /// Prints every breach; fails if there is one.
    pub fn run(&self, sh: &Shell) -> Result<()> {
        let problems = problems(sh)?;
        for problem in &problems {
            println!("{problem}");
        }
        match problems.len() {
            0 => println!("the workspace is tidy"),
            1 => bail!("one breach of the workspace's rules"),
            many => bail!("{many} breaches of the workspace's rules"),
        }
        Ok(())
    }
}

/// All breaches, in the order of files and lines.
fn problems(sh: &Shell) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for path in paths::files(sh)? {
        let bytes = sh.read_binary_file(Path::new(&path))?;
        let Ok(text) = String::from_utf8(bytes) else { continue }; // not a text
        problems.extend(CHECKS.iter().flat_map(|check| check(&path, &text)));
    }
    let metadata = cmd!(sh, "cargo metadata --no-deps --format-version 1").quiet().read()?;
    let metadata = serde_json::from_str(&metadata)?;
    problems.extend(edges::equal_the_table(&metadata, EDGES)?);
    problems.extend(backends::stay_out_of_libraries(sh, &metadata)?);
    problems.sort();
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let sh = Shell::new().unwrap();
        sh.change_dir(crate::root().unwrap());
        let problems: Vec<String> = problems(&sh).unwrap().iter().map(Problem::to_string).collect();
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    }
}
