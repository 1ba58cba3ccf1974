//! Words in images, drawn in code: an endless source on which a loss of detail shows.
//!
//! An image has one to three lines, each a word of one to eight letters and digits in capitals from
//! 5 to 16 pixels high, in one of several typefaces and in the colors of [glyphs](crate::GlyphSet).
//! The caption is the text alone, with a space where a line ends. Whoever reads it must tell single
//! strokes apart, since any letter may follow any other.
//!
//! A fixed tenth of all words is held out ([`Split::of_key`]): images of the held-out split have
//! such words only, and images of the training split none.

use mm_patch::Image;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::bad_records::Skipped;
use crate::error::DataError;
use crate::glyphs::{
    Background, CHARACTERS, FACE_NAMES, Faces, GlyphsConfig, Ink, Line, Mask, NARROW_FACE, paint,
    pick, place, random_character,
};
use crate::image::ImageSettings;
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::Split;

/// The least capital height in pixels; below it, letters of every face look alike.
const LEAST_HEIGHT: usize = 5;

/// The greatest capital height in pixels.
const MOST_HEIGHT: usize = 16;

/// The most letters of a word of an easy image.
const EASY_LETTERS: usize = 3;

/// The least height of capitals of an easy image, in pixels.
const EASY_HEIGHT: usize = 8;

const LINES: &str = "the fewest and the most lines of an image, from 1 to 3";
const LETTERS: &str = "the fewest and the most letters of a word, from 1 to 8";
pub(crate) const HEIGHTS: &str =
    "the least and the greatest height of capitals in pixels, from 5 to 16";

/// Settings of [`WordSet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordsConfig {
    /// The fewest and the most lines of an image; as many of them as the height of the letters
    /// leaves room for.
    pub lines: [usize; 2],
    /// The fewest and the most letters of a word; as many of them as the height of the letters
    /// leaves room for.
    pub letters: [usize; 2],
    /// The least and the greatest height of capitals, in pixels.
    pub heights: [usize; 2],
    /// Names of the typefaces that are used, from [`FACE_NAMES`]; all of them if there are none.
    pub faces: Vec<String>,
    /// The most pixels that the text stands off the center, each way; anywhere if not said.
    pub shift: Option<usize>,
    /// The share of training images that are easy, from 0 to 1: the fewest lines, words of at most
    /// three letters, capitals from 8 pixels on. They are meant to show a model where to look
    /// before it reads long texts.
    #[serde(skip_serializing_if = "is_zero")]
    pub easy: f64,
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

impl Default for WordsConfig {
    fn default() -> Self {
        Self {
            lines: [1, 3],
            letters: [1, 8],
            heights: [LEAST_HEIGHT, MOST_HEIGHT],
            faces: vec![],
            shift: None,
            easy: 0.0,
        }
    }
}

impl WordsConfig {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), DataError> {
        check_range("lines", self.lines, [1, 3], LINES)?;
        check_range("letters", self.letters, [1, 8], LETTERS)?;
        check_range("heights", self.heights, [LEAST_HEIGHT, MOST_HEIGHT], HEIGHTS)?;
        if !(0.0..=1.0).contains(&self.easy) {
            let found = self.easy.to_string();
            return Err(DataError::Setting { field: "easy", found, wanted: "a share from 0 to 1" });
        }
        let faces = self.faces.clone();
        GlyphsConfig { faces, ..GlyphsConfig::default() }.validate()
    }
}

/// Fails unless `found` is a range within `allowed`, which `wanted` describes.
pub(crate) fn check_range(
    field: &'static str,
    found: [usize; 2],
    allowed: [usize; 2],
    wanted: &'static str,
) -> Result<(), DataError> {
    if allowed[0] <= found[0] && found[0] <= found[1] && found[1] <= allowed[1] {
        return Ok(());
    }
    Err(DataError::Setting { field, found: format!("{found:?}"), wanted })
}

/// What an image has room for at one height of letters.
#[derive(Debug, Clone, Copy)]
struct Room {
    height: usize,
    lines: usize,
    letters: usize,
    /// The distance from one baseline to the next, in pixels.
    pitch: i32,
}

/// How words stand in an image: two settings of the same words differ in nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    face: usize,
    /// The index of the height.
    size: usize,
    pub(crate) ink: Ink,
    pub(crate) background: Background,
    /// Where the first baseline starts: column and row.
    pen: [i32; 2],
}

/// An endless source of words in images.
///
/// ```
/// use mm_data::{DataSource, ImageSettings, Split, WordSet, WordsConfig};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let settings = ImageSettings { width: 64, height: 64, patch: 8 };
/// let words = WordSet::open(&WordsConfig::default(), settings)?;
/// let example = words.draw(Split::HeldOut, 8, &mut ChaCha8Rng::seed_from_u64(0));
/// assert!(example.caption.split(' ').all(|word| Split::of_key(word) == Split::HeldOut));
/// assert_eq!((example.image.width(), words.heights()), (64, 5..=16));
/// # Ok::<(), mm_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct WordSet {
    config: WordsConfig,
    image: ImageSettings,
    faces: Faces,
    /// Indices of the faces in use.
    used: Vec<usize>,
    /// The heights, ascending and without gaps.
    rooms: Vec<Room>,
}

impl WordSet {
    /// Rasterizes the characters at every height. An image without room for the fewest letters and
    /// lines at the greatest height is an error.
    pub fn open(config: &WordsConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        image.validate()?;
        let sizes: Vec<usize> = (config.heights[0]..=config.heights[1]).collect();
        let faces = Faces::rasterise(&sizes);
        let rooms: Vec<Room> = (0..sizes.len()).map(|size| Room::of(&faces, size, image)).collect();
        let too_small =
            |room: &Room| room.letters < config.letters[0] || room.lines < config.lines[0];
        if rooms.iter().any(too_small) {
            return Err(DataError::Setting {
                field: "image",
                found: format!("{}x{}", image.width, image.height),
                wanted: "room for the fewest `letters` and `lines` at the greatest of `heights`",
            });
        }
        let used = (0..FACE_NAMES.len()).filter(|&face| {
            config.faces.is_empty() || config.faces.iter().any(|name| name == FACE_NAMES[face])
        });
        Ok(Self { config: config.clone(), image, used: used.collect(), faces, rooms })
    }

    /// Returns the heights of capitals that images have, in pixels.
    pub fn heights(&self) -> std::ops::RangeInclusive<usize> {
        self.config.heights[0]..=self.config.heights[1]
    }

    /// Draws words of a split in letters of one height, which [`Self::heights`] must have; the
    /// nearest of them is taken otherwise.
    pub fn draw(&self, split: Split, height: usize, rng: &mut ChaCha8Rng) -> Example {
        let size = self.size_of(height);
        let words = self.words(split, size, rng);
        self.example(&words, size, rng)
    }

    /// Draws an easy image.
    fn draw_easy(&self, split: Split, rng: &mut ChaCha8Rng) -> Example {
        let size = rng.random_range(self.size_of(EASY_HEIGHT)..self.rooms.len());
        let (fewest, shortest) = (self.config.lines[0], self.config.letters[0]);
        let longest = self.longest(size).min(EASY_LETTERS).max(shortest);
        let words: Vec<_> =
            (0..fewest).map(|_| self.word(split, [shortest, longest], rng)).collect();
        self.example(&words, size, rng)
    }

    /// Shows words in letters of a size.
    fn example(&self, words: &[String], size: usize, rng: &mut ChaCha8Rng) -> Example {
        let setting = self.setting(words, size, rng);
        Example { image: self.image(words, &setting), caption: words.join(" ") }
    }

    /// Draws the index of one of the heights.
    pub(crate) fn some_size(&self, rng: &mut ChaCha8Rng) -> usize {
        rng.random_range(0..self.rooms.len())
    }

    fn size_of(&self, height: usize) -> usize {
        let [least, most] = self.config.heights;
        height.clamp(least, most) - least
    }

    /// Draws as many words of a split as the letters of a size leave room for.
    pub(crate) fn words(&self, split: Split, size: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let room = self.rooms[size];
        let [fewest, most] = self.config.lines;
        let lines = rng.random_range(fewest..=most.min(room.lines));
        let letters = [self.config.letters[0], self.longest(size)];
        (0..lines).map(|_| self.word(split, letters, rng)).collect()
    }

    /// Returns the most letters of a word that the letters of a size leave room for.
    fn longest(&self, size: usize) -> usize {
        self.config.letters[1].min(self.rooms[size].letters)
    }

    /// Draws a word of a split with so many letters, at least and at most.
    fn word(&self, split: Split, [least, most]: [usize; 2], rng: &mut ChaCha8Rng) -> String {
        loop {
            let letters = rng.random_range(least..=most);
            let word: String = (0..letters).map(|_| random_character(rng)).collect();
            if Split::of_key(&word) == split {
                return word;
            }
        }
    }

    /// Draws how words stand: a face in which they fit, colors and a place.
    pub(crate) fn setting(&self, words: &[String], size: usize, rng: &mut ChaCha8Rng) -> Setting {
        let mut face = *pick(&self.used, rng);
        let mut line = self.line(words, face, size);
        let ImageSettings { width, height, .. } = self.image;
        if line.width + 2 > width || line.height + 2 > height {
            face = NARROW_FACE;
            line = self.line(words, face, size);
        }
        let mut start = |whole: usize, part: usize| {
            place(whole, part, self.config.shift.unwrap_or(whole).min(whole), rng)
        };
        let pen = [start(width, line.width) - line.left, start(height, line.height) - line.top];
        let (ink, background) = (*pick(Ink::ALL, rng), *pick(Background::ALL, rng));
        Setting { face, size, ink, background, pen }
    }

    /// Draws words as a setting says, whatever their number of letters; what stands out is cut.
    pub(crate) fn image(&self, words: &[String], setting: &Setting) -> Image {
        let cover = self.cover(words, setting);
        paint(self.image, &cover, setting.ink, setting.background)
    }

    /// Returns how much of every pixel the letters cover, from 0 to 1, row by row.
    fn cover(&self, words: &[String], setting: &Setting) -> Vec<f32> {
        let line = self.line(words, setting.face, setting.size);
        let [x, y] = setting.pen;
        line.cover(self.image, x + line.left, y + line.top)
    }

    fn line(&self, words: &[String], face: usize, size: usize) -> Line<'_> {
        let mask = |character: char| {
            let index = CHARACTERS.find(character).expect("words are of these characters");
            self.faces.mask(face, size, index)
        };
        let rows = words.iter().map(|word| word.chars().map(mask).collect()).collect();
        Line::of_rows(rows, self.rooms[size].pitch)
    }
}

impl Room {
    /// Measures how much text of the narrow face fits in an image, a pixel from its edges.
    fn of(faces: &Faces, size: usize, image: ImageSettings) -> Self {
        let height = faces.sizes()[size];
        let pitch = (height * 4).div_ceil(3) as i32;
        let masks: Vec<&Mask> =
            (0..CHARACTERS.len()).map(|c| faces.mask(NARROW_FACE, size, c)).collect();
        let most = |of: fn(&Mask) -> i32| masks.iter().map(|mask| of(mask)).max().unwrap_or(0);
        let advance = most(|mask| mask.advance.max(mask.left + mask.width as i32));
        let over = most(|mask| mask.top) + most(|mask| mask.height as i32 - mask.top);
        let [width, rows] = [image.width, image.height].map(|side| side as i32 - 2);
        let lines = if rows < over { 0 } else { 1 + (rows - over) / pitch };
        Self { height, lines: lines as usize, letters: (width / advance).max(0) as usize, pitch }
    }
}

/// Nothing ends, and the heights are equally frequent. A tokenizer is trained on single characters,
/// so that it has a token for each of them and none for two.
impl DataSource for WordSet {
    fn name(&self) -> &'static str {
        "words"
    }

    fn len(&self, _: Split) -> Option<u64> {
        None
    }

    fn load(&self, split: Split, _: u64, rng: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let Self { config, rooms, .. } = self;
        if split == Split::Train && config.easy > 0.0 && rng.random_bool(config.easy) {
            return Ok(Record::Captioned(self.draw_easy(split, rng)));
        }
        let size = self.some_size(rng);
        Ok(Record::Captioned(self.draw(split, rooms[size].height, rng)))
    }

    fn captions(&self) -> Vec<String> {
        CHARACTERS.chars().map(String::from).collect()
    }
}

#[cfg(test)]
mod tests;
