//! A comment has at most 100 columns, as code has: rustfmt holds only the code to that.

use super::Problem;
use super::source::Source;

/// Counts characters, with the indentation.
const MOST_COLUMNS: usize = 100;

/// Checks every line that is a comment or ends in one.
///
/// A line that cannot be broken is free: one address, a row of a table, what stands between fences.
pub fn is_at_most_100_columns(source: &Source) -> Vec<Problem> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut problems = vec![];
    let (mut fenced, mut last) = (false, 0);
    for comment in &source.comments {
        let text = &source.text[comment.at.clone()];
        for (after, part) in text.lines().enumerate() {
            let number = comment.line + after;
            let content = part.trim_start_matches(['/', '!', '*', ' ']).trim_end();
            if number != last + 1 {
                fenced = false; // a fence ends with its comment
            }
            last = number;
            let is_fence = content.starts_with("```");
            fenced ^= is_fence;
            let columns = lines[number - 1].chars().count();
            if columns > MOST_COLUMNS && !fenced && !is_fence && !is_unbreakable(content) {
                let message =
                    format!("a comment of {columns} columns, wanted {MOST_COLUMNS} at most");
                problems.push(Problem::new(&source.path, number, message));
            }
        }
    }
    problems
}

/// Says whether the text of a comment is one address (also behind `[name]:`) or a row of a table.
fn is_unbreakable(content: &str) -> bool {
    let mut words = content.split_whitespace();
    let first = words.next().unwrap_or_default();
    let address = if first.ends_with("]:") { words.next().unwrap_or_default() } else { first };
    let is_address = address.contains("://") && words.next().is_none();
    is_address || content.starts_with('|')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: &[usize]) {
        let problems = is_at_most_100_columns(&Source::new("a.rs", text));
        let found: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(found, lines, "{text}");
    }

    #[test]
    fn the_column_after_the_last_allowed_one_is_too_many() {
        let words = |count: usize| "a ".repeat(count / 2);
        check(&format!("/// {}\n", words(96)), &[]);
        check(&format!("fn f() {{}}\n/// {}b\n", words(96)), &[2]);
        check(&format!("    // {}\n", words(94)), &[1]);
        check(&format!("f(); // {}\n", words(96)), &[1]);
        check(&format!("/* a\n{}b */\n", words(98)), &[2]);
        let problem = &is_at_most_100_columns(&Source::new("a.rs", format!("//{}", words(120))))[0];
        assert_eq!(problem.to_string(), "a.rs:1: a comment of 122 columns, wanted 100 at most");
    }

    #[test]
    fn letters_are_counted_and_not_bytes() {
        check(&format!("/// {}\n", "ä ".repeat(48)), &[]);
    }

    #[test]
    fn what_cannot_be_broken_is_free() {
        let long = "x".repeat(100);
        check(&format!("/// https://{long}\n/// [a]: https://{long}\n/// | {long} |\n"), &[]);
        check(&format!("/// See https://{long} there.\n"), &[1]);
        check(&format!("/// ```text\n/// {long}\n/// ```\n/// {long}\n"), &[4]);
        check(&format!("/// ```text\n/// a\nfn f() {{}}\n/// {long}\n"), &[4]);
    }

    #[test]
    fn code_is_left_to_rustfmt() {
        check(&format!("let a = \"{}\";\n", "x".repeat(100)), &[]);
    }
}
