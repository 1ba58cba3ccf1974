//! This module looks for words in code, prose, strings, recipes and names of files.

use std::collections::{BTreeMap, BTreeSet};

use super::{Pattern, Word};
use crate::tidy::lexer::{self, Kind, Lexed};
use crate::tidy::source::Source;

/// Names the endings of the files that are searched.
const ENDINGS: &[&str] = &[".cff", ".md", ".py", ".rs", ".sh", ".toml", ".yml"];

/// A word and a line that it stands in.
pub struct Found<'a> {
    pub line: usize,
    pub word: &'a Word,
}

/// Returns each word once for each line that holds it.
pub fn search<'a>(source: &Source, words: &[&'a Word]) -> Vec<Found<'a>> {
    if !ENDINGS.iter().any(|ending| source.path.ends_with(ending)) {
        return vec![];
    }
    let dotted = words.iter().map(|word| match word.was {
        Pattern::Key { table, name } => format!("{table}.{name}"),
        _ => String::new(),
    });
    let dotted = dotted.collect();
    let mut search = Search { words, by_token: BTreeMap::new(), dotted, found: BTreeSet::new() };
    for (index, word) in words.iter().enumerate() {
        if let Pattern::Code(pattern) = word.was {
            let first = pattern.split(' ').next().unwrap_or_default();
            search.by_token.entry(first).or_default().push(index);
        }
    }
    search.name_of_file(&source.path);
    if source.is_rust() {
        search.rust(source);
    } else {
        search.document(source);
    }
    let found = search.found.into_iter();
    found.map(|(line, index)| Found { line, word: words[index] }).collect()
}

struct Search<'a, 'b> {
    words: &'b [&'a Word],
    /// Leads from the first token of a sequence to the words that begin so.
    by_token: BTreeMap<&'static str, Vec<usize>>,
    /// Holds `table.name` of every key, and nothing for the other words.
    dotted: Vec<String>,
    /// Holds lines and indices of words.
    found: BTreeSet<(usize, usize)>,
}

impl Search<'_, '_> {
    fn name_of_file(&mut self, path: &str) {
        let small = path.to_ascii_lowercase();
        for (index, word) in self.words.iter().enumerate() {
            let is_named = match word.was {
                Pattern::Word(was) => has_word(path, &small, was),
                Pattern::Text(was) => has_text(path, was),
                _ => false,
            };
            if is_named {
                self.found.insert((1, index));
            }
        }
    }

    fn rust(&mut self, source: &Source) {
        for (index, token) in source.tokens.iter().enumerate() {
            match token.kind {
                Kind::Word => self.name(source.word(index), token.line),
                Kind::Text => {
                    for (after, line) in source.word(index).lines().enumerate() {
                        self.prose(line, token.line + after, true);
                    }
                }
                Kind::Literal | Kind::Sign => {}
            }
            self.sequences(|at| source.word(index + at), index, |at| source.word(at), token.line);
        }
        let (mut fenced, mut last) = (false, 0);
        for comment in &source.comments {
            for (after, line) in source.text[comment.at.clone()].lines().enumerate() {
                let number = comment.line + after;
                fenced &= number == last + 1; // a fence ends with its comment
                last = number;
                let content = line.trim_start_matches(['/', '!', '*', ' ']);
                self.marked(content, number, &mut fenced);
            }
        }
    }

    fn document(&mut self, source: &Source) {
        let mut fenced = false;
        let is_recipe = source.path.ends_with(".toml");
        for (index, line) in source.text.lines().enumerate() {
            if is_recipe {
                let code = line.split('#').next().unwrap_or_default();
                self.keys(code, index + 1);
            }
            self.marked(line, index + 1, &mut fenced);
        }
    }

    /// Searches a line of a comment or of a document, where backticks and fences mark code.
    fn marked(&mut self, line: &str, number: usize, fenced: &mut bool) {
        let is_fence = line.trim_start().starts_with("```");
        *fenced ^= is_fence;
        self.prose(line, number, *fenced && !is_fence);
        if *fenced && !is_fence {
            self.code(line, number);
        } else {
            for span in line.split('`').skip(1).step_by(2) {
                self.code(span, number);
                self.keys(span, number);
            }
        }
    }

    fn code(&mut self, code: &str, number: usize) {
        let Lexed { tokens, .. } = lexer::lex(code);
        let word = |index: usize| tokens.get(index).map_or("", |token| &code[token.at.clone()]);
        for index in 0..tokens.len() {
            self.sequences(|at| word(index + at), index, word, number);
        }
    }

    /// Looks for the sequences that begin at the token `index`; `ahead` counts from there.
    fn sequences<'c>(
        &mut self,
        ahead: impl Fn(usize) -> &'c str,
        index: usize,
        word: impl Fn(usize) -> &'c str,
        line: usize,
    ) {
        let Some(candidates) = self.by_token.get(ahead(0)) else { return };
        let is_flag = index > 1 && word(index - 1) == "-" && word(index - 2) == "-";
        for candidate in candidates.iter().filter(|_| !is_flag) {
            let Pattern::Code(pattern) = self.words[*candidate].was else { continue };
            let matches = pattern.split(' ').enumerate().all(|(at, wanted)| ahead(at) == wanted);
            let is_call = pattern.starts_with('.') && ahead(2) == "(";
            if matches && !is_call {
                self.found.insert((line, *candidate));
            }
        }
    }

    /// Looks for parts of a name of code.
    fn name(&mut self, name: &str, line: usize) {
        let small = name.to_ascii_lowercase();
        for (index, word) in self.words.iter().enumerate() {
            if matches!(word.was, Pattern::Word(was) if has_word(name, &small, was)) {
                self.found.insert((line, index));
            }
        }
    }

    fn prose(&mut self, line: &str, number: usize, with_keys: bool) {
        let small = line.to_ascii_lowercase();
        for (index, word) in self.words.iter().enumerate() {
            let is_there = match word.was {
                Pattern::Word(was) => has_word(line, &small, was),
                Pattern::Phrase(was) => has_text(&small, was),
                Pattern::Text(was) => has_text(line, was),
                Pattern::Key { .. } => has_text(line, &self.dotted[index]),
                Pattern::Code(was) => {
                    was.contains('_') && !was.contains(' ') && has_text(line, was)
                }
            };
            if is_there {
                self.found.insert((number, index));
            }
        }
        if with_keys {
            self.keys(line, number);
        }
    }

    /// Looks for `name =`, but not `name ==`.
    fn keys(&mut self, line: &str, number: usize) {
        for (index, word) in self.words.iter().enumerate() {
            let Pattern::Key { name, .. } = word.was else { continue };
            let is_set = |rest: &str| {
                let rest = rest.trim_start();
                rest.starts_with('=') && !rest.starts_with("==")
            };
            let mut places = line.match_indices(name);
            let is_set = places.any(|(at, _)| {
                let (before, behind) = (&line[..at], &line[at + name.len()..]);
                let begins = !before.ends_with(|it: char| is_inside(it) || it == '.' || it == '-');
                (begins || before.ends_with("\\n")) && is_set(behind)
            });
            if is_set {
                self.found.insert((number, index));
            }
        }
    }
}

fn is_inside(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Says whether `text` stands in `line` with no letter, digit or underscore around it.
fn has_text(line: &str, text: &str) -> bool {
    let (starts_inside, ends_inside) = (text.starts_with(is_inside), text.ends_with(is_inside));
    line.match_indices(text).any(|(at, _)| {
        let (before, behind) = (&line[..at], &line[at + text.len()..]);
        let goes_on_before = before.ends_with(is_inside) && !before.ends_with("\\n");
        let begins = !starts_inside || !goes_on_before;
        let ends = !ends_inside || !behind.starts_with(is_inside);
        begins && ends
    })
}

/// Says whether a word stands in `text` or in one of its names, with or without a plural `s`: in
/// `a_picture`, `PictureRow` and `Pictures`, but not in `depicture`. `small` is `text` in small
/// letters.
fn has_word(text: &str, small: &str, word: &str) -> bool {
    small.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let first = text[at..].chars().next();
        let inside_camel =
            before.is_some_and(|it| it.is_lowercase()) && first.is_some_and(|it| it.is_uppercase());
        let begins = before.is_none_or(|it| !it.is_alphanumeric()) || inside_camel;
        let behind = &text[at + word.len()..];
        let behind = behind.strip_prefix(['s', 'S']).unwrap_or(behind);
        begins && !behind.starts_with(|it: char| it.is_lowercase() || it.is_ascii_digit())
    })
}
