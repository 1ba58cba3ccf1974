//! A function that takes or gives tensors says which axes they have, because their type only says
//! how many.

use super::Problem;
use super::functions::{self, Function, Visibility};
use super::source::Source;

/// Checks that every `pub fn` of a crate with `Tensor<` in its signature documents axes in the form
/// `[batch, tokens, channels]`.
pub fn documents_its_axes(source: &Source) -> Vec<Problem> {
    if !source.path.starts_with("crates/") || source.is_test() {
        return vec![];
    }
    let public = |of: &Function| of.visibility == Visibility::Public;
    let has_tensors =
        |of: &Function| (of.name..of.result.end).any(|index| source.stands_at(index, "Tensor <"));
    let mut problems = vec![];
    for function in functions::shipped(source).filter(public).filter(has_tensors) {
        if !function.docs(source).any(|line| has_axes(line.text)) {
            let message = format!(
                "`{}` has tensors without axes, wanted axes in the doc comment, such as \
                 `[batch, tokens, channels]`",
                source.word(function.name)
            );
            problems.push(Problem::new(&source.path, source.line(function.name), message));
        }
    }
    problems
}

/// Says whether a line of a doc comment holds axes: a bracketed list in backticks, and not a link.
fn has_axes(line: &str) -> bool {
    line.split_once("`[").is_some_and(|(_, rest)| rest.contains(']') && !rest.starts_with('`'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: &[usize]) {
        let problems = documents_its_axes(&Source::new("crates/a/src/lib.rs", text));
        let found: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(found, lines, "{text}");
    }

    #[test]
    fn a_public_function_with_tensors_and_no_axes_is_named() {
        check("/// Adds.\npub fn add(a: Tensor<2>) -> Tensor<2> {\n}\n", &[2]);
        check(
            "/// Adds; see [`sub`].\n#[must_use]\npub fn add(\n    a: usize,\n) -> Tensor<2> {\n}\n",
            &[3],
        );
        check("    pub const fn add(self) -> Tensor<2> { self.0 }\n", &[1]);
        let source = Source::new("crates/a/src/lib.rs", "pub fn add<'a>(a: Tensor<2>) {}");
        let problem = &documents_its_axes(&source)[0];
        assert!(problem.message.starts_with("`add` has tensors"), "{problem}");
    }

    #[test]
    fn axes_anywhere_in_its_own_doc_comment_are_enough() {
        check(
            "/// Adds `[batch, tokens]`.\n///\n/// More.\n#[inline]\npub fn add(a: Tensor<2>) {}\n",
            &[],
        );
        check(
            "/// `[batch, tokens]`.\npub struct A;\n/// Adds.\npub fn add(a: Tensor<2>) {}\n",
            &[4],
        );
        check(
            "impl A {\n    /// `[batch]`.\n    #[allow(\n        x\n    )]\n    pub fn add(a: Tensor<1>) {}\n}\n",
            &[],
        );
    }

    #[test]
    fn functions_without_tensors_private_ones_and_tests_need_no_axes() {
        check("pub fn add(a: usize) -> usize {\n    let b: Tensor<2> = f();\n}\n", &[]);
        check("fn add(a: Tensor<2>) {}\n", &[]);
        check("pub(crate) fn add(a: Tensor<2>) {}\n", &[]);
        check("#[cfg(test)]\nmod tests {\n    pub fn add(a: Tensor<2>) {}\n}\n", &[]);
        let source = Source::new("tests/main.rs", "pub fn add(a: Tensor<2>) {}\n");
        assert!(documents_its_axes(&source).is_empty());
    }
}
