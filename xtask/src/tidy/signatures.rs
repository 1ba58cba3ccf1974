//! Parameters have names and not places: a tuple or an array pattern says at the call nothing about
//! what its parts mean.

use std::ops::Range;

use super::Problem;
use super::functions::{self, Function, Visibility};
use super::source::Source;

/// A longer tuple is a struct without names.
const LONGEST_RESULT: usize = 2;

/// Checks the parameters of functions that other files can call, and the results of all functions.
pub fn have_names(source: &Source) -> Vec<Problem> {
    if source.is_test() {
        return vec![];
    }
    let mut problems = vec![];
    for function in functions::shipped(source) {
        let name = source.word(function.name);
        let line = source.line(function.name);
        if function.visibility != Visibility::Private {
            for message in breaches_of_parameters(source, &function) {
                problems.push(Problem::new(&source.path, line, format!("`{name}` {message}")));
            }
        }
        if let Some(length) = longest_tuple(source, function.result.clone()) {
            let message = format!(
                "`{name}` returns a tuple of {length}, wanted {LONGEST_RESULT} at most, or a \
                 struct with named fields"
            );
            problems.push(Problem::new(&source.path, line, message));
        }
    }
    problems
}

fn breaches_of_parameters(source: &Source, function: &Function) -> Vec<String> {
    let mut breaches = vec![];
    for parameter in split(source, function.parameters.clone(), ",") {
        let mut parts = split(source, parameter.clone(), ":").into_iter();
        let (Some(pattern), Some(kind)) = (parts.next(), parts.next()) else { continue };
        let kind = kind.start..parameter.end; // a bound may hold more colons
        let shown = spelled(source, parameter.clone());
        let wanted = "wanted separate parameters or a struct with named fields";
        match source.word(past_references(source, pattern)) {
            "(" => breaches.push(format!("has the tuple pattern `{shown}`, {wanted}")),
            "[" => breaches.push(format!("has the array pattern `{shown}`, {wanted}")),
            _ if is_tuple(source, kind.clone()) => {
                breaches.push(format!("has the tuple parameter `{shown}`, {wanted}"));
            }
            _ => {}
        }
    }
    breaches
}

/// Says whether a type is a tuple, a reference to one, an `Option` of one, or a closure over one.
///
/// A tuple further inside, as in `&[(A, B)]` or `impl Iterator<Item = (A, B)>`, is an element and
/// not a parameter.
fn is_tuple(source: &Source, kind: Range<usize>) -> bool {
    let start = past_references(source, kind.clone());
    let tuple_at = |index: usize| length_of_tuple(source, index).is_some_and(|length| length > 1);
    if source.stands_at(start, "Option <") {
        return is_tuple(source, start + 2..kind.end);
    }
    let is_closure = |index: &usize| ["Fn", "FnMut", "FnOnce"].contains(&source.word(*index));
    let closure = (start..kind.end).find(is_closure);
    tuple_at(start) || closure.is_some_and(|index| takes_a_tuple(source, index + 1))
}

/// Says whether one of the parameters in the parentheses at `open` is a tuple.
fn takes_a_tuple(source: &Source, open: usize) -> bool {
    if source.word(open) != "(" {
        return false;
    }
    split(source, open + 1..source.partner(open), ",")
        .into_iter()
        .any(|kind| is_tuple(source, kind))
}

/// Returns the length of the longest tuple in a type, if it is too long for a result.
fn longest_tuple(source: &Source, kind: Range<usize>) -> Option<usize> {
    let end = kind.clone().find(|index| source.word(*index) == "where").unwrap_or(kind.end);
    let is_tuple = |index: &usize| !["Fn", "FnMut", "FnOnce"].contains(&source.word(index - 1));
    let lengths = (kind.start..end).filter(is_tuple);
    let lengths = lengths.filter_map(|index| length_of_tuple(source, index));
    lengths.max().filter(|length| *length > LONGEST_RESULT)
}

/// Counts the parts of the tuple whose parenthesis opens at `open`.
fn length_of_tuple(source: &Source, open: usize) -> Option<usize> {
    (source.word(open) == "(").then(|| split(source, open + 1..source.partner(open), ",").len())
}

/// Returns the index behind references, lifetimes, `mut` and attributes.
fn past_references(source: &Source, range: Range<usize>) -> usize {
    let mut index = range.start;
    while index < range.end {
        match source.word(index) {
            "#" => index = source.partner(index + 1) + 1,
            word if ["&", "mut"].contains(&word) || word.starts_with('\'') => index += 1,
            _ => break,
        }
    }
    index
}

/// Parts a range at the signs that stand in no bracket; empty parts are left out.
fn split(source: &Source, range: Range<usize>, sign: &str) -> Vec<Range<usize>> {
    let mut parts = vec![];
    let (mut start, mut index) = (range.start, range.start);
    while index < range.end {
        let word = source.word(index);
        if word == sign {
            parts.push(start..index);
            start = index + 1;
        }
        index = match word {
            "<" => functions::behind_angles(source, index),
            _ => source.partner(index).max(index) + 1,
        };
    }
    parts.push(start..range.end);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Returns the text of a range of tokens on one line.
fn spelled(source: &Source, range: Range<usize>) -> String {
    let (start, end) = (source.tokens[range.start].at.start, source.tokens[range.end - 1].at.end);
    source.text[start..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &[&str]) {
        let problems = have_names(&Source::new("crates/a/src/lib.rs", text));
        let found: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(found.len(), wanted.len(), "{text}: {found:?}");
        for (found, wanted) in found.into_iter().zip(wanted) {
            assert!(found.starts_with(wanted), "{text}: {found}");
        }
    }

    #[test]
    fn tuples_and_array_patterns_are_no_parameters() {
        check("pub fn f((a, b): (A, B)) {}", &["`f` has the tuple pattern `(a, b): (A, B)`"]);
        check("pub(crate) fn f([a, b]: [u8; 2]) {}", &["`f` has the array pattern"]);
        check("pub(super) fn f(c: u8, x: (A, B)) {}", &["`f` has the tuple parameter `x: (A, B)`"]);
        check("pub fn f(&self, &(a, b): &(A, B)) {}", &["`f` has the tuple pattern"]);
        check("pub fn f(a: Option<(A, B)>) {}", &["`f` has the tuple parameter"]);
        check("pub fn f(a: &'static mut (A, B)) {}", &["`f` has the tuple parameter"]);
        check("pub fn f(a: &mut dyn FnMut((A, B))) {}", &["`f` has the tuple parameter"]);
        check("pub trait A {\n    fn f(&self, a: (A, B));\n}", &["`f` has the tuple parameter"]);
        let problems = have_names(&Source::new("a.rs", "\n\npub fn f(\n    (a, b): C,\n) {}"));
        assert_eq!(problems[0].line, 3);
    }

    #[test]
    fn names_structs_elements_and_private_functions_are_free() {
        check("pub fn f(a: [u8; 2], Grid { rows, .. }: Grid, Id(c): Id) {}", &[]);
        check("pub fn f(a: &[(A, B)], b: impl Iterator<Item = (A, B)>, c: ()) {}", &[]);
        check("pub fn f(a: impl Fn(A, B) -> (A, B), b: fn(A) -> B) {}", &[]);
        check("fn f((a, b): (A, B)) {}", &[]);
        check("#[cfg(test)]\nmod tests {\n    pub fn f((a, b): (A, B)) {}\n}", &[]);
    }

    #[test]
    fn a_result_of_more_than_two_has_names() {
        check("fn f() -> (A, B, C) {}", &["`f` returns a tuple of 3, wanted 2 at most"]);
        check("pub fn f() -> Result<Vec<(A, B, C, D)>> {}", &["`f` returns a tuple of 4"]);
        check(
            "fn f() -> (A, B) {}\nfn g() -> impl Fn(A, B, C) {}\nfn h() where A: B<(C, D, E)> {}",
            &[],
        );
    }
}
