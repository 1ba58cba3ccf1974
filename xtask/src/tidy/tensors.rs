//! A function that takes or gives tensors says which axes they have, because their type only says how many.

use super::{Problem, code};

/// Every `pub fn` of a crate with `Tensor<` in its signature documents axes in the form `[batch, tokens, channels]`.
pub fn documents_its_axes(path: &str, text: &str) -> Vec<Problem> {
    if !path.starts_with("crates/") || !path.ends_with(".rs") || code::is_test(path) {
        return Vec::new();
    }
    let raw: Vec<&str> = text.lines().collect();
    let shipped: Vec<(usize, &str)> = code::shipped_lines(text).collect();
    let mut problems = Vec::new();
    for (index, (number, line)) in shipped.iter().enumerate() {
        let Some(name) = public_function(line) else { continue };
        let takes_tensors = signature(&shipped[index..]).contains("Tensor<");
        if takes_tensors && !doc_above(&raw[..number - 1]).any(has_axes) {
            let wanted = format!(
                "`{name}` has tensors: document their axes, as in `[batch, tokens, channels]`"
            );
            problems.push(Problem::new(path, *number, wanted));
        }
    }
    problems
}

/// The name of the function that `line` begins to declare, if it is public.
fn public_function(line: &str) -> Option<&str> {
    let after_pub = line.trim_start().strip_prefix("pub ")?;
    let (before, after) = after_pub.split_once("fn ")?;
    let only_qualifiers =
        before.split_whitespace().all(|word| ["const", "unsafe", "async"].contains(&word));
    let end = after.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    only_qualifiers.then_some(&after[..end])
}

/// The declaration that begins with the first of `lines`, up to its body.
fn signature<'a>(lines: &[(usize, &'a str)]) -> String {
    let ends = |line: &&'a str| line.trim_end().ends_with(['{', '}', ';']);
    let mut signature = String::new();
    for (_, line) in lines {
        signature += line;
        if ends(line) {
            break;
        }
    }
    let body = signature.find('{').unwrap_or(signature.len());
    signature.truncate(body);
    signature
}

/// The doc comment that ends just above, past attributes, last line first.
fn doc_above<'a>(lines: &[&'a str]) -> impl Iterator<Item = &'a str> {
    let above = lines.iter().rev().map(|line| line.trim_start());
    let ends = |line: &str| {
        line.is_empty() || (!line.starts_with("//") && line.ends_with(['{', '}', ';']))
    };
    above.take_while(move |line| !ends(line)).filter(|line| line.starts_with("///"))
}

/// Whether a line of a doc comment holds axes: a bracketed list in backticks, and not a link.
fn has_axes(line: &str) -> bool {
    line.split_once("`[").is_some_and(|(_, rest)| rest.contains(']') && !rest.starts_with('`'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: &[usize]) {
        let problems = documents_its_axes("crates/a/src/lib.rs", text);
        assert_eq!(
            problems.iter().map(|problem| problem.line).collect::<Vec<_>>(),
            lines,
            "{text}"
        );
    }

    #[test]
    fn a_public_function_with_tensors_and_no_axes_is_named() {
        check("/// Adds.\npub fn add(a: Tensor<2>) -> Tensor<2> {\n}\n", &[2]);
        check(
            "/// Adds; see [`sub`].\n#[must_use]\npub fn add(\n    a: usize,\n) -> Tensor<2> {\n}\n",
            &[3],
        );
        check("    pub const fn add(self) -> Tensor<2> { self.0 }\n", &[1]);
        let problem =
            &documents_its_axes("crates/a/src/lib.rs", "pub fn add<'a>(a: Tensor<2>) {}")[0];
        assert!(problem.wanted.starts_with("`add` has tensors"), "{problem}");
    }

    #[test]
    fn axes_anywhere_in_its_own_doc_comment_are_enough() {
        check(
            "/// Adds `[batch, tokens]`.\n///\n/// More.\n#[inline]\npub fn add(a: Tensor<2>) {\n",
            &[],
        );
        check(
            "/// `[batch, tokens]`.\npub struct A;\n/// Adds.\npub fn add(a: Tensor<2>) {\n",
            &[4],
        );
        check(
            "impl A {\n    /// `[batch]`.\n    #[allow(\n        x\n    )]\n    pub fn add(a: Tensor<1>) {\n",
            &[],
        );
    }

    #[test]
    fn functions_without_tensors_private_ones_and_tests_need_no_axes() {
        check("pub fn add(a: usize) -> usize {\n    let b: Tensor<2> = f();\n}\n", &[]);
        check("fn add(a: Tensor<2>) {\n", &[]);
        check("pub(crate) fn add(a: Tensor<2>) {\n", &[]);
        check("#[cfg(test)]\nmod tests {\n    pub fn add(a: Tensor<2>) {\n    }\n}\n", &[]);
        assert!(documents_its_axes("tests/main.rs", "pub fn add(a: Tensor<2>) {\n").is_empty());
    }
}
