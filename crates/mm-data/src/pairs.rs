//! Pairs of images that are equal or differ in one detail, made in code: an endless source of
//! documents that ask whether two images are the same, or which of them has the detail.
//!
//! Both images show one [word](crate::WordSet) at the same place in the same colors. Where they
//! differ, one of them has a stroke more (a line of 4 to 8 pixels, one pixel thick), a block more
//! (a square of 2 to 4 pixels in another color), or another letter in one place. The faces are of
//! fixed width, so another letter moves nothing else.
//!
//! Held out are pairs of held-out words ([`Split::of_key`]); where a letter differs, both words are
//! of the split.

use mm_model::Document;
use mm_patch::Image;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::bad_records::Skipped;
use crate::error::DataError;
use crate::glyphs::{CHARACTERS, Ink, Likeness, Place, pair, pick};
use crate::image::ImageSettings;
use crate::record::Record;
use crate::source::DataSource;
use crate::split::Split;
use crate::words::{HEIGHTS, Setting, WordSet, WordsConfig, check_range};

/// The faces whose letters are equally wide.
const FIXED_WIDTH: [&str; 3] = ["hack", "dejavu-sans-mono", "dejavu-sans-mono-bold"];

/// A pixel has changed visibly where one of its colors differs by at least so much of 255.
const VISIBLE: u8 = 48;

/// The number of pixels of a stroke or a block that must have changed visibly.
const SEEN: usize = 4;

/// Settings of [`PairSet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairsConfig {
    /// The fewest and the most letters of the word; as many of them as their height leaves room
    /// for.
    pub letters: [usize; 2],
    /// The least and the greatest height of capitals, in pixels.
    pub heights: [usize; 2],
}

impl Default for PairsConfig {
    fn default() -> Self {
        Self { letters: [2, 8], heights: [8, 16] }
    }
}

impl PairsConfig {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), DataError> {
        let wanted = "the fewest and the most letters of the word, from 2 to 8";
        check_range("letters", self.letters, [2, 8], wanted)?;
        check_range("heights", self.heights, [5, 16], HEIGHTS)
    }
}

/// What two images differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Difference {
    /// One has a stroke more.
    Stroke,
    /// One has a block of pixels more.
    Block,
    /// One letter is another one.
    Letter,
}

impl Difference {
    /// Every difference.
    pub const ALL: [Self; 3] = [Self::Stroke, Self::Block, Self::Letter];

    /// Returns the word that scores use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stroke => "stroke",
            Self::Block => "block",
            Self::Letter => "letter",
        }
    }
}

/// What a document asks about its two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Asked {
    /// Whether they are the same, and they are; nothing is asked in words.
    Same,
    /// Whether they are the same, and they differ; nothing is asked in words.
    Different(Difference),
    /// Which of them has the detail, or the word that the question names.
    Which(Difference),
}

impl Asked {
    /// Everything that may be asked.
    pub fn all() -> impl Iterator<Item = Self> {
        let different = Difference::ALL.into_iter().map(Self::Different);
        let which = Difference::ALL.into_iter().map(Self::Which);
        std::iter::once(Self::Same).chain(different).chain(which)
    }

    /// Returns the name that scores use, such as `which-letter`.
    pub fn name(self) -> String {
        match self {
            Self::Same => "same".to_owned(),
            Self::Different(difference) => format!("different-{}", difference.name()),
            Self::Which(difference) => format!("which-{}", difference.name()),
        }
    }
}

/// An endless source of pairs of images.
///
/// ```
/// use mm_data::{Asked, Difference, ImageSettings, PairSet, PairsConfig, Split};
/// use mm_model::Segment;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let settings = ImageSettings { width: 64, height: 64, patch: 8 };
/// let pairs = PairSet::open(&PairsConfig::default(), settings)?;
/// let mut rng = ChaCha8Rng::seed_from_u64(0);
/// let document = pairs.ask(Asked::Different(Difference::Stroke), Split::Train, &mut rng);
/// assert_eq!(document.segments[2], Segment::target_text("different"));
/// assert_ne!(document.segments[0], document.segments[1]);
/// # Ok::<(), mm_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PairSet(WordSet);

impl PairSet {
    /// Rasterizes the characters at every height.
    pub fn open(config: &PairsConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let words = WordsConfig {
            lines: [1, 1],
            letters: config.letters,
            heights: config.heights,
            faces: FIXED_WIDTH.map(String::from).into(),
            shift: None,
            easy: 0.0,
        };
        Ok(Self(WordSet::open(&words, image)?))
    }

    /// Makes a document of a split that asks this: a question in words, if there is one, two images
    /// as context, and the answer as target.
    pub fn ask(&self, asked: Asked, split: Split, rng: &mut ChaCha8Rng) -> Document {
        let size = self.0.some_size(rng);
        let [word, neighbor] = self.neighbors(split, size, rng);
        let words = [word];
        let setting = self.0.setting(&words, size, rng);
        let plain = self.0.image(&words, &setting);
        let difference = match asked {
            Asked::Same => return pair(None, plain.clone(), plain, Likeness::Same.word()),
            Asked::Different(difference) | Asked::Which(difference) => difference,
        };
        let question = which_has(difference, &neighbor);
        let changed = match difference {
            Difference::Stroke => with_stroke(&plain, &setting, rng),
            Difference::Block => with_block(&plain, &setting, rng),
            Difference::Letter => self.0.image(&[neighbor], &setting),
        };
        let place = *pick(&[Place::First, Place::Second], rng);
        let (first, second) = match place {
            Place::First => (changed, plain),
            Place::Second => (plain, changed),
        };
        match asked {
            Asked::Which(_) => pair(Some(question), first, second, place.word()),
            _ => pair(None, first, second, Likeness::Different.word()),
        }
    }

    /// Draws two words of the split that differ in one letter.
    fn neighbors(&self, split: Split, size: usize, rng: &mut ChaCha8Rng) -> [String; 2] {
        loop {
            let word = self.0.words(split, size, rng).swap_remove(0);
            let neighbors = neighbors_of(&word, split);
            if !neighbors.is_empty() {
                let neighbor = pick(&neighbors, rng).clone();
                return [word, neighbor];
            }
        }
    }
}

/// Returns the question which of two images has the detail.
fn which_has(difference: Difference, word: &str) -> String {
    match difference {
        Difference::Letter => format!("which one says {word}?"),
        detail => format!("which one has a {} more?", detail.name()),
    }
}

/// Returns every word of the split that differs from `word` in one letter.
fn neighbors_of(word: &str, split: Split) -> Vec<String> {
    let replaced = |at: usize, character: char| {
        let mut other = word.to_owned();
        other.replace_range(at..=at, character.encode_utf8(&mut [0; 4]));
        other
    };
    (0..word.len())
        .flat_map(|at| CHARACTERS.chars().map(move |character| replaced(at, character)))
        .filter(|other| other != word && Split::of_key(other) == split)
        .collect()
}

/// Draws a line one pixel thick in the color of the ink: level, upright or diagonal.
fn with_stroke(plain: &Image, setting: &Setting, rng: &mut ChaCha8Rng) -> Image {
    let ink = setting.ink.rgb();
    changed_visibly(plain, rng, &mut |rng| {
        let length = rng.random_range(4..=8_i32);
        let [dx, dy] = *pick(&[[1, 0], [0, 1], [1, 1], [1, -1]], rng);
        let x = rng.random_range(0..plain.width() as i32);
        let y = rng.random_range(0..plain.height() as i32);
        (0..length).map(|step| Dot { x: x + step * dx, y: y + step * dy, color: ink }).collect()
    })
}

/// Draws a square in an ink that is not that of the word.
fn with_block(plain: &Image, setting: &Setting, rng: &mut ChaCha8Rng) -> Image {
    let others: Vec<Ink> = Ink::ALL.iter().copied().filter(|&ink| ink != setting.ink).collect();
    changed_visibly(plain, rng, &mut |rng| {
        let side = rng.random_range(2..=4_i32);
        let color = pick(&others, rng).rgb();
        let x = rng.random_range(0..plain.width() as i32);
        let y = rng.random_range(0..plain.height() as i32);
        let dot = |at: i32| Dot { x: x + at % side, y: y + at / side, color };
        (0..side * side).map(dot).collect()
    })
}

/// A pixel of a detail.
struct Dot {
    x: i32,
    y: i32,
    color: [u8; 3],
}

/// Draws details until one lies within the image and at least [`SEEN`] of its pixels have changed
/// visibly. The edges of an image are free, so there is always such a detail.
fn changed_visibly(
    plain: &Image,
    rng: &mut ChaCha8Rng,
    detail: &mut dyn FnMut(&mut ChaCha8Rng) -> Vec<Dot>,
) -> Image {
    let (width, height) = (plain.width(), plain.height());
    loop {
        let dots = detail(rng);
        let inside =
            |dot: &Dot| (0..width as i32).contains(&dot.x) && (0..height as i32).contains(&dot.y);
        let differs = |dot: &&Dot| {
            let before = plain.pixel(dot.x as usize, dot.y as usize);
            before.iter().zip(dot.color).any(|(was, is)| was.abs_diff(is) >= VISIBLE)
        };
        if !dots.iter().all(inside) || dots.iter().filter(differs).count() < SEEN {
            continue;
        }
        let mut rgb = plain.rgb().to_vec();
        for Dot { x, y, color } in dots {
            let at = 3 * (y as usize * width + x as usize);
            rgb[at..at + 3].copy_from_slice(&color);
        }
        return Image::new(width, height, rgb).expect("as many numbers as before");
    }
}

/// Nothing ends. Half of the documents ask whether two images are the same, and half of these are;
/// the other half ask which one. A tokenizer is trained on single characters, the questions and the
/// answers.
impl DataSource for PairSet {
    fn name(&self) -> &'static str {
        "pairs"
    }

    fn len(&self, _: Split) -> Option<u64> {
        None
    }

    fn load(&self, split: Split, _: u64, rng: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let difference = *pick(&Difference::ALL, rng);
        let asked = match rng.random_range(0..4) {
            0 => Asked::Same,
            1 => Asked::Different(difference),
            _ => Asked::Which(difference),
        };
        Ok(Record::Whole(self.ask(asked, split, rng)))
    }

    fn captions(&self) -> Vec<String> {
        let mut texts = self.0.captions();
        texts.extend(Difference::ALL.map(|difference| which_has(difference, "")));
        texts.extend([Place::First.word(), Place::Second.word()].map(String::from));
        texts.extend([Likeness::Same.word(), Likeness::Different.word()].map(String::from));
        // Twice, since a pair of bytes must be met twice to become a token.
        texts.clone().into_iter().chain(texts).collect()
    }
}

#[cfg(test)]
mod tests;
