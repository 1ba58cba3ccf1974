//! This module holds one file as the rules see it: path, text, and for Rust also tokens and
//! comments.

use super::lexer::{self, Comment, Kind, Lexed, Token};

/// The keywords of items that may hold a comma before their block.
const ITEMS: [&str; 9] = ["const", "enum", "fn", "impl", "mod", "static", "struct", "trait", "use"];

/// One file of the workspace.
#[derive(Debug)]
pub struct Source {
    /// Starts at the folder of the workspace, with `/` between the folders.
    pub path: String,
    pub text: String,
    /// Is empty for a file that is not Rust.
    pub tokens: Vec<Token>,
    /// Is empty for a file that is not Rust.
    pub comments: Vec<Comment>,
    /// Says of each token whether only tests compile it.
    test: Vec<bool>,
    /// Holds the index of the bracket that closes or opens a bracket; other tokens point to
    /// themselves.
    partner: Vec<usize>,
}

impl Source {
    /// Reads a file; a path that ends in `.rs` is lexed.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let lexed = if path.ends_with(".rs") { lexer::lex(&text) } else { Lexed::default() };
        let Lexed { tokens, comments } = lexed;
        let partner = partners(&text, &tokens);
        let mut source = Self { path, text, tokens, comments, test: vec![], partner };
        source.test = source.marks_of_tests();
        source
    }

    /// Says whether the file is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Says whether only tests compile the whole file: `tests.rs`, or any file in a folder `tests`.
    pub fn is_test(&self) -> bool {
        format!("/{}", self.path).contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Says whether the path starts with one of `places`; a folder in `places` ends in `/`.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Returns the text of a token, and nothing beyond the last token.
    pub fn word(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| &self.text[token.at.clone()])
    }

    /// Says whether the token is a name or a keyword.
    pub fn is_name(&self, index: usize) -> bool {
        self.tokens.get(index).is_some_and(|token| token.kind == Kind::Word)
    }

    /// Returns the line of a token, counted from 1.
    pub fn line(&self, index: usize) -> usize {
        self.tokens.get(index).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    /// Says whether only tests compile the token.
    pub fn in_test(&self, index: usize) -> bool {
        self.test.get(index).copied().unwrap_or_default()
    }

    /// Returns the index of the bracket that belongs to the bracket at `index`.
    pub fn partner(&self, index: usize) -> usize {
        self.partner.get(index).copied().unwrap_or(index)
    }

    /// Returns the indices at which a sequence of tokens begins; a space stands between its tokens.
    pub fn find<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
        (0..self.tokens.len()).filter(move |&index| self.stands_at(index, pattern))
    }

    /// Says whether a sequence of tokens begins at `index`; a space stands between its tokens.
    pub fn stands_at(&self, index: usize, pattern: &str) -> bool {
        pattern.split(' ').enumerate().all(|(after, word)| self.word(index + after) == word)
    }

    /// Returns the doc comments. Lines of `///` or of `//!` that follow each other are one.
    pub fn docs(&self) -> Vec<Doc<'_>> {
        let mut docs: Vec<Doc<'_>> = vec![];
        for comment in self.comments.iter().filter(|comment| comment.own_line) {
            let text = &self.text[comment.at.clone()];
            let outer = text.strip_prefix("///").filter(|rest| !rest.starts_with('/'));
            let inner = text.strip_prefix("//!");
            let Some(rest) = outer.or(inner) else { continue };
            let line = DocLine { number: comment.line, text: rest.trim_end() };
            match docs.last_mut() {
                Some(doc) if doc.inner == inner.is_some() && doc.next_line() == line.number => {
                    doc.lines.push(line);
                }
                _ => docs.push(Doc { inner: inner.is_some(), lines: vec![line] }),
            }
        }
        docs
    }

    /// Marks the items below `#[cfg(test)]`, each up to its `;` or to the end of its first block.
    fn marks_of_tests(&self) -> Vec<bool> {
        let mut marks = vec![false; self.tokens.len()];
        let mut index = 0;
        while index < self.tokens.len() {
            if !self.stands_at(index, "# [ cfg ( test ) ]") {
                index += 1;
                continue;
            }
            let end = self.end_of_item(index);
            marks[index..end].fill(true);
            index = end;
        }
        marks
    }

    /// Returns the index behind the item that begins at `start`, with its attributes.
    fn end_of_item(&self, start: usize) -> usize {
        let mut index = start;
        while self.word(index) == "#" {
            index = self.partner(index + 1) + 1;
        }
        let opening = index..index + 6; // visibility and qualifiers stand before the keyword
        let has = |word: &str| opening.clone().any(|at| self.word(at) == word);
        let (is_import, is_field) = (has("use"), !ITEMS.iter().any(|word| has(word)));
        while index < self.tokens.len() {
            match self.word(index) {
                ";" => return index + 1,
                "," if is_field => return index + 1,
                "{" if !is_import => return self.partner(index) + 1,
                "}" => return index,
                "(" | "[" | "{" => index = self.partner(index) + 1,
                _ => index += 1,
            }
        }
        index
    }
}

/// One doc comment.
#[derive(Debug, PartialEq, Eq)]
pub struct Doc<'a> {
    /// Says whether it describes what it stands in (`//!`), not what follows (`///`).
    pub inner: bool,
    pub lines: Vec<DocLine<'a>>,
}

impl Doc<'_> {
    fn next_line(&self) -> usize {
        self.lines.last().map_or(0, |line| line.number + 1)
    }
}

/// One line of a doc comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocLine<'a> {
    /// Counts from 1, in the file.
    pub number: usize,
    /// Is what stands behind the slashes.
    pub text: &'a str,
}

/// Pairs the brackets; one that nothing closes points to itself.
fn partners(text: &str, tokens: &[Token]) -> Vec<usize> {
    let mut partner: Vec<usize> = (0..tokens.len()).collect();
    let mut open = vec![];
    for (index, token) in tokens.iter().enumerate() {
        let wanted = match &text[token.at.clone()] {
            sign @ ("(" | "[" | "{") => {
                open.push((index, sign));
                continue;
            }
            ")" => "(",
            "]" => "[",
            "}" => "{",
            _ => continue,
        };
        if let Some((opener, _)) = open.pop_if(|(_, sign)| *sign == wanted) {
            partner[opener] = index;
            partner[index] = opener;
        }
    }
    partner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(text: &str) -> Vec<usize> {
        let source = Source::new("a.rs", text);
        let lines = (0..source.tokens.len()).filter(|index| !source.in_test(*index));
        let mut lines: Vec<usize> = lines.map(|index| source.line(index)).collect();
        lines.dedup();
        lines
    }

    #[test]
    fn an_item_for_tests_is_not_shipped_and_what_follows_it_is() {
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
#[cfg(test)]
use a::{b, c};
#[cfg(test)]
pub(crate) fn h<A, B>(a: [u8; 2]) -> u8 {
}
fn shipped() {}
struct A {
    #[cfg(test)]
    b: u8,
    c: u8,
}
";
        assert_eq!(shipped(text), [1, 8, 11, 16, 22, 23, 26, 27]);
    }

    #[test]
    fn a_file_of_tests_is_known_by_its_place() {
        let is_test = |path: &str| Source::new(path, "").is_test();
        assert!(is_test("tests/main.rs") && is_test("crates/a/src/b/tests.rs"));
        assert!(is_test("crates/a/src/b/tests/c.rs"));
        assert!(!is_test("crates/a/src/b.rs") && !is_test("crates/a/src/contests.rs"));
    }

    #[test]
    fn a_sequence_of_tokens_is_found_in_code_alone() {
        let text = "// std::fs\nuse std :: fs;\nlet a = \"std::fs\"; my_std::fs();\n";
        let source = Source::new("a.rs", text);
        let lines: Vec<usize> = source.find("std :: fs").map(|at| source.line(at)).collect();
        assert_eq!(lines, [2]);
    }

    #[test]
    fn lines_of_a_doc_comment_that_follow_each_other_are_one() {
        let source = Source::new("a.rs", "//! A.\n//! B.\n\n/// C.\n//// no\n/// D.\nfn f() {}\n");
        let docs = source.docs();
        let found: Vec<Vec<&str>> =
            docs.iter().map(|doc| doc.lines.iter().map(|line| line.text).collect()).collect();
        assert_eq!(found, [vec![" A.", " B."], vec![" C."], vec![" D."]]);
    }
}
