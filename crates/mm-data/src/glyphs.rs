//! Images of characters, drawn in code: an endless source whose captions say all there is to see
//! but place, size and typeface, for example `red K on yellow`.
//!
//! A fixed tenth of the combinations of characters, ink and background is held out
//! ([`Combination::split`]). One image takes some microseconds, because every character is
//! rasterised once, when the set is opened.

mod combination;
mod faces;
mod pairs;
mod palette;

use std::collections::HashSet;
use std::ops::RangeInclusive;

use mm_model::Document;
use mm_patch::Image;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use combination::Combination;
pub use faces::{CHARACTERS, FACE_NAMES, Faces, Mask, NARROW_FACE};
pub(crate) use pairs::pair;
pub use pairs::{Likeness, Place, which_question};
pub use palette::{Background, Ink};

use crate::bad_records::Skipped;
use crate::error::DataError;
use crate::image::ImageSettings;
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::Split;
use crate::task::Task;

/// Settings of [`GlyphSet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GlyphsConfig {
    /// The fewest and the most characters of one image.
    pub letters: [usize; 2],
    /// Names of the typefaces that are used, from [`FACE_NAMES`]; all of them if there are none.
    pub faces: Vec<String>,
    /// The most pixels that characters stand off the center, each way; an eighth of the image if
    /// not said.
    pub shift: Option<usize>,
}

impl Default for GlyphsConfig {
    fn default() -> Self {
        Self { letters: [1, 1], faces: vec![], shift: None }
    }
}

impl GlyphsConfig {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), DataError> {
        let unknown = self.faces.iter().find(|name| !FACE_NAMES.contains(&name.as_str()));
        if let Some(name) = unknown {
            return Err(DataError::Setting {
                field: "faces",
                found: name.clone(),
                wanted: "names of typefaces: hack, ubuntu-light, dejavu-sans-mono, dejavu-sans-mono-bold, \
                         libertinus-serif, libertinus-serif-bold, new-computer-modern-bold",
            });
        }
        let [fewest, most] = self.letters;
        if 1 <= fewest && fewest <= most && most <= Combination::MAX_LETTERS {
            return Ok(());
        }
        Err(DataError::Setting {
            field: "letters",
            found: format!("{:?}", self.letters),
            wanted: "the fewest and the most characters of an image, from 1 to 4",
        })
    }
}

/// An endless source of glyph images.
#[derive(Debug, Clone)]
pub struct GlyphSet {
    letters: [usize; 2],
    image: ImageSettings,
    faces: Faces,
    /// Indices of the faces in use.
    used: Vec<usize>,
    /// The most pixels off the center.
    shift: [usize; 2],
    held_out: Vec<Combination>,
}

impl GlyphSet {
    /// Rasterises the characters at the sizes that such images need.
    pub fn open(config: &GlyphsConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        image.validate()?;
        let [fewest, most] = config.letters;
        let mut sizes = Vec::new();
        for letters in fewest..=most {
            sizes.extend(image.capital_heights(letters)?);
        }
        sizes.sort_unstable();
        sizes.dedup();
        let singles_only = most == 1;
        let held_out =
            Combination::singles().filter(|shown| singles_only && shown.split() == Split::HeldOut);
        let used = (0..FACE_NAMES.len())
            .filter(|&face| {
                config.faces.is_empty() || config.faces.iter().any(|name| name == FACE_NAMES[face])
            })
            .collect();
        let shift = [image.width, image.height].map(|side| config.shift.unwrap_or(side / 8));
        Ok(Self {
            letters: config.letters,
            used,
            shift,
            image,
            faces: Faces::rasterise(&sizes),
            held_out: held_out.collect(),
        })
    }

    /// Draws an image of the split: any of its combinations by `rng`, or the held-out combination
    /// number `index` where [`DataSource::len`] is finite.
    pub fn example(&self, split: Split, index: u64, rng: &mut ChaCha8Rng) -> Example {
        match self.len(split) {
            Some(len) => self.draw(&self.held_out[(index % len) as usize], rng),
            None => self.draw(&self.combination(split, rng), rng),
        }
    }

    /// Returns an image of one combination; place, size and typeface are drawn from `rng`.
    ///
    /// ```
    /// use mm_data::{GlyphSet, GlyphsConfig, ImageSettings};
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    ///
    /// let settings = ImageSettings { width: 16, height: 16, patch: 4 };
    /// let glyphs = GlyphSet::open(&GlyphsConfig::default(), settings).unwrap();
    /// let shown = "red K on yellow".parse().unwrap();
    /// let example = glyphs.draw(&shown, &mut ChaCha8Rng::seed_from_u64(0));
    /// assert_eq!(example.caption, "red K on yellow");
    /// assert_eq!(example.image.pixel(0, 0), shown.background().rgb());
    /// ```
    pub fn draw(&self, shown: &Combination, rng: &mut ChaCha8Rng) -> Example {
        let characters: Vec<usize> = shown.indices().collect();
        let face = *pick(&self.used, rng);
        let wanted = *pick(&heights(self.image, characters.len()), rng);
        let line = self.fitting_line(&characters, face, wanted);
        let x = place(self.image.width, line.width, self.shift[0], rng);
        let y = place(self.image.height, line.height, self.shift[1], rng);
        let cover = line.cover(self.image, x, y);
        Example {
            image: paint(self.image, &cover, shown.ink(), shown.background()),
            caption: shown.to_string(),
        }
    }

    /// Returns every different image that [`draw`](Self::draw) can return for a combination, by
    /// typeface, size, row and column.
    pub fn renderings(&self, shown: &Combination) -> Vec<Image> {
        let characters: Vec<usize> = shown.indices().collect();
        let mut images = vec![];
        let mut seen = HashSet::new();
        for &face in &self.used {
            for height in heights(self.image, characters.len()) {
                let line = self.fitting_line(&characters, face, height);
                for y in places(self.image.height, line.height, self.shift[1]) {
                    for x in places(self.image.width, line.width, self.shift[0]) {
                        let cover = line.cover(self.image, x, y);
                        let image = paint(self.image, &cover, shown.ink(), shown.background());
                        if seen.insert(image.rgb().to_vec()) {
                            images.push(image);
                        }
                    }
                }
            }
        }
        images
    }

    /// Draws where a glyph stands, without saying which glyph.
    pub(crate) fn placement(&self, letters: usize, rng: &mut ChaCha8Rng) -> Placement {
        let face = *pick(&self.used, rng);
        let height = *pick(&heights(self.image, letters), rng);
        let shift = self.shift.map(|most| rng.random_range(-(most as i32)..=most as i32));
        Placement { face, height, shift }
    }

    /// Draws a combination at a place: two of the same characters differ in nothing but colors.
    pub(crate) fn draw_at(&self, shown: &Combination, at: &Placement) -> Image {
        let characters: Vec<usize> = shown.indices().collect();
        let line = self.fitting_line(&characters, at.face, at.height);
        let start = |whole: usize, part: usize, shift: i32| {
            let Center { start, aside } = Center::of(whole, part);
            start + shift.clamp(-aside, aside)
        };
        let x = start(self.image.width, line.width, at.shift[0]);
        let y = start(self.image.height, line.height, at.shift[1]);
        paint(self.image, &line.cover(self.image, x, y), shown.ink(), shown.background())
    }

    /// Returns a combination of the split, each equally likely for its number of characters.
    pub fn combination(&self, split: Split, rng: &mut ChaCha8Rng) -> Combination {
        loop {
            let letters = rng.random_range(self.letters[0]..=self.letters[1]);
            let text: String = (0..letters).map(|_| random_character(rng)).collect();
            let shown = combine(&text, *pick(Ink::ALL, rng), *pick(Background::ALL, rng));
            if shown.split() == split {
                return shown;
            }
        }
    }

    /// Returns the characters side by side, at the wanted size or the next smaller ones until they
    /// fit; the last resort is the smallest size of a narrow face.
    fn fitting_line(&self, characters: &[usize], face: usize, wanted: usize) -> Line<'_> {
        let largest = self.faces.sizes().iter().rposition(|&size| size <= wanted).unwrap_or(0);
        let fits = |line: &Line<'_>| {
            line.width + 2 <= self.image.width && line.height + 2 <= self.image.height
        };
        (0..=largest)
            .rev()
            .map(|size| {
                Line::new(characters.iter().map(|&c| self.faces.mask(face, size, c)).collect())
            })
            .find(fits)
            .unwrap_or_else(|| {
                Line::new(characters.iter().map(|&c| self.faces.mask(NARROW_FACE, 0, c)).collect())
            })
    }
}

/// Held out are the held-out combinations one by one where images have one character; all else is
/// endless. The texts for a tokenizer are every single character, or 4096 captions, and the
/// questions and answers.
impl DataSource for GlyphSet {
    fn name(&self) -> &'static str {
        "glyphs"
    }

    fn len(&self, split: Split) -> Option<u64> {
        match split {
            Split::HeldOut if !self.held_out.is_empty() => Some(self.held_out.len() as u64),
            _ => None,
        }
    }

    fn load(&self, split: Split, at: u64, rng: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        Ok(Record::Captioned(self.example(split, at, rng)))
    }

    fn captions(&self) -> Vec<String> {
        let mut captions: Vec<String> = if self.letters[1] == 1 {
            let train = Combination::singles().filter(|shown| shown.split() == Split::Train);
            train.map(|shown| shown.to_string()).collect()
        } else {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            (0..4096).map(|_| self.combination(Split::Train, &mut rng).to_string()).collect()
        };
        captions.extend(Ink::ALL.iter().map(|&ink| which_question(ink)));
        captions.extend([Place::First.word(), Place::Second.word()].map(String::from));
        captions.extend([Likeness::Same.word(), Likeness::Different.word()].map(String::from));
        captions
    }

    fn pair_document(&self, task: Task, split: Split, rng: &mut ChaCha8Rng) -> Option<Document> {
        match task {
            Task::SameOrDifferent => Some(self.same_or_different(split, rng)),
            Task::WhichOne => Some(self.which_one_is(split, rng)),
            Task::Draw | Task::Read | Task::Finished | Task::Both => None,
        }
    }
}

/// How a glyph stands in an image: its typeface, its size and its distance from the center.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement {
    face: usize,
    height: usize,
    shift: [i32; 2],
}

/// Masks side by side, in one row or several, and the box that holds them.
pub(crate) struct Line<'a> {
    /// Left and top edge of each mask within the box.
    masks: Vec<(i32, i32, &'a Mask)>,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// From the start of the first baseline to the left edge of the box.
    pub(crate) left: i32,
    /// From the first baseline to the top edge of the box.
    pub(crate) top: i32,
}

impl<'a> Line<'a> {
    fn new(masks: Vec<&'a Mask>) -> Self {
        Self::of_rows(vec![masks], 0)
    }

    /// Sets rows of masks below each other, all from the left, with `pitch` pixels from baseline to
    /// baseline.
    pub(crate) fn of_rows(rows: Vec<Vec<&'a Mask>>, pitch: i32) -> Self {
        let mut placed: Vec<(i32, i32, &Mask)> = vec![];
        let mut baseline = 0;
        for row in rows {
            let mut pen = 0;
            for mask in row {
                placed.push((pen + mask.left, baseline - mask.top, mask));
                pen += mask.advance;
            }
            baseline += pitch;
        }
        let edge = |of: fn(&(i32, i32, &Mask)) -> i32| placed.iter().map(of);
        let left = edge(|m| m.0).min().unwrap_or(0);
        let top = edge(|m| m.1).min().unwrap_or(0);
        let right = edge(|m| m.0 + m.2.width as i32).max().unwrap_or(0);
        let bottom = edge(|m| m.1 + m.2.height as i32).max().unwrap_or(0);
        for mask in &mut placed {
            *mask = (mask.0 - left, mask.1 - top, mask.2);
        }
        let (width, height) = ((right - left) as usize, (bottom - top) as usize);
        Self { masks: placed, width, height, left, top }
    }

    /// Computes the coverage of every pixel of an image with the box at (`x`, `y`); what stands out
    /// is cut.
    pub(crate) fn cover(&self, image: ImageSettings, x: i32, y: i32) -> Vec<f32> {
        let mut cover = vec![0.0_f32; image.width * image.height];
        for &(left, top, mask) in &self.masks {
            for (at, &value) in mask.cover.iter().enumerate() {
                let column = x + left + (at % mask.width) as i32;
                let row = y + top + (at / mask.width) as i32;
                if (0..image.width as i32).contains(&column)
                    && (0..image.height as i32).contains(&row)
                {
                    let pixel = &mut cover[row as usize * image.width + column as usize];
                    *pixel = pixel.max(value);
                }
            }
        }
        cover
    }
}

impl ImageSettings {
    /// Returns the capital heights at which images of this size show so many characters, in pixels,
    /// ascending.
    pub fn capital_heights(self, letters: usize) -> Result<Vec<usize>, DataError> {
        let Self { width, height, .. } = self;
        if width < 8 * letters || width < 12 || height < 12 {
            return Err(DataError::Setting {
                field: "image",
                found: format!("{width}x{height}"),
                wanted: "at least 12x12 pixels and 8 columns a character",
            });
        }
        Ok(heights(self, letters))
    }
}

/// Returns up to four heights: the largest is three quarters of the image or what lets monospaced
/// letters fit, the smallest three quarters of that.
fn heights(image: ImageSettings, letters: usize) -> Vec<usize> {
    let high = (image.height * 3 / 4).min(image.width * 9 / (8 * letters));
    let low = (high * 3).div_ceil(4);
    let mut heights: Vec<usize> = (0..4).map(|step| low + (high - low) * step / 3).collect();
    heights.dedup();
    heights
}

/// Draws where a box of `part` pixels starts in `whole`: the center, up to `shift` aside, a pixel
/// from the edges.
pub(crate) fn place(whole: usize, part: usize, shift: usize, rng: &mut ChaCha8Rng) -> i32 {
    rng.random_range(places(whole, part, shift))
}

/// Returns every start that [`place`] can draw.
fn places(whole: usize, part: usize, shift: usize) -> RangeInclusive<i32> {
    let Center { start, aside } = Center::of(whole, part);
    let aside = aside.min(shift as i32);
    start - aside..=start + aside
}

/// The middle of an image along one side.
struct Center {
    /// Where a box starts that stands there.
    start: i32,
    /// How far it may move each way, a pixel from the edges.
    aside: i32,
}

impl Center {
    /// Returns the middle for a box of `part` pixels in `whole`.
    fn of(whole: usize, part: usize) -> Self {
        let start = (whole as i32 - part as i32).max(0) / 2;
        Self { start, aside: (start - 1).max(0) }
    }
}

pub(crate) fn paint(
    image: ImageSettings,
    cover: &[f32],
    ink: Ink,
    background: Background,
) -> Image {
    let (ink, background) = (ink.rgb().map(f32::from), background.rgb().map(f32::from));
    let rgb = cover.iter().flat_map(|&cover| {
        [0, 1, 2]
            .map(|color| (background[color] + (ink[color] - background[color]) * cover + 0.5) as u8)
    });
    Image::new(image.width, image.height, rgb.collect()).expect("three numbers for each pixel")
}

pub(crate) fn combine(text: &str, ink: Ink, background: Background) -> Combination {
    Combination::new(text, ink, background).expect("drawn from the known characters")
}

pub(crate) fn random_character(rng: &mut ChaCha8Rng) -> char {
    char::from(*pick(CHARACTERS.as_bytes(), rng))
}

pub(crate) fn pick<'a, T>(of: &'a [T], rng: &mut ChaCha8Rng) -> &'a T {
    &of[rng.random_range(0..of.len())]
}

#[cfg(test)]
mod tests;
