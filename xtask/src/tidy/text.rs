//! These checks look at any file by itself: its opening, its length, words that must not stand in
//! it.

use super::Problem;
use super::source::Source;

/// More lines than this are more than one idea.
const MOST_LINES: usize = 600;

/// Holds what is forbidden in code, and what to do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("# [ ignore", "a test that is not run proves nothing: mend it or delete it"),
    ("# [ should_panic", "return an error and compare its message, or test what must not panic"),
    ("dbg !", "take the debugging line out"),
    ("todo !", "write it, or leave the function out"),
    ("unimplemented !", "write it, or leave the function out"),
];

/// Names the macros that panic where the reader of their stream went away.
const PANICKING: &[&str] = &["print !", "println !", "eprint !", "eprintln !"];

/// Names folders of one machine; `%` stands for the slash, because this file is checked as well.
const MACHINE_FOLDERS: &[&str] = &["%work", "%root", "%home", "%Users"];

/// Checks that a source file opens with a sentence about itself.
pub fn opens_with_what_it_is(source: &Source) -> Vec<Problem> {
    if !source.is_rust() || source.text.starts_with("//!") {
        return vec![];
    }
    let first = source.text.lines().next().unwrap_or_default();
    let message = format!("the file opens with `{first}`, wanted `//!` and what the file is for");
    vec![Problem::new(&source.path, 1, message)]
}

/// Checks that a source file fits in the head of its reader.
pub fn is_short(source: &Source) -> Vec<Problem> {
    let lines = source.text.lines().count();
    if !source.is_rust() || lines <= MOST_LINES {
        return vec![];
    }
    let message = format!("{lines} lines, wanted {MOST_LINES} at most: split the file by ideas");
    vec![Problem::new(&source.path, lines, message)]
}

/// Checks that no file names a folder that only one machine has.
pub fn names_no_machine(source: &Source) -> Vec<Problem> {
    let mut problems = vec![];
    let folders: Vec<String> =
        MACHINE_FOLDERS.iter().map(|folder| folder.replace('%', "/")).collect();
    for (index, line) in source.text.lines().enumerate() {
        for folder in folders.iter().filter(|folder| names_folder(line, folder)) {
            let message = format!(
                "`{folder}` exists on one machine, wanted a path from the folder of the workspace"
            );
            problems.push(Problem::new(&source.path, index + 1, message));
        }
    }
    problems
}

/// Says whether an absolute path in `line` begins with `folder`: `rest/of/a/path` and `~/x` do not.
fn names_folder(line: &str, folder: &str) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
    line.match_indices(folder).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + folder.len()..]);
        let begins = !before.ends_with(|letter: char| inside(letter) || "~/}>*)".contains(letter));
        begins
            && !after.starts_with(|letter: char| letter.is_alphanumeric() || "_-".contains(letter))
    })
}

/// Checks that no macro or attribute leaves work undone.
pub fn has_no_forbidden_word(source: &Source) -> Vec<Problem> {
    let mut problems = vec![];
    for (pattern, instead) in FORBIDDEN {
        let word = pattern.replace(' ', "");
        let found = source.find(pattern).map(|index| source.line(index));
        let problem = |line| Problem::new(&source.path, line, format!("`{word}`: {instead}"));
        problems.extend(found.map(problem));
    }
    problems
}

/// Checks that a reader that goes away (`mm train 2>&1 | head`) ends no work: the program has
/// macros of its own, and libraries print nothing.
pub fn prints_without_panics(source: &Source) -> Vec<Problem> {
    let shipped = source.path.starts_with("crates/") && source.path.contains("/src/");
    if !shipped || source.is_test() {
        return vec![];
    }
    let mut problems = vec![];
    for pattern in PANICKING {
        let word = pattern.replace(' ', "");
        for index in source.find(pattern).filter(|index| !source.in_test(*index)) {
            let message = format!(
                "`{word}` panics when its reader is gone, wanted `say!` or `tell!` in `mm-cli`, \
                 and nothing in a library"
            );
            problems.push(Problem::new(&source.path, source.line(index), message));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(problems: &[Problem]) -> Vec<usize> {
        problems.iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn a_source_file_without_an_opening_sentence_is_named() {
        let check = |path: &str, text: &str| opens_with_what_it_is(&Source::new(path, text));
        assert!(check("a.rs", "//! Says it.\n").is_empty());
        assert!(check("a.md", "# Title\n").is_empty());
        assert_eq!(
            check("a.rs", "use b;\n")[0].to_string(),
            "a.rs:1: the file opens with `use b;`, wanted `//!` and what the file is for"
        );
    }

    #[test]
    fn the_line_after_the_last_allowed_one_is_too_many() {
        let check = |path: &str, count: usize| is_short(&Source::new(path, "x\n".repeat(count)));
        assert!(check("a.rs", MOST_LINES).is_empty());
        assert!(check("a.json", MOST_LINES + 1).is_empty());
        assert_eq!(lines(&check("a.rs", MOST_LINES + 1)), [MOST_LINES + 1]);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_relative_one_is_not() {
        let check = |line: &str| {
            let text = format!("first\n{}", line.replace('%', "/"));
            names_no_machine(&Source::new("a.md", text))
        };
        for line in ["see %work%main", "\"%root\"", "cd %home%me", "(%Users%me%x)", "%work"] {
            assert_eq!(lines(&check(line)), [2], "{line}");
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
    fn each_forbidden_word_is_found_in_code_but_not_in_comments_and_strings() {
        for (pattern, _) in FORBIDDEN {
            let word = pattern.replace(' ', "");
            let text = format!("//! {word}\nfn f() {{}} // {word}\nlet a = \"{word}\";\n{word}(x)");
            let check = |path: &str| has_no_forbidden_word(&Source::new(path, text.clone()));
            assert_eq!(lines(&check("a.rs")), [4], "{word}");
            assert!(check("a.md").is_empty());
        }
    }

    #[test]
    fn what_panics_without_a_reader_is_found_in_crates_and_is_free_in_tests_and_automation() {
        let text = "//! println!\nprintln!(\"a\");\nsay!(\"b\");\n#[cfg(test)]\nmod tests {\n    print!(\"c\");\n}\nf(|| eprintln!());\n";
        let check = |path: &str| lines(&prints_without_panics(&Source::new(path, text)));
        assert_eq!(check("crates/mm-cli/src/commands/train.rs"), [2, 8]);
        for path in ["crates/mm-cli/tests/cli/main.rs", "crates/a/src/b/tests.rs", "xtask/src/a.rs"]
        {
            assert!(check(path).is_empty(), "{path}");
        }
    }
}
