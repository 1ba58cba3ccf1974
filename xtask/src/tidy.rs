//! `cargo xtask tidy` checks the rules of the workspace that no compiler knows. A test below runs
//! them too, so that plain `cargo test` holds them.
//!
//! A check of one file is a function of its path and text, without any access to files; a check of
//! the whole workspace sees all files and what cargo says about the crates. Mend the code rather
//! than a table here: whoever widens one of them says why in the commit.

mod backends;
mod docs;
mod edges;
mod functions;
mod imports;
mod lexer;
mod links;
mod manifest;
mod matches;
mod paths;
mod places;
mod signatures;
mod source;
mod tensors;
mod text;
mod top_level;
mod width;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::flags;
use source::Source;

/// A breach of a rule, at a place an editor can jump to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    path: String,
    line: usize,
    /// Says what was found and what is wanted.
    message: String,
}

impl Problem {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// What the rules look at.
struct Workspace<'a> {
    sh: &'a Shell,
    files: Vec<Source>,
    /// Is the answer of `cargo metadata --no-deps`.
    metadata: Value,
}

/// How a rule is checked.
enum Check {
    File(fn(&Source) -> Vec<Problem>),
    Workspace(fn(&Workspace<'_>) -> Result<Vec<Problem>>),
}

/// A rule, as `--rule` names it.
struct Rule {
    name: &'static str,
    /// Says in one sentence what must be true.
    says: &'static str,
    check: Check,
}

const RULES: &[Rule] = &[
    Rule {
        name: "opening",
        says: "Every source file opens with a sentence about itself.",
        check: Check::File(text::opens_with_what_it_is),
    },
    Rule {
        name: "length",
        says: "A source file has at most 600 lines.",
        check: Check::File(text::is_short),
    },
    Rule {
        name: "machine",
        says: "No file names a folder that only one machine has.",
        check: Check::File(text::names_no_machine),
    },
    Rule {
        name: "forbidden",
        says: "No macro or attribute leaves work undone.",
        check: Check::File(text::has_no_forbidden_word),
    },
    Rule {
        name: "prints",
        says: "The program ends no work because the reader of its output went away.",
        check: Check::File(text::prints_without_panics),
    },
    Rule {
        name: "axes",
        says: "A public function with tensors documents their axes.",
        check: Check::File(tensors::documents_its_axes),
    },
    Rule {
        name: "features",
        says: "Code depends on a cargo feature only in a few known places.",
        check: Check::File(places::features_are_asked_in_few_places),
    },
    Rule {
        name: "files",
        says: "Code reads and writes files only in a few known places.",
        check: Check::File(places::files_are_touched_in_few_places),
    },
    Rule {
        name: "unsafe",
        says: "Code is unsafe only in a few known places, and every other crate forbids it.",
        check: Check::File(places::code_is_unsafe_in_few_places),
    },
    Rule {
        name: "manifest",
        says: "Every package takes its license and its oldest compiler from the workspace.",
        check: Check::File(manifest::shares_the_workspaces_settings),
    },
    Rule {
        name: "burn-features",
        says: "Only the program names features of Burn.",
        check: Check::File(manifest::leaves_backends_to_the_program),
    },
    Rule {
        name: "backends",
        says: "No library links a backend.",
        check: Check::Workspace(backends::stay_out_of_libraries),
    },
    Rule {
        name: "edges",
        says: "A crate depends only on crates of lower floors.",
        check: Check::Workspace(edges::follow_the_floors),
    },
    Rule {
        name: "top-level",
        says: "The top level holds the crates, the documents and the customary files alone.",
        check: Check::Workspace(top_level::holds_the_customary_names),
    },
    Rule {
        name: "imports",
        says: "No two files of a crate import each other, directly or through others.",
        check: Check::Workspace(imports::have_no_circle),
    },
    Rule {
        name: "signatures",
        says: "Parameters and results have names: no tuple or array patterns, no long tuples.",
        check: Check::File(signatures::have_names),
    },
    Rule {
        name: "match-bool",
        says: "A choice between two cases is an `if`, not a `match` on a bool.",
        check: Check::File(matches::are_not_on_a_bool),
    },
    Rule {
        name: "docs",
        says: "A doc comment is made of sentences.",
        check: Check::File(docs::are_sentences),
    },
    Rule {
        name: "width",
        says: "A comment has at most 100 columns.",
        check: Check::File(width::is_at_most_100_columns),
    },
    Rule {
        name: "words",
        says: "Code and documents use the words of docs/glossary.md.",
        check: Check::File(words::are_those_of_the_glossary),
    },
    Rule {
        name: "links",
        says: "A relative link in a document leads to a file and a heading that exist.",
        check: Check::Workspace(links::lead_somewhere),
    },
];

/// The breaches of one rule.
struct Breaches {
    rule: &'static Rule,
    problems: Vec<Problem>,
}

impl flags::Tidy {
    /// Prints every breach by rule and then their counts by crate; fails if there is a breach.
    pub fn run(&self, sh: &Shell) -> Result<()> {
        let all = check(sh, self.rule.as_deref(), self.path.as_deref())?;
        for Breaches { rule, problems } in all.iter().filter(|of| !of.problems.is_empty()) {
            println!("== {}: {}", rule.name, rule.says);
            for problem in problems {
                println!("{problem}");
            }
        }
        match all.iter().map(|of| of.problems.len()).sum() {
            0 => println!("{}", praise(self.rule.as_deref(), self.path.as_deref())),
            count => {
                println!("\n{}", counts(&all));
                bail!("{count} breaches of the rules of the workspace");
            }
        }
        Ok(())
    }
}

/// Returns the links of documents that lead nowhere, each with its file and line.
pub fn broken_links(sh: &Shell) -> Result<Vec<String>> {
    let all = check(sh, Some("links"), None)?;
    Ok(all.iter().flat_map(|of| &of.problems).map(Problem::to_string).collect())
}

/// Says what was checked where nothing was found.
fn praise(rule: Option<&str>, path: Option<&Path>) -> String {
    let place = path.map_or("the workspace".to_owned(), |path| format!("`{}`", path.display()));
    match rule {
        Some(rule) => format!("{place} follows the rule `{rule}`"),
        None => format!("{place} is tidy"),
    }
}

/// Checks all rules or one, and keeps the breaches of all paths or of those below one.
fn check(sh: &Shell, rule: Option<&str>, path: Option<&Path>) -> Result<Vec<Breaches>> {
    let wanted = |other: &&Rule| rule.is_none_or(|rule| rule == other.name);
    let rules: Vec<&'static Rule> = RULES.iter().filter(wanted).collect();
    if rules.is_empty() {
        let names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        bail!("no rule is called `{}`, there are {}", rule.unwrap_or_default(), names.join(", "));
    }
    let below = path.map(|path| path.to_string_lossy().replace('\\', "/"));
    let below = below.as_deref().map(|path| path.trim_start_matches("./").trim_end_matches('/'));
    let workspace = Workspace { sh, files: files(sh)?, metadata: metadata(sh)? };
    if let Some(below) = below
        && !workspace.files.iter().any(|file| is_below(&file.path, below))
    {
        bail!("`--path {below}` holds no file of the workspace");
    }
    let mut all = vec![];
    for rule in rules {
        let mut problems = match rule.check {
            Check::File(check) => workspace.files.iter().flat_map(check).collect(),
            Check::Workspace(check) => check(&workspace)?,
        };
        problems.retain(|problem| below.is_none_or(|below| is_below(&problem.path, below)));
        problems.sort();
        all.push(Breaches { rule, problems });
    }
    Ok(all)
}

/// Says whether `path` is `place` or stands below it.
fn is_below(path: &str, place: &str) -> bool {
    place == "."
        || path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Reads the files of the workspace that are text.
fn files(sh: &Shell) -> Result<Vec<Source>> {
    let mut files = vec![];
    for path in paths::files(sh)? {
        let bytes = sh.read_binary_file(Path::new(&path))?;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        files.push(Source::new(path, text));
    }
    Ok(files)
}

fn metadata(sh: &Shell) -> Result<Value> {
    let metadata = cmd!(sh, "cargo metadata --no-deps --format-version 1").quiet().read()?;
    Ok(serde_json::from_str(&metadata)?)
}

/// Returns the part of the workspace that a path belongs to: a crate, or a folder of the top level.
fn part_of(path: &str) -> &str {
    let mut folders = path.split('/');
    match (folders.next(), folders.next(), folders.next()) {
        (Some("crates"), Some(name), _) => name,
        (Some(folder), Some(_), _) => folder,
        _ => "top",
    }
}

/// Draws a table: a line for every rule that is broken, a column for every part of the workspace.
fn counts(all: &[Breaches]) -> String {
    let broken = || all.iter().filter(|of| !of.problems.is_empty());
    let parts: BTreeSet<&str> =
        broken().flat_map(|of| &of.problems).map(|problem| part_of(&problem.path)).collect();
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    let mut table = format!("{:14}", "rule");
    for part in &parts {
        table += &format!(" {part:>width$}", width = part.len().max(6));
    }
    table += "  together\n";
    let mut row = |name: &str, counts: &BTreeMap<&str, usize>| {
        let _ = write!(table, "{name:14}");
        for part in &parts {
            let count = counts.get(part).copied().unwrap_or_default();
            let shown = if count == 0 { "-".to_owned() } else { count.to_string() };
            let _ = write!(table, " {shown:>width$}", width = part.len().max(6));
        }
        let _ = writeln!(table, " {:>9}", counts.values().sum::<usize>());
    };
    for Breaches { rule, problems } in broken() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for problem in problems {
            *counts.entry(part_of(&problem.path)).or_default() += 1;
            *totals.entry(part_of(&problem.path)).or_default() += 1;
        }
        row(rule.name, &counts);
    }
    row("together", &totals);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let sh = Shell::new().unwrap();
        sh.change_dir(crate::root().unwrap());
        let all = check(&sh, None, None).unwrap();
        let lines = |of: &Breaches| -> Vec<String> {
            of.problems.iter().map(|problem| format!("{}: {problem}", of.rule.name)).collect()
        };
        let problems: Vec<String> = all.iter().flat_map(lines).collect();
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    }

    #[test]
    fn every_bracket_of_the_workspace_has_its_partner() {
        let sh = Shell::new().unwrap();
        sh.change_dir(crate::root().unwrap());
        for file in files(&sh).unwrap() {
            for index in 0..file.tokens.len() {
                let is_bracket = ["(", "[", "{", ")", "]", "}"].contains(&file.word(index));
                let is_alone = is_bracket && file.partner(index) == index;
                assert!(!is_alone, "{}:{}: {}", file.path, file.line(index), file.word(index));
            }
        }
    }

    #[test]
    fn a_rule_or_a_path_that_does_not_exist_is_refused_by_name() {
        let sh = Shell::new().unwrap();
        sh.change_dir(crate::root().unwrap());
        let error = check(&sh, Some("sloppiness"), None).err().unwrap().to_string();
        assert!(error.starts_with("no rule is called `sloppiness`, there are opening,"), "{error}");
        let error = check(&sh, Some("opening"), Some(Path::new("crates/x"))).err().unwrap();
        assert_eq!(error.to_string(), "`--path crates/x` holds no file of the workspace");
    }

    #[test]
    fn a_path_is_below_a_folder_and_not_below_one_whose_name_only_begins_alike() {
        assert!(is_below("crates/mm-a/src/lib.rs", "crates/mm-a"));
        assert!(is_below("crates/mm-a/src/lib.rs", "crates/mm-a/src/lib.rs"));
        assert!(is_below("README.md", "."));
        assert!(!is_below("crates/mm-ab/src/lib.rs", "crates/mm-a"));
    }

    #[test]
    fn the_counts_have_a_line_for_every_broken_rule_and_a_column_for_every_part() {
        let of = |rule: usize, paths: &[&str]| Breaches {
            rule: &RULES[rule],
            problems: paths.iter().map(|path| Problem::new(path, 1, "x")).collect(),
        };
        let all = [
            of(0, &["crates/mm-a/src/lib.rs", "crates/mm-a/src/b.rs", "tests/a.rs"]),
            of(1, &[]),
            of(2, &["README.md", "tests/a.rs"]),
        ];
        let wanted = "
rule             mm-a  tests    top  together
opening             2      1      -         3
machine             -      1      1         2
together            2      2      1         5
";
        assert_eq!(format!("\n{}", counts(&all)), wanted);
    }
}
