//! The words of a dialogue: what may be asked, and in how many ways.
//!
//! A phrasing is an opening, a core and a closing. A fixed tenth of all phrasings is held out, so
//! that a test can ask in words that never stood together in training.

use std::sync::LazyLock;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::glyphs::pick;
use crate::split::{Split, split_hash};

/// What a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// An image of what is named.
    Draw,
    /// The words for an image.
    Read,
    /// The last image in another ink.
    Ink,
    /// The last image on another background.
    Background,
    /// The last image with another character.
    Character,
    /// Which of two images is in an ink.
    Which,
    /// Whether two images show the same.
    Same,
    /// Two images, one after another.
    DrawTwo,
    /// The words, then the image, then the end of the sentence.
    SayAndDraw,
}

const OPENINGS: &[&str] = &["", "please ", "now ", "ok, "];
const CLOSINGS: &[&str] = &["", " please", "!"];

impl Intent {
    /// Every intent.
    pub const ALL: [Self; 9] = [
        Self::Draw,
        Self::Read,
        Self::Ink,
        Self::Background,
        Self::Character,
        Self::Which,
        Self::Same,
        Self::DrawTwo,
        Self::SayAndDraw,
    ];

    /// Returns the cores of the phrasings; `{}` and then `{2}` stand for what is named.
    const fn cores(self) -> &'static [&'static str] {
        match self {
            Self::Draw => &["draw {}", "show me {}", "paint {}", "{}"],
            Self::Read => &["what is this?", "what do you see?", "read it", "name it"],
            Self::Ink => &["make it {}", "color it {}", "in {}", "paint it {}"],
            Self::Background => &["on {}", "put it on {}", "make it on {}", "set it on {}"],
            Self::Character => &["a {}", "make it a {}", "turn it into a {}", "change it to a {}"],
            Self::Which => &["which one is {}?", "which is {}?", "find the {} one", "where is {}?"],
            Self::Same => &["same or different?", "are they the same?", "do they differ?"],
            Self::DrawTwo => &["draw {} and {2}", "show me {} and {2}", "{} and {2}"],
            Self::SayAndDraw => &["say and draw {}", "draw and say {}", "say what you draw: {}"],
        }
    }

    /// Returns the phrasings of a split. The tenth whose hashes are smallest is held out.
    pub fn phrasings(self, split: Split) -> &'static [String] {
        static ALL: LazyLock<[[Vec<String>; 2]; Intent::ALL.len()]> =
            LazyLock::new(|| Intent::ALL.map(Intent::divided));
        &ALL[self as usize][split as usize]
    }

    /// Returns the phrasings of both splits, in their order.
    fn divided(self) -> [Vec<String>; 2] {
        let mut all = vec![];
        for core in self.cores() {
            for opening in OPENINGS {
                for closing in CLOSINGS {
                    if closing.is_empty() || !core.ends_with('?') {
                        all.push(format!("{opening}{core}{closing}"));
                    }
                }
            }
        }
        all.sort_by_cached_key(|phrasing| split_hash(phrasing));
        let train = all.split_off(all.len().div_ceil(10));
        [train, all]
    }

    /// Asks in one phrasing of the split about one thing or two.
    pub fn ask(self, split: Split, first: &str, second: &str, rng: &mut ChaCha8Rng) -> String {
        let phrasing = pick(self.phrasings(split), rng);
        phrasing.replace("{2}", second).replace("{}", first)
    }
}

/// Draws an index by weights.
pub fn weighted(weights: &[f64], rng: &mut ChaCha8Rng) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        if left < *weight {
            return index;
        }
        left -= weight;
    }
    weights.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_intent_has_phrasings_in_both_splits_and_every_core_is_trained() {
        for intent in Intent::ALL {
            let train = intent.phrasings(Split::Train);
            assert!(!intent.phrasings(Split::HeldOut).is_empty(), "{intent:?}");
            for core in intent.cores() {
                assert!(train.iter().any(|phrasing| phrasing.contains(core)), "{core}");
            }
        }
    }

    #[test]
    fn no_phrasing_asks_for_two_things() {
        let mut all: Vec<&String> = Intent::ALL
            .iter()
            .flat_map(|intent| Split::ALL.map(|s| intent.phrasings(s)))
            .flatten()
            .collect();
        let before = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), before);
    }
}
