//! Documents about two glyph images: whether they show the same, and which of them is in an ink.

use mm_model::{Document, Segment};
use mm_patch::Image;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::combination::Combination;
use super::palette::{Background, Ink};
use super::{GlyphSet, combine, pick, random_character};
use crate::split::Split;

/// Whether two images show the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Likeness {
    /// Both show equal characters in equal colors, whatever their place, size and typeface.
    Same,
    /// The characters, the ink or the background differ.
    Different,
}

impl Likeness {
    /// Returns the word that answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
        }
    }
}

/// One of two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The image shown first.
    First,
    /// The image shown second.
    Second,
}

impl Place {
    /// Returns the word that answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// Returns the question which of two images is drawn in `ink`.
pub fn which_question(ink: Ink) -> String {
    format!("which one is {ink}?")
}

/// Makes the document that has two images as context, after a question if there is one, and a word
/// as target.
pub(crate) fn pair(
    question: Option<String>,
    first: Image,
    second: Image,
    answer: &str,
) -> Document {
    let mut segments: Vec<Segment> = question.into_iter().map(Segment::context_text).collect();
    segments.extend([Segment::context_image(first), Segment::context_image(second)]);
    segments.push(Segment::target_text(answer));
    Document { segments }
}

impl GlyphSet {
    /// Draws two images that are the same or differ in one character, in ink or in background; the
    /// target says which. Both are of the split.
    pub fn same_or_different(&self, split: Split, rng: &mut ChaCha8Rng) -> Document {
        let (answer, shown) = self.alike_or_not(split, rng);
        let [first, second] = shown.map(|one| self.draw(&one, rng).image);
        pair(None, first, second, answer.word())
    }

    /// Draws two images in different inks and asks which of them is in one of the two. Both are of
    /// the split.
    pub fn which_one_is(&self, split: Split, rng: &mut ChaCha8Rng) -> Document {
        let (answer, shown) = self.in_two_inks(split, rng);
        let question = which_question(shown[answer as usize].ink());
        let [first, second] = shown.map(|one| self.draw(&one, rng).image);
        pair(Some(question), first, second, answer.word())
    }

    /// Makes two combinations of the split that are the same, or differ in one thing.
    pub(crate) fn alike_or_not(
        &self,
        split: Split,
        rng: &mut ChaCha8Rng,
    ) -> (Likeness, [Combination; 2]) {
        let answer = *pick(&[Likeness::Same, Likeness::Different], rng);
        let (first, second) = match answer {
            Likeness::Same => {
                let shown = self.combination(split, rng);
                (shown.clone(), shown)
            }
            Likeness::Different => self.differing_pair(split, rng),
        };
        (answer, [first, second])
    }

    /// Makes two combinations of the split in different inks, and picks one.
    pub(crate) fn in_two_inks(
        &self,
        split: Split,
        rng: &mut ChaCha8Rng,
    ) -> (Place, [Combination; 2]) {
        let first = self.combination(split, rng);
        let second = loop {
            let other = self.combination(split, rng);
            if other.ink() != first.ink() {
                break other;
            }
        };
        (*pick(&[Place::First, Place::Second], rng), [first, second])
    }

    pub(super) fn differing_pair(
        &self,
        split: Split,
        rng: &mut ChaCha8Rng,
    ) -> (Combination, Combination) {
        loop {
            let first = self.combination(split, rng);
            let (mut text, mut ink, mut background) =
                (first.text().to_owned(), first.ink(), first.background());
            match rng.random_range(0..3) {
                0 => {
                    let at = rng.random_range(0..text.len());
                    text.replace_range(at..=at, random_character(rng).encode_utf8(&mut [0; 4]));
                }
                1 => ink = *pick(Ink::ALL, rng),
                _ => background = *pick(Background::ALL, rng),
            }
            let second = combine(&text, ink, background);
            if second != first && second.split() == split {
                return (first, second);
            }
        }
    }
}
