//! Doc comments are sentences: they begin with a capital, end in a full stop, and say of what they
//! speak.
//!
//! The check reads paragraphs of prose. Headings, lists, tables, formulas and fenced or indented
//! code are free.

use super::Problem;
use super::source::{Doc, Source};

/// Holds the openings of fragments, which lean on a name or on a neighbor for their subject.
const FRAGMENTS: &[&str] = &["Of", "The same", "Same", "Ditto", "Likewise"];

/// Holds the openings that make a fragment of the first paragraph. Further below they may open a
/// sentence that has its subject in the paragraph before.
const FIRST_FRAGMENTS: &[&str] = &["As", "Like", "For", "Or", "And"];

/// Holds the openings of a fragment that is short and has none of [`VERBS`], as "In pixels." has
/// not.
const PREPOSITIONS: &[&str] = &[
    "Along", "At", "Behind", "Below", "Between", "Beside", "By", "From", "In", "On", "Over", "To",
    "With", "Without",
];

/// Holds verbs that make a sentence of what opens with one of [`PREPOSITIONS`].
const VERBS: &[&str] = &[
    "are", "can", "cannot", "do", "does", "has", "have", "is", "may", "must", "was", "were", "will",
];

/// A first sentence of more words is taken for one with a verb of its own.
const LONGEST_FRAGMENT: usize = 8;

/// Checks every paragraph of every doc comment.
pub fn are_sentences(source: &Source) -> Vec<Problem> {
    let mut problems = vec![];
    for doc in source.docs() {
        for (index, paragraph) in paragraphs(&doc).into_iter().enumerate() {
            let breach = breach(&paragraph.text, index == 0);
            problems.extend(breach.map(|it| Problem::new(&source.path, paragraph.line, it)));
        }
    }
    problems
}

/// A paragraph of prose.
struct Paragraph {
    /// Is where the paragraph begins in the file.
    line: usize,
    /// Holds the lines, joined by spaces.
    text: String,
}

/// Returns the paragraphs of prose in a doc comment.
fn paragraphs(doc: &Doc<'_>) -> Vec<Paragraph> {
    let mut paragraphs: Vec<Paragraph> = vec![];
    let (mut fence, mut open, mut in_list) = (None, false, false);
    for line in &doc.lines {
        let content = line.text.trim();
        let indent = line.text.len() - line.text.trim_start().len();
        if let Some(sign) = fence {
            fence = (!content.starts_with(sign)).then_some(sign);
            open = false;
        } else if let Some(sign) = ["```", "~~~", "$$"].iter().find(|it| content.starts_with(**it))
        {
            let closed = content.len() > sign.len() && content.ends_with(sign);
            fence = (!closed).then_some(sign);
            (open, in_list) = (false, false);
        } else if content.is_empty() {
            open = false;
        } else if is_list_item(content) {
            (open, in_list) = (false, true);
        } else if in_list && (indent > 1 || !after_blank(doc, line.number)) {
            open = false; // the item goes on
        } else if content.starts_with(['#', '|']) || is_reference(content) || indent > 4 {
            open = false;
        } else if let (true, Some(last)) = (open, paragraphs.last_mut()) {
            last.text += " ";
            last.text += content;
        } else {
            (open, in_list) = (true, false);
            paragraphs.push(Paragraph { line: line.number, text: content.to_owned() });
        }
    }
    paragraphs
}

fn after_blank(doc: &Doc<'_>, number: usize) -> bool {
    doc.lines.iter().any(|line| line.number + 1 == number && line.text.trim().is_empty())
}

fn is_list_item(content: &str) -> bool {
    let number = content.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let numbered = number.len() < content.len() && number.starts_with([')', '.']);
    let marked = content.starts_with(['-', '*', '+']);
    (marked && content[1..].starts_with(' ')) || (numbered && number[1..].starts_with(' '))
}

/// Says whether a line gives the address of a link, as in `[name]: address`.
fn is_reference(content: &str) -> bool {
    content.starts_with('[') && content.contains("]: ") && content.split_whitespace().count() == 2
}

/// Says what is wrong with a paragraph, if something is.
fn breach(text: &str, is_first: bool) -> Option<String> {
    let shown: String = text.chars().take(40).collect();
    let first = text.chars().next()?;
    if first.is_ascii_lowercase() {
        return Some(format!("`{shown}` begins with a small letter, wanted a sentence"));
    }
    let mut openings = FRAGMENTS.iter().chain(FIRST_FRAGMENTS.iter().filter(|_| is_first));
    let opening = openings.find(|opening| begins_with(text, opening));
    let mut prepositions = PREPOSITIONS.iter().filter(|_| is_first && has_no_verb(text));
    let preposition = prepositions.find(|opening| begins_with(text, opening));
    if let Some(opening) = opening.or(preposition) {
        return Some(format!(
            "`{shown}` is a fragment, wanted a sentence that does not open with `{opening}`"
        ));
    }
    if ends_a_sentence(text) || is_formula(text) {
        return None;
    }
    let tail: Vec<char> = text.chars().rev().take(40).collect();
    let tail: String = tail.into_iter().rev().collect();
    Some(format!("`{tail}` ends without a full stop, wanted `.`, `:`, `?` or `!`"))
}

/// Says whether `text` begins with whole words, whatever the case of the letters after the first.
fn begins_with(text: &str, words: &str) -> bool {
    text.strip_prefix(words).is_some_and(|rest| {
        !rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '-')
    })
}

/// Says whether the first sentence of `text` is short and has none of [`VERBS`].
fn has_no_verb(text: &str) -> bool {
    let first = text.split(['.', ';', ':', ',']).next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    words.len() <= LONGEST_FRAGMENT && !words.iter().any(|word| VERBS.contains(word))
}

fn ends_a_sentence(text: &str) -> bool {
    let bare = text.trim_end_matches([')', '"', '”', '\'', '*', '_', '`']);
    bare.ends_with(['.', ':', '?', '!']) && !text.ends_with("...`")
}

/// Says whether a paragraph has no letters outside of code and formulas.
fn is_formula(text: &str) -> bool {
    let outside = |sign: char| text.split(sign).step_by(2).flat_map(str::chars);
    let has_none = |sign: char| !outside(sign).any(char::is_alphabetic);
    (text.contains('`') && has_none('`')) || (text.contains('$') && has_none('$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: &[usize]) {
        let problems = are_sentences(&Source::new("a.rs", text));
        let found: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(found, lines, "{text}: {problems:?}");
    }

    #[test]
    fn a_paragraph_without_a_capital_or_a_full_stop_is_named() {
        check("/// returns it.\n", &[1]);
        check("//! Opens\n//! twice\n\n/// Returns it\nfn f() {}\n", &[1, 4]);
        check("/// Returns it.\n///\n/// more of it.\n", &[3]);
        check("/// Ends in code `a.b`\n", &[1]);
        let problem = &are_sentences(&Source::new("a.rs", "/// Returns it\n"))[0];
        let wanted = "a.rs:1: `Returns it` ends without a full stop, wanted `.`, `:`, `?` or `!`";
        assert_eq!(problem.to_string(), wanted);
    }

    #[test]
    fn a_fragment_is_named_by_its_opening() {
        for text in [
            "Of the norm.",
            "The same, for rows.",
            "As above.",
            "Like `f`.",
            "For tests.",
            "Ditto.",
        ] {
            check(&format!("/// {text}\n"), &[1]);
        }
        check("/// Returns it.\n///\n/// For small sizes it is slow.\n", &[]);
        check("/// Returns it.\n///\n/// Of the norm.\n", &[3]);
        for text in ["In pixels.", "From zero, with a bias.", "Without edges."] {
            check(&format!("/// {text}\n"), &[1]);
        }
        check("/// In training the mask is free.\n", &[]);
        check("/// By the end of the first run of all steps it loses its use.\n", &[]);
        check("/// Inputs of a block.\n", &[]);
        check("/// Often it is so.\n/// Format follows.\n", &[]);
        check("/// The sameness is checked.\n", &[]);
    }

    #[test]
    fn sentences_may_begin_with_code_links_quotes_digits_and_symbols() {
        for text in
            ["`a` is it.", "[`A`] is it.", "\"A\" is it.", "3 is it.", "β is it!", "(See it.)"]
        {
            check(&format!("/// {text}\n"), &[]);
        }
        check("/// Is it?\n/// They are:\n///\n/// - one\n/// - two\n///   and more\n", &[]);
    }

    #[test]
    fn lists_tables_headings_formulas_and_code_are_free() {
        check("/// # heading\n///\n/// ```\n/// let a = 1\n///\n/// b\n/// ```\n", &[]);
        check("/// | a | b |\n/// | - | - |\n", &[]);
        check("/// 1. one\n/// 2. two\n/// goes on\n///\n/// then this\n", &[5]);
        check(
            "/// `[batch, rows]` -> `[batch]`\n///\n/// $a = b$\n///\n/// $$\n/// c\n/// $$\n",
            &[],
        );
        check("/// Returns it: [a].\n///\n/// [a]: https://a.org\n", &[]);
        check("/// Returns it:\n///\n///     a = b\n", &[]);
    }
}
