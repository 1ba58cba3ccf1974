//! Two files of a crate never import each other, directly or through others: whoever reads one file
//! then knows which files come before it. A module and the modules below it may know each other.
//!
//! [`modules`] reads `use` statements and paths, [`circles`] searches the graph that they make.

mod circles;
mod modules;

use std::collections::BTreeMap;

use anyhow::Result;

use super::source::Source;
use super::{Problem, Workspace};

/// Which file imports which, by index, with the line of the first import.
type Graph = Vec<BTreeMap<usize, usize>>;

/// Checks every crate.
pub fn have_no_circle(workspace: &Workspace<'_>) -> Result<Vec<Problem>> {
    Ok(problems(&workspace.files))
}

fn problems(files: &[Source]) -> Vec<Problem> {
    let mut crates: BTreeMap<String, Vec<&Source>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        if let Some(root) = root_of(&file.path) {
            crates.entry(root).or_default().push(file);
        }
    }
    crates.iter().flat_map(|(root, files)| problems_of_crate(root, files)).collect()
}

/// Returns the folder that the modules of a file's crate stand in, if the file belongs to a crate.
fn root_of(path: &str) -> Option<String> {
    let (package, _) = path.split_once("/src/")?;
    let is_package = package == "xtask" || package.strip_prefix("crates/")?.split('/').count() == 1;
    is_package.then(|| format!("{package}/src/"))
}

fn problems_of_crate(root: &str, files: &[&Source]) -> Vec<Problem> {
    let graph = modules::graph(root, files);
    let mut problems = vec![];
    for group in circles::groups(&graph) {
        let circle = circles::shortest(&graph, &group);
        let names = |indices: &[usize]| {
            indices.iter().map(|index| &files[*index].path[root.len()..]).collect::<Vec<_>>()
        };
        let line_of = |from: usize, to: usize| graph[from].get(&to).copied().unwrap_or(1);
        let mut message = "files import each other: ".to_owned();
        for (index, from) in circle.iter().enumerate() {
            let to = circle[(index + 1) % circle.len()];
            message += &format!("{} (line {}) -> ", names(&[*from])[0], line_of(*from, to));
        }
        message += names(&circle)[0];
        if group.len() > circle.len() {
            message += &format!(
                "; through others it holds {} files: {}",
                group.len(),
                names(&group).join(", ")
            );
        }
        message += "; wanted what several of them need in a file that imports none of them";
        let next = circle.get(1).copied().unwrap_or(circle[0]);
        problems.push(Problem::new(&files[circle[0]].path, line_of(circle[0], next), message));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], wanted: &[&str]) {
        let mut files: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(format!("crates/mm-a/src/{path}"), *text))
            .collect();
        if !files.iter().any(|file| file.path.ends_with("lib.rs")) {
            files.push(Source::new("crates/mm-a/src/lib.rs", "//! A.\n"));
        }
        let found: Vec<String> = problems(&files).iter().map(Problem::to_string).collect();
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.starts_with(&format!("crates/mm-a/src/{wanted}")), "{found}");
        }
    }

    #[test]
    fn two_files_that_import_each_other_are_named_with_their_lines() {
        check(
            &[
                ("lib.rs", "mod a;\nmod b;\n"),
                ("a.rs", "//! A.\n\nuse crate::b::B;\n"),
                ("b.rs", "fn f() -> super::a::A {}\n"),
            ],
            &["a.rs:3: files import each other: a.rs (line 3) -> b.rs (line 1) -> a.rs; wanted"],
        );
    }

    #[test]
    fn the_shortest_circle_is_named_and_then_all_files_that_it_holds() {
        check(
            &[
                ("a.rs", "use crate::b::B;\n"),
                ("b.rs", "use crate::c::C;\n"),
                ("c.rs", "use crate::a::A;\nuse crate::d::D;\n"),
                ("d.rs", "use crate::c::C;\n"),
                ("e.rs", "use crate::a::A;\n"),
            ],
            &["c.rs:2: files import each other: c.rs (line 2) -> d.rs (line 1) -> c.rs; through \
               others it holds 4 files: a.rs, b.rs, c.rs, d.rs; wanted"],
        );
    }

    #[test]
    fn a_name_of_the_root_stands_for_the_file_that_defines_it() {
        check(
            &[
                ("lib.rs", "mod a;\nmod b;\npub use a::{A, f as g};\npub use b::*;\n"),
                ("a.rs", "use crate::B;\n"),
                ("b.rs", "pub struct B;\nfn h() { crate::g() }\n"),
            ],
            &["a.rs:1: files import each other: a.rs (line 1) -> b.rs (line 2) -> a.rs"],
        );
    }

    #[test]
    fn a_module_and_those_below_it_may_know_each_other() {
        check(
            &[
                ("lib.rs", "mod a;\nuse a::A;\n"),
                ("a.rs", "mod b;\nuse b::B;\nuse crate::Root;\n"),
                ("a/b.rs", "use super::A;\n"),
            ],
            &[],
        );
    }

    #[test]
    fn tests_comments_and_strings_import_nothing() {
        check(
            &[
                ("a.rs", "use crate::b::B;\n"),
                (
                    "b.rs",
                    "//! [`crate::a::A`]\n// crate::a\nconst A: &str = \"crate::a::A\";\n\
                     #[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
                ),
                ("b/tests.rs", "use crate::a::A;\n"),
            ],
            &[],
        );
    }

    #[test]
    fn a_block_of_a_file_is_a_module_of_its_own() {
        check(
            &[
                ("a.rs", "mod inner {\n    use super::super::b::B;\n    use super::A;\n}\n"),
                ("b.rs", "use crate::a::A;\n"),
            ],
            &["a.rs:2: files import each other: a.rs (line 2) -> b.rs (line 1) -> a.rs"],
        );
    }

    #[test]
    fn a_re_export_of_a_third_file_leads_to_the_file_that_defines_the_name() {
        check(
            &[
                ("a.rs", "mod deep;\npub use deep::*;\npub(crate) use crate::c::C;\n"),
                ("a/deep.rs", "use crate::b::B;\npub fn f() {}\n"),
                ("b.rs", "use crate::a::{C, f};\n"),
                ("c.rs", "pub struct C;\n"),
            ],
            &[
                "a/deep.rs:1: files import each other: a/deep.rs (line 1) -> b.rs (line 1) -> a/deep.rs",
            ],
        );
    }
}
