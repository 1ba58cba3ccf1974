//! What a glyph image shows: characters, ink and background, and the caption that says so.

use std::fmt;
use std::str::FromStr;

use super::super::{DataError, Split};
use super::faces::CHARACTERS;
use super::palette::{Background, Ink};

/// One to four characters in one ink on one background. Its caption is what it prints.
///
/// ```
/// use mm_data::{Combination, Ink};
///
/// let shown: Combination = "red K on yellow".parse().unwrap();
/// assert_eq!((shown.text(), shown.ink()), ("K", Ink::Red));
/// assert_eq!(shown.to_string(), "red K on yellow");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Combination {
    text: String,
    ink: Ink,
    background: Background,
}

impl Combination {
    /// Most characters of one image.
    pub const MAX_LETTERS: usize = 4;

    /// Takes one to [`Self::MAX_LETTERS`] characters of [`CHARACTERS`] in colors.
    pub fn new(text: &str, ink: Ink, background: Background) -> Result<Self, DataError> {
        let letters = text.chars().count();
        if !(1..=Self::MAX_LETTERS).contains(&letters)
            || !text.chars().all(|c| CHARACTERS.contains(c))
        {
            return Err(DataError::Setting {
                field: "text",
                found: text.into(),
                wanted: "one to four characters of `0-9` and `A-Z`",
            });
        }
        Ok(Self { text: text.into(), ink, background })
    }

    /// Returns the characters.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the color of the characters.
    pub fn ink(&self) -> Ink {
        self.ink
    }

    /// Returns the color of everything else.
    pub fn background(&self) -> Background {
        self.background
    }

    /// Returns the split that the combination belongs to: a fixed tenth of all captions is held
    /// out, see [`Split::of_key`].
    pub fn split(&self) -> Split {
        Split::of_key(&self.to_string())
    }

    /// Returns all 864 combinations of a single character, characters outermost.
    pub fn singles() -> impl Iterator<Item = Self> {
        CHARACTERS.chars().flat_map(|character| {
            Ink::ALL.iter().flat_map(move |&ink| {
                Background::ALL.iter().map(move |&background| Self {
                    text: character.into(),
                    ink,
                    background,
                })
            })
        })
    }

    /// Returns the places of the characters in [`CHARACTERS`].
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> {
        self.text
            .chars()
            .map(|character| CHARACTERS.find(character).expect("the constructor checked it"))
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}", self.ink, self.text, self.background)
    }
}

impl FromStr for Combination {
    type Err = DataError;

    fn from_str(caption: &str) -> Result<Self, DataError> {
        let wrong = || DataError::Setting {
            field: "caption",
            found: caption.into(),
            wanted: "a caption like `red K on yellow`",
        };
        let words: Vec<&str> = caption.split_whitespace().collect();
        let [ink, text, "on", background] = words[..] else { return Err(wrong()) };
        let (Some(ink), Some(background)) = (Ink::of_name(ink), Background::of_name(background))
        else {
            return Err(wrong());
        };
        Self::new(text, ink, background)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_caption_parses_back() {
        let all: HashSet<String> = Combination::singles()
            .map(|shown| {
                let caption = shown.to_string();
                assert_eq!(caption.parse::<Combination>().unwrap(), shown);
                caption
            })
            .collect();
        assert_eq!(all.len(), 36 * 6 * 4);
    }

    #[test]
    fn captions_of_something_else_are_refused_by_name() {
        let refusal = |caption: &str| caption.parse::<Combination>().unwrap_err().to_string();
        assert_eq!(
            refusal("a red K"),
            "`caption` is `a red K`, wanted a caption like `red K on yellow`"
        );
        assert_eq!(
            refusal("red k on yellow"),
            "`text` is `k`, wanted one to four characters of `0-9` and `A-Z`"
        );
    }

    #[test]
    fn a_tenth_of_the_combinations_is_held_out_and_every_character_is_trained() {
        let (train, held_out): (Vec<_>, Vec<_>) =
            Combination::singles().partition(|c| c.split() == Split::Train);
        assert!((70..105).contains(&held_out.len()), "{}", held_out.len());
        for character in CHARACTERS.chars() {
            let times = train.iter().filter(|c| c.text().contains(character)).count();
            assert!(times >= 15, "{character} is trained in {times} of 24 colors");
        }
    }
}
