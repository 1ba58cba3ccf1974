//! Checks of any file by itself: its opening, its length, words that must not stand in it.

use super::{Problem, code};

/// More lines than this are more than one idea.
const MOST_LINES: usize = 400;

/// Forbidden in code, and what to do instead. Written in halves, because this file is checked as well.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("#[", "ignore"), "a test that is not run proves nothing: mend it or delete it"),
    (
        concat!("#[", "should_panic"),
        "return an error and compare its message, or test what must not panic",
    ),
    (concat!("dbg", "!"), "take the debugging line out"),
    (concat!("todo", "!"), "write it, or leave the function out"),
    (concat!("unimplemented", "!"), "write it, or leave the function out"),
];

/// What panics where the reader of its stream went away.
const PANICKING: &[&str] = &["print!", "println!", "eprint!", "eprintln!"];

/// Folders of one machine; `%` stands for the slash, because this file is checked as well.
const MACHINE_FOLDERS: &[&str] = &["%work", "%root", "%home", "%Users"];

/// Every source file opens with a sentence about itself.
pub fn opens_with_what_it_is(path: &str, text: &str) -> Vec<Problem> {
    if !path.ends_with(".rs") || text.starts_with("//!") {
        return Vec::new();
    }
    vec![Problem::new(path, 1, "the file must open with `//!` and say what it is for")]
}

/// A source file fits in a reader's head.
pub fn is_short(path: &str, text: &str) -> Vec<Problem> {
    let lines = text.lines().count();
    if !path.ends_with(".rs") || lines <= MOST_LINES {
        return Vec::new();
    }
    vec![Problem::new(
        path,
        lines,
        format!("{lines} lines, {MOST_LINES} are allowed: split it by ideas"),
    )]
}

/// No file names a folder that only one machine has.
pub fn names_no_machine(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for folder in MACHINE_FOLDERS.iter().map(|folder| folder.replace('%', "/")) {
            if names_folder(line, &folder) {
                let wanted = format!(
                    "`{folder}` exists on one machine: write the path from the workspace's folder"
                );
                problems.push(Problem::new(path, index + 1, wanted));
            }
        }
    }
    problems
}

/// Whether an absolute path in `line` begins with `folder`: `rest/of/a/path` and `~/x` are none.
fn names_folder(line: &str, folder: &str) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
    line.match_indices(folder).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + folder.len()..]);
        let begins = !before.ends_with(|letter: char| inside(letter) || "~/}>*)".contains(letter));
        begins
            && !after.starts_with(|letter: char| letter.is_alphanumeric() || "_-".contains(letter))
    })
}

/// No macro or attribute that leaves work undone.
pub fn has_no_forbidden_word(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if path.ends_with(".rs") {
        for (number, line) in code::lines(text) {
            let found = FORBIDDEN.iter().filter(|(word, _)| code::has_word(line, word));
            problems.extend(
                found.map(|(word, instead)| {
                    Problem::new(path, number, format!("`{word}`: {instead}"))
                }),
            );
        }
    }
    problems
}

/// A reader that goes away (`mm train 2>&1 | head`) ends no work: the program has macros of its own, libraries print nothing.
pub fn prints_without_panics(path: &str, text: &str) -> Vec<Problem> {
    let shipped = path.starts_with("crates/") && path.contains("/src/") && path.ends_with(".rs");
    if !shipped || code::is_test(path) {
        return Vec::new();
    }
    let panicking = |line: &str| PANICKING.iter().find(|word| code::has_word(line, word));
    let wanted = |word| {
        format!(
            "`{word}` panics when its reader is gone: `say!` and `tell!` of `mm-cli` do not, and a library prints nothing"
        )
    };
    code::shipped_lines(text)
        .filter_map(|(number, line)| Some(Problem::new(path, number, wanted(panicking(line)?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_file_without_an_opening_sentence_is_named() {
        assert!(opens_with_what_it_is("a.rs", "//! Says it.\n").is_empty());
        assert!(opens_with_what_it_is("a.md", "# Title\n").is_empty());
        let problems = opens_with_what_it_is("a.rs", "use b;\n");
        assert_eq!(
            problems[0].to_string(),
            "a.rs:1: the file must open with `//!` and say what it is for"
        );
    }

    #[test]
    fn the_four_hundred_and_first_line_is_one_too_many() {
        assert!(is_short("a.rs", &"x\n".repeat(400)).is_empty());
        assert!(is_short("a.json", &"x\n".repeat(401)).is_empty());
        assert_eq!(is_short("a.rs", &"x\n".repeat(401))[0].line, 401);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_relative_one_is_not() {
        let check =
            |line: &str| names_no_machine("a.md", &format!("first\n{}", line.replace('%', "/")));
        for line in ["see %work%main", "\"%root\"", "cd %home%me", "(%Users%me%x)", "%work"] {
            assert_eq!(check(line).len(), 1, "{line}");
            assert_eq!(check(line)[0].line, 2);
        }
        for line in [
            ".github%workflows",
            "some%work",
            "https:%%a.org%home",
            "%workers",
            "~%work",
            "../%work",
        ] {
            assert!(check(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn each_forbidden_word_is_found_in_code_but_not_in_comments() {
        for (word, _) in FORBIDDEN {
            let text = format!("//! {word} is named here.\nfn f() {{}} // {word}\n    {word}(x)\n");
            let problems = has_no_forbidden_word("a.rs", &text);
            assert_eq!(
                problems.iter().map(|problem| problem.line).collect::<Vec<_>>(),
                [3],
                "{word}"
            );
            assert!(has_no_forbidden_word("a.md", &text).is_empty());
        }
    }

    #[test]
    fn what_panics_without_a_reader_is_found_in_crates_and_is_free_in_tests_and_automation() {
        let text = "//! println!\nprintln!(\"a\");\nsay!(\"b\");\n#[cfg(test)]\nmod tests {\n    print!(\"c\");\n}\nf(|| eprintln!());\n";
        let lines = |path: &str| -> Vec<usize> {
            prints_without_panics(path, text).iter().map(|problem| problem.line).collect()
        };
        assert_eq!(lines("crates/mm-cli/src/commands/train.rs"), [2, 8]);
        for path in ["crates/mm-cli/tests/cli/main.rs", "crates/a/src/b/tests.rs", "xtask/src/a.rs"]
        {
            assert!(lines(path).is_empty(), "{path}");
        }
    }
}
