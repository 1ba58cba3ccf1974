//! This module finds the declarations of functions in the tokens of a file.

use std::ops::Range;

use super::source::{DocLine, Source};

/// The declaration of one function; all ranges hold indices of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Is where the declaration begins, past attributes.
    pub start: usize,
    pub name: usize,
    pub visibility: Visibility,
    /// Is what stands between the parentheses.
    pub parameters: Range<usize>,
    /// Is what stands behind the arrow, with a `where`; it is empty where there is no arrow.
    pub result: Range<usize>,
}

/// Who may call a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// The function is `pub`, or a method of a public trait.
    Public,
    /// The function is `pub(crate)`, `pub(super)` or `pub(in path)`, or a method of such a trait.
    Restricted,
    Private,
}

/// Returns the functions that are compiled outside of tests.
pub fn shipped(source: &Source) -> impl Iterator<Item = Function> + '_ {
    let traits = traits(source);
    source
        .find("fn")
        .filter(|index| source.is_name(index + 1) && !source.in_test(*index))
        .filter_map(move |index| {
            let mut function = function(source, index)?;
            let of_trait = traits.iter().find(|of| of.body.contains(&index));
            if let Some(of_trait) = of_trait {
                function.visibility = of_trait.visibility;
            }
            Some(function)
        })
}

impl Function {
    /// Returns the lines of the doc comment above the function.
    pub fn docs<'a>(&self, source: &'a Source) -> impl Iterator<Item = DocLine<'a>> + use<'a> {
        let mut before = self.start;
        while before > 0 && source.word(before - 1) == "]" {
            let open = source.partner(before - 1);
            if open == 0 || source.word(open - 1) != "#" {
                break;
            }
            before = open - 1;
        }
        let after = if before == 0 { 0 } else { source.line(before - 1) };
        let until = source.line(self.start);
        let docs = source.docs().into_iter().filter(|doc| !doc.inner).flat_map(|doc| doc.lines);
        docs.filter(move |line| after < line.number && line.number < until)
    }
}

struct Trait {
    visibility: Visibility,
    body: Range<usize>,
}

/// Returns the traits with their bodies, so that methods are as visible as their trait.
fn traits(source: &Source) -> Vec<Trait> {
    let mut traits = vec![];
    for index in source.find("trait").filter(|index| source.is_name(index + 1)) {
        let body = (index..source.tokens.len()).find(|at| ["{", ";"].contains(&source.word(*at)));
        let Some(body) = body else { continue };
        let (visibility, _) = visibility_before(source, index);
        traits.push(Trait { visibility, body: body..source.partner(body) });
    }
    traits
}

/// Reads the declaration whose `fn` stands at `index`.
fn function(source: &Source, index: usize) -> Option<Function> {
    let (visibility, start) = visibility_before(source, index);
    let name = index + 1;
    let open =
        if source.word(name + 1) == "<" { behind_angles(source, name + 1) } else { name + 1 };
    if source.word(open) != "(" {
        return None;
    }
    let close = source.partner(open);
    let mut end = close + 1;
    while !["{", ";", ""].contains(&source.word(end)) {
        end = source.partner(end).max(end) + 1;
    }
    let arrow = source.word(close + 1) == "->";
    let result = if arrow { close + 2..end } else { end..end };
    Some(Function { start, name, visibility, parameters: open + 1..close, result })
}

/// Reads back over qualifiers to the visibility of the item whose keyword stands at `index`;
/// returns it with the index at which the item begins.
fn visibility_before(source: &Source, index: usize) -> (Visibility, usize) {
    let mut start = index;
    while start > 0 {
        let before = source.word(start - 1);
        let is_abi = before.starts_with('"') && source.word(start.saturating_sub(2)) == "extern";
        if !["const", "unsafe", "async", "extern", "auto"].contains(&before) && !is_abi {
            break;
        }
        start -= 1;
    }
    if start == 0 {
        return (Visibility::Private, start);
    }
    if source.word(start - 1) == "pub" {
        return (Visibility::Public, start - 1);
    }
    let open = source.partner(start - 1);
    if source.word(start - 1) == ")" && open > 0 && source.word(open - 1) == "pub" {
        return (Visibility::Restricted, open - 1);
    }
    (Visibility::Private, start)
}

/// Returns the index behind the `>` that closes the `<` at `open`.
pub fn behind_angles(source: &Source, open: usize) -> usize {
    let (mut depth, mut index) = (0, open);
    while index < source.tokens.len() {
        match source.word(index) {
            "<" => depth += 1,
            ">" => depth -= 1,
            _ => {}
        }
        index = source.partner(index).max(index) + 1;
        if depth == 0 {
            break;
        }
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &[(&str, Visibility, &str, &str)]) {
        let source = Source::new("a.rs", text);
        let words = |range: Range<usize>| {
            range.map(|index| source.word(index)).collect::<Vec<_>>().join(" ")
        };
        let functions: Vec<Function> = shipped(&source).collect();
        let found: Vec<(String, Visibility, String, String)> = functions
            .into_iter()
            .map(|of| {
                let name = source.word(of.name).to_owned();
                (name, of.visibility, words(of.parameters), words(of.result))
            })
            .collect();
        let wanted: Vec<(String, Visibility, String, String)> = wanted
            .iter()
            .map(|(name, visibility, parameters, result)| {
                ((*name).into(), *visibility, (*parameters).into(), (*result).into())
            })
            .collect();
        assert_eq!(found, wanted, "{text}");
    }

    #[test]
    fn a_declaration_is_read_past_qualifiers_and_generics() {
        use Visibility::{Private, Public, Restricted};
        check("fn f() {}", &[("f", Private, "", "")]);
        check("pub fn f(a: u8) -> u8 { a }", &[("f", Public, "a : u8", "u8")]);
        check("pub(crate) const unsafe fn f();", &[("f", Restricted, "", "")]);
        check("pub unsafe extern \"C\" fn f() {}", &[("f", Public, "", "")]);
        check(
            "pub(in a::b) fn f<T: Fn(u8) -> Vec<u8>>(t: T) -> [u8; 2] where T: Copy {}",
            &[("f", Restricted, "t : T", "[ u8 ; 2 ] where T : Copy")],
        );
        check("let a: fn(u8) = b;", &[]);
    }

    #[test]
    fn a_method_is_as_visible_as_its_trait() {
        use Visibility::{Private, Public};
        check("pub trait A { fn f(&self) -> u8; }", &[("f", Public, "& self", "u8")]);
        check(
            "trait A { fn f(&self) {} }\nimpl A for B { fn g() {} }",
            &[("f", Private, "& self", ""), ("g", Private, "", "")],
        );
    }

    #[test]
    fn the_doc_comment_of_a_function_ends_at_the_item_before_it() {
        let text =
            "/// A.\nstruct A;\n\n/// B.\n/// C.\n#[allow(\n    x\n)]\npub fn f() {}\n/// D.\n";
        let source = Source::new("a.rs", text);
        let function = shipped(&source).next().unwrap();
        let found: Vec<&str> = function.docs(&source).map(|line| line.text).collect();
        assert_eq!(found, [" B.", " C."]);
    }
}
