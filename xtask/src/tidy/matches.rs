//! A choice between two cases is an `if`: its condition stands first, and nobody has to look which
//! arm is which.

use super::Problem;
use super::source::Source;

/// Checks that no `match` has `true` or `false` as the pattern of an arm.
pub fn are_not_on_a_bool(source: &Source) -> Vec<Problem> {
    let found = source.find("match").filter(|index| is_on_a_bool(source, *index));
    let message = "a `match` on a bool, wanted `if` and `else`";
    found.map(|index| Problem::new(&source.path, source.line(index), message)).collect()
}

/// Says whether an arm of the `match` at `start` begins with `true` or `false`.
fn is_on_a_bool(source: &Source, start: usize) -> bool {
    let mut body = start + 1;
    while source.word(body) != "{" {
        if body >= source.tokens.len() {
            return false;
        }
        body = source.partner(body).max(body) + 1;
    }
    let end = source.partner(body);
    let mut index = body + 1;
    while index < end {
        if ["true", "false"].contains(&source.word(index)) {
            let behind = ["=>", "|", "if"].contains(&source.word(index + 1));
            let before = ["{", ",", "}", "|"].contains(&source.word(index - 1));
            if behind && before {
                return true;
            }
        }
        index = source.partner(index).max(index) + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: &[usize]) {
        let problems = are_not_on_a_bool(&Source::new("a.rs", text));
        let found: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(found, lines, "{text}");
    }

    #[test]
    fn a_match_on_a_bool_is_found_whatever_its_arms_are() {
        check("match flag {\n    true => a,\n    false => b,\n}\n", &[1]);
        check("let x =\n    match a == b {\n    false => { c }\n    _ => d,\n};\n", &[2]);
        check(
            "match f(|x| { x }) {\n    _ if g => a,\n    true if h => b,\n    _ => c,\n}\n",
            &[1],
        );
        check(
            "match a {\n    1 => match b {\n        true => 1,\n        _ => 2,\n    }\n}\n",
            &[2],
        );
    }

    #[test]
    fn a_bool_within_a_pattern_is_no_match_on_a_bool() {
        check("match a {\n    Some(true) => b,\n    (false, _) => c,\n    _ => true,\n}\n", &[]);
        check("let a = matches!(b, true);\nlet c = \"match d { true => e }\";\n", &[]);
        check("match a {\n    _ => { if b { true } else { false } }\n}\n", &[]);
    }
}
