//! This module splits Rust source into tokens and comments.
//!
//! It is a lexer and not a parser: the rules of `cargo xtask tidy` look at short sequences of
//! tokens. A parser such as `syn` would be the heaviest dependency of a crate that everybody waits
//! for.

use std::ops::Range;

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name, a keyword or a raw name such as `r#type`.
    Word,
    /// A string, with its quotes and its prefix.
    Text,
    /// A number, a character or a lifetime.
    Literal,
    /// A sign. `::`, `->`, `=>`, `==`, `!=` and `..` are one token, all other signs are one
    /// character.
    Sign,
}

/// One token of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    /// Holds the bytes of the token in the source.
    pub at: Range<usize>,
    /// Counts from 1.
    pub line: usize,
}

/// One comment of the source: a line comment, or a whole block comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Holds the bytes of the comment in the source, with the slashes.
    pub at: Range<usize>,
    /// Counts from 1; of a block comment it is the first line.
    pub line: usize,
    /// Says whether nothing but spaces stands before the comment on its line.
    pub own_line: bool,
}

/// The tokens and the comments of a source, both in the order of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lexed {
    pub tokens: Vec<Token>,
    pub comments: Vec<Comment>,
}

/// Splits a source. Text that is not Rust gives tokens as well; nothing is refused.
pub fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { text, at: 0, line: 1, line_start: 0 };
    let mut lexed = Lexed::default();
    while let Some(first) = lexer.peek() {
        let (start, line) = (lexer.at, lexer.line);
        if first.is_whitespace() {
            lexer.step();
            continue;
        }
        if lexer.rest().starts_with("//") || lexer.rest().starts_with("/*") {
            let own_line = text[lexer.line_start..start].trim().is_empty();
            lexer.comment();
            lexed.comments.push(Comment { at: start..lexer.at, line, own_line });
            continue;
        }
        let kind = lexer.token(first);
        lexed.tokens.push(Token { kind, at: start..lexer.at, line });
    }
    lexed
}

/// The place that the lexer has reached.
struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn step(&mut self) {
        let Some(letter) = self.peek() else { return };
        self.at += letter.len_utf8();
        if letter == '\n' {
            self.line += 1;
            self.line_start = self.at;
        }
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    fn step_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.step();
        }
    }

    fn comment(&mut self) {
        if self.rest().starts_with("//") {
            return self.step_while(|letter| letter != '\n');
        }
        let mut depth = 0;
        loop {
            let rest = self.rest();
            let (opens, closes) = (rest.starts_with("/*"), rest.starts_with("*/"));
            self.steps(if opens || closes { 2 } else { 1 });
            depth += usize::from(opens);
            depth -= usize::from(closes);
            if depth == 0 || self.peek().is_none() {
                return;
            }
        }
    }

    fn token(&mut self, first: char) -> Kind {
        if let Some(prefix) = string_prefix(self.rest()) {
            self.string(prefix);
            return Kind::Text;
        }
        if first == '\'' {
            self.character_or_lifetime();
            return Kind::Literal;
        }
        if first.is_ascii_digit() {
            self.number();
            return Kind::Literal;
        }
        if is_word(first) {
            if self.rest().starts_with("r#") {
                self.steps(2);
            } else if self.rest().starts_with("b'") {
                self.step();
                self.character_or_lifetime();
                return Kind::Literal;
            }
            self.step_while(is_word);
            return Kind::Word;
        }
        let two = ["::", "->", "=>", "==", "!=", ".."];
        let long = two.iter().any(|sign| self.rest().starts_with(sign));
        self.steps(if long { 2 } else { 1 });
        Kind::Sign
    }

    /// Reads a string whose opening quote stands behind `prefix`.
    fn string(&mut self, prefix: Prefix) {
        self.steps(prefix.letters + 1);
        if prefix.raw {
            let close = format!("\"{}", "#".repeat(prefix.hashes));
            while self.peek().is_some() && !self.rest().starts_with(&close) {
                self.step();
            }
            return self.steps(close.len());
        }
        while let Some(letter) = self.peek() {
            self.steps(if letter == '\\' { 2 } else { 1 });
            if letter == '"' {
                return;
            }
        }
    }

    fn character_or_lifetime(&mut self) {
        self.step();
        let mut after = self.rest().chars();
        let (first, second) = (after.next(), after.next());
        if first == Some('\\') {
            self.steps(2);
            self.step_while(|letter| letter != '\'' && letter != '\n');
            self.step();
        } else if second == Some('\'') {
            self.steps(2);
        } else {
            self.step_while(is_word);
        }
    }

    fn number(&mut self) {
        let decimal = !self.rest().starts_with("0x");
        loop {
            self.step_while(is_word);
            let so_far = &self.text[..self.at];
            let mut rest = self.rest().chars();
            let (next, after) = (rest.next(), rest.next());
            let digit_after = after.is_some_and(|letter| letter.is_ascii_digit());
            let fraction = next == Some('.') && digit_after;
            let exponent = decimal && so_far.ends_with(['e', 'E']) && digit_after;
            if fraction || (exponent && matches!(next, Some('+' | '-'))) {
                self.step();
            } else {
                return;
            }
        }
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// What stands before the opening quote of a string.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    /// Counts the letters and hashes before the quote.
    letters: usize,
    raw: bool,
    hashes: usize,
}

fn string_prefix(rest: &str) -> Option<Prefix> {
    let word = ["br", "cr", "b", "c", "r", ""].into_iter().find(|word| rest.starts_with(word))?;
    let after = &rest[word.len()..];
    let raw = word.ends_with('r');
    let hashes = if raw { after.len() - after.trim_start_matches('#').len() } else { 0 };
    let quoted = after[hashes..].starts_with('"');
    quoted.then_some(Prefix { letters: word.len() + hashes, raw, hashes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, tokens: &[&str], comments: &[&str]) {
        let lexed = lex(text);
        let found: Vec<&str> = lexed.tokens.iter().map(|token| &text[token.at.clone()]).collect();
        assert_eq!(found, tokens, "{text}");
        let found: Vec<&str> = lexed.comments.iter().map(|found| &text[found.at.clone()]).collect();
        assert_eq!(found, comments, "{text}");
    }

    #[test]
    fn names_numbers_and_signs_are_tokens() {
        check("a::b->c", &["a", "::", "b", "->", "c"], &[]);
        check("x == 1.5e-3 + 0..n", &["x", "==", "1.5e-3", "+", "0", "..", "n"], &[]);
        check("0x1e-2", &["0x1e", "-", "2"], &[]);
        check("Vec<Vec<u8>>", &["Vec", "<", "Vec", "<", "u8", ">", ">"], &[]);
        check("r#type", &["r#type"], &[]);
    }

    #[test]
    fn strings_hide_what_looks_like_code_and_comments() {
        check(
            r##"f("a \" // b", r#"c " d"#)"##,
            &["f", "(", r#""a \" // b""#, ",", "r#\"c \" d\"#", ")"],
            &[],
        );
        check("b\"x\" br\"\\\" y", &["b\"x\"", "br\"\\\"", "y"], &[]);
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        check("'a' 'b '\\'' '\\u{1}' b'\"'", &["'a'", "'b", "'\\''", "'\\u{1}'", "b'\"'"], &[]);
        check("&'static str", &["&", "'static", "str"], &[]);
    }

    #[test]
    fn comments_are_kept_apart_with_their_lines() {
        check("a // b\n/* c /* d */ e */ f", &["a", "f"], &["// b", "/* c /* d */ e */"]);
        let comments = lex("a // b\n    /// c\n").comments;
        assert_eq!(comments.iter().map(|found| found.line).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(comments.iter().map(|found| found.own_line).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_text_that_ends_within_a_string_or_a_comment_is_no_error() {
        check("\"a", &["\"a"], &[]);
        check("/* a", &[], &["/* a"]);
        check("r#\"a", &["r#\"a"], &[]);
        check("'", &["'"], &[]);
    }
}
