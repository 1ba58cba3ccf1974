//! Rust source as the checks see it: lines of code, without comments and without unit tests.
//!
//! Deliberately no parser. It relies on what rustfmt guarantees: a comment after code stands behind a space, and a
//! module's closing brace stands below its first letter.

/// The lines with their numbers from 1, comments cut off.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, without_comment(line)))
}

/// As [`lines`], but without the modules that only tests compile.
pub fn shipped_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut after_mark = false;
    let mut closing: Option<String> = None;
    lines(text).filter(move |(_, line)| {
        if let Some(brace) = &closing {
            if line.trim_end() == brace {
                closing = None;
            }
            return false;
        }
        let code = line.trim_start();
        if after_mark && code.starts_with("mod ") && code.trim_end().ends_with('{') {
            let indent = &line[..line.len() - code.len()];
            closing = Some(format!("{indent}}}"));
        }
        after_mark = code.starts_with("#[cfg(test)]") || (after_mark && code.starts_with('#'));
        closing.is_none()
    })
}

/// Whether a whole file is compiled only by tests: `tests.rs` beside the code, or anything in a folder `tests`.
pub fn is_test(path: &str) -> bool {
    format!("/{path}").contains("/tests/") || path.ends_with("/tests.rs")
}

/// Whether `word` stands in `line` as a word of its own: no letter, digit or underscore before it.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.split_once(" //").map_or(line, |(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_cut_and_addresses_are_not() {
        let text = "//! Doc.\nlet a = 1; // one\n    // whole line\nlet b = \"https://x\";";
        let found: Vec<_> = lines(text).filter(|(_, line)| !line.is_empty()).collect();
        assert_eq!(found, [(2, "let a = 1;"), (4, "let b = \"https://x\";")]);
    }

    #[test]
    fn a_module_of_tests_is_not_shipped_and_what_follows_it_is() {
        let text = "\
use a;
#[cfg(test)]
#[allow(x)]
mod tests {
    fn f() {
    }
}
fn shipped() {}
#[cfg(test)]
mod helper;
mod inner {
    #[cfg(test)]
    mod tests {
        fn g() {}
    }
}
";
        let found: Vec<usize> = shipped_lines(text).map(|(number, _)| number).collect();
        assert_eq!(found, [1, 2, 3, 8, 9, 10, 11, 12, 16]);
    }

    #[test]
    fn a_word_may_have_anything_after_it_but_no_letter_before() {
        assert!(has_word("let f = File::open(p)", "File::"));
        assert!(has_word("(File::open(p))", "File::"));
        assert!(!has_word("NamedFile::open(p)", "File::"));
        assert!(!has_word("my_File::open(p)", "File::"));
    }
}
