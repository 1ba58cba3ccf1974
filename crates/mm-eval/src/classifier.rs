//! This module recognizes drawn characters without the model: it finds which character, ink and
//! background an image shows by arithmetic alone, so that no network judges another.
//!
//! The background is the median color of the border. The ink is the one of the palette whose blends
//! with that background explain all pixels best. Projected on the line from background to ink,
//! pixels become coverage in [0, 1]. The coverage is compared with every character in every
//! typeface and size by normalized cross-correlation (Lewis 1995, "Fast normalized
//! cross-correlation", eq. 2) over small shifts about the common center of mass.

use mm_data::{Background, CHARACTERS, Combination, DataError, Faces, ImageSettings, Ink, Mask};
use mm_patch::Image;

/// Counts the templates that are tried at every shift, after all were tried at one.
const FINALISTS: usize = 48;

/// Limits the pixels by which finalists are moved from the common center of mass, each way.
const SHIFT: i32 = 2;

/// The glyph that an image shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecognizedGlyph {
    /// A digit or capital letter.
    pub character: char,
    /// The color of the character.
    pub ink: Ink,
    /// The color of everything else.
    pub background: Background,
    /// The correlation with the best template, at most 1. It is 0 for an image of one color, whose
    /// character has no meaning.
    pub score: f32,
}

impl RecognizedGlyph {
    /// Says whether the image shows what was asked for.
    pub fn agrees(&self, asked: &Combination) -> bool {
        asked.text().chars().eq([self.character])
            && self.ink == asked.ink()
            && self.background == asked.background()
    }
}

/// Recognizes single characters in images of one size.
#[derive(Debug, Clone)]
pub struct GlyphClassifier {
    width: usize,
    height: usize,
    templates: Vec<Template>,
}

impl GlyphClassifier {
    /// Rasterizes the templates for images of `width` x `height` pixels.
    ///
    /// ```
    /// use mm_data::{GlyphSet, GlyphsConfig, ImageSettings};
    /// use mm_eval::classifier::GlyphClassifier;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    ///
    /// let settings = ImageSettings { width: 16, height: 16, patch: 4 };
    /// let glyphs = GlyphSet::open(&GlyphsConfig::default(), settings).unwrap();
    /// let asked = "blue 7 on gray".parse().unwrap();
    /// let drawn = glyphs.draw(&asked, &mut ChaCha8Rng::seed_from_u64(0)).image;
    /// assert!(GlyphClassifier::new(16, 16).unwrap().classify(&drawn).agrees(&asked));
    /// ```
    pub fn new(width: usize, height: usize) -> Result<Self, DataError> {
        let heights = ImageSettings { width, height, patch: 1 }.capital_heights(1)?;
        let (low, high) = (heights[0], heights[heights.len() - 1]);
        let sizes: Vec<usize> = (low..=high).collect();
        let faces = Faces::rasterise(&sizes);
        let pixels = (width * height) as f32;
        let templates =
            faces.all().map(|(character, mask)| Template::new(character, mask, pixels)).collect();
        Ok(Self { width, height, templates })
    }

    /// Says whether an image has the size of the classifier.
    pub fn fits(&self, image: &Image) -> bool {
        (image.width(), image.height()) == (self.width, self.height)
    }

    /// Returns the likeliest glyph of an image.
    ///
    /// # Panics
    ///
    /// Panics if the image does not have the size of the classifier.
    pub fn classify(&self, image: &Image) -> RecognizedGlyph {
        let size = (image.width(), image.height());
        assert_eq!(size, (self.width, self.height), "the classifier knows one size");
        let border = border_color(image);
        let background = nearest_background(border);
        let ink = best_ink(image, border);
        let cover = Cover::new(image, border, ink);
        let (character, score) = self.best_template(&cover).unwrap_or((0, 0.0));
        let character = char::from(CHARACTERS.as_bytes()[character]);
        RecognizedGlyph { character, ink, background, score }
    }

    /// Returns the character of the best template and its correlation, or `None` for an image of
    /// one color.
    fn best_template(&self, cover: &Cover) -> Option<(usize, f32)> {
        if cover.spread <= 1e-3 {
            return None;
        }
        let at_center = |template: &Template| {
            let x = (cover.center.0 - template.center.0).round() as i32;
            let y = (cover.center.1 - template.center.1).round() as i32;
            (x, y)
        };
        let mut ranked = vec![];
        for template in &self.templates {
            let (x, y) = at_center(template);
            ranked.push((template.correlation(cover, x, y), template));
        }
        let finalists = FINALISTS.min(ranked.len());
        ranked.select_nth_unstable_by(finalists - 1, |a, b| b.0.total_cmp(&a.0));
        let mut best = None;
        for (_, template) in &ranked[..finalists] {
            let (x, y) = at_center(template);
            for shift in 0..(2 * SHIFT + 1).pow(2) {
                let (dx, dy) = (shift % (2 * SHIFT + 1) - SHIFT, shift / (2 * SHIFT + 1) - SHIFT);
                let score = template.correlation(cover, x + dx, y + dy);
                if best.is_none_or(|(_, highest)| score > highest) {
                    best = Some((template.character, score));
                }
            }
        }
        best
    }
}

/// One character in one typeface and size.
#[derive(Debug, Clone)]
struct Template {
    character: usize,
    mask: Mask,
    /// The center of mass within the mask, in pixels.
    center: (f32, f32),
    sum: f32,
    /// The square root of the sum of squared differences from the mean, over a whole image.
    spread: f32,
}

impl Template {
    fn new(character: usize, mask: &Mask, pixels: f32) -> Self {
        let (sum, center) = mass(&mask.cover, mask.width);
        let squares: f32 = mask.cover.iter().map(|cover| cover * cover).sum();
        Self {
            character,
            mask: mask.clone(),
            center,
            sum,
            spread: (squares - sum * sum / pixels).sqrt(),
        }
    }

    /// Returns the normalized cross-correlation over the whole image, with the top left corner of
    /// the mask at (`x`, `y`). Outside the mask the template is 0.
    fn correlation(&self, cover: &Cover, x: i32, y: i32) -> f32 {
        let (width, height) = (cover.width as i32, (cover.values.len() / cover.width) as i32);
        let from = (-x).clamp(0, self.mask.width as i32) as usize;
        let to = (width - x).clamp(from as i32, self.mask.width as i32) as usize;
        let mut product = 0.0;
        for (row, line) in self.mask.cover.chunks_exact(self.mask.width).enumerate() {
            let at = y + row as i32;
            if (0..height).contains(&at) && from < to {
                let start = at as usize * cover.width + (x + from as i32) as usize;
                let covered = &cover.values[start..start + to - from];
                product += line[from..to].iter().zip(covered).map(|(a, b)| a * b).sum::<f32>();
            }
        }
        (product - self.sum * cover.sum / cover.values.len() as f32) / (self.spread * cover.spread)
    }
}

/// The share of ink in each pixel of an image.
struct Cover {
    width: usize,
    values: Vec<f32>,
    center: (f32, f32),
    sum: f32,
    spread: f32,
}

impl Cover {
    fn new(image: &Image, border: [f32; 3], ink: Ink) -> Self {
        let axis = Axis::new(border, ink);
        let values: Vec<f32> = pixels(image).map(|pixel| axis.cover(pixel)).collect();
        let (sum, center) = mass(&values, image.width());
        let squares: f32 = values.iter().map(|value| value * value).sum();
        let spread = (squares - sum * sum / values.len() as f32).max(0.0).sqrt();
        Self { width: image.width(), values, center, sum, spread }
    }
}

/// The line from the color of the border to an ink.
struct Axis {
    origin: [f32; 3],
    direction: [f32; 3],
    squared_length: f32,
}

impl Axis {
    fn new(origin: [f32; 3], ink: Ink) -> Self {
        let ink = ink.rgb().map(f32::from);
        let direction = [0, 1, 2].map(|color| ink[color] - origin[color]);
        let squared_length = direction.iter().map(|d| d * d).sum::<f32>().max(1.0);
        Self { origin, direction, squared_length }
    }

    /// Returns the share of ink in a pixel, from 0 to 1.
    fn cover(&self, pixel: [f32; 3]) -> f32 {
        let along: f32 =
            (0..3).map(|color| (pixel[color] - self.origin[color]) * self.direction[color]).sum();
        (along / self.squared_length).clamp(0.0, 1.0)
    }

    /// Returns the squared distance of a pixel from the nearest blend.
    fn miss(&self, pixel: [f32; 3]) -> f32 {
        let cover = self.cover(pixel);
        (0..3)
            .map(|color| {
                (pixel[color] - self.origin[color] - cover * self.direction[color]).powi(2)
            })
            .sum()
    }
}

/// Returns the sum of an image's values and their center of mass.
fn mass(values: &[f32], width: usize) -> (f32, (f32, f32)) {
    let (mut sum, mut x, mut y) = (0.0, 0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        sum += value;
        x += value * (at % width) as f32;
        y += value * (at / width) as f32;
    }
    let total = f32::max(sum, 1e-6);
    (sum, (x / total, y / total))
}

fn pixels(image: &Image) -> impl Iterator<Item = [f32; 3]> {
    image.rgb().chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]].map(f32::from))
}

/// Returns the median of the outermost pixels, for each color by itself.
fn border_color(image: &Image) -> [f32; 3] {
    let (width, height) = (image.width(), image.height());
    let rows = (0..width).flat_map(|x| [(x, 0), (x, height - 1)]);
    let columns = (0..height).flat_map(|y| [(0, y), (width - 1, y)]);
    let border: Vec<[u8; 3]> = rows.chain(columns).map(|(x, y)| image.pixel(x, y)).collect();
    [0, 1, 2].map(|color| {
        let mut values: Vec<u8> = border.iter().map(|pixel| pixel[color]).collect();
        values.sort_unstable();
        f32::from(values[values.len() / 2])
    })
}

fn nearest_background(color: [f32; 3]) -> Background {
    let distance = |background: &Background| -> f32 {
        background.rgb().iter().zip(color).map(|(&a, b)| (f32::from(a) - b).powi(2)).sum()
    };
    smallest(Background::ALL, distance)
}

fn best_ink(image: &Image, border: [f32; 3]) -> Ink {
    smallest(Ink::ALL, |&ink| {
        let axis = Axis::new(border, ink);
        pixels(image).map(|pixel| axis.miss(pixel)).sum()
    })
}

fn smallest<T: Copy>(of: &[T], cost: impl Fn(&T) -> f32) -> T {
    let costs = of.iter().map(|choice| (cost(choice), choice));
    *costs.min_by(|a, b| a.0.total_cmp(&b.0)).expect("palettes are not empty").1
}

#[cfg(test)]
mod tests {
    use mm_data::{GlyphSet, GlyphsConfig, Split};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn held_out_images_are_recognized_at_least_98_times_in_100() {
        for side in [16, 32] {
            let settings = ImageSettings { width: side, height: side, patch: 4 };
            let glyphs = GlyphSet::open(&GlyphsConfig::default(), settings).unwrap();
            let classifier = GlyphClassifier::new(side, side).unwrap();
            let (mut characters, total) = (0, 250);
            for index in 0..total {
                let mut rng = ChaCha8Rng::seed_from_u64(index);
                let example = glyphs.example(Split::HeldOut, index, &mut rng);
                let asked: Combination = example.caption.parse().unwrap();
                let found = classifier.classify(&example.image);
                assert_eq!(
                    (found.ink, found.background),
                    (asked.ink(), asked.background()),
                    "{asked}"
                );
                characters += usize::from(found.agrees(&asked));
            }
            assert!(
                characters as f64 >= 0.98 * total as f64,
                "{characters} of {total} at {side}x{side}"
            );
        }
    }

    #[test]
    fn an_image_of_one_color_scores_nothing() {
        let classifier = GlyphClassifier::new(16, 16).unwrap();
        let found = classifier.classify(&Image::filled(16, 16, Background::Cyan.rgb()));
        assert_eq!((found.background, found.score), (Background::Cyan, 0.0));
    }

    #[test]
    fn noise_and_a_shift_do_not_change_what_is_recognized() {
        let settings = ImageSettings { width: 16, height: 16, patch: 4 };
        let glyphs = GlyphSet::open(&GlyphsConfig::default(), settings).unwrap();
        let classifier = GlyphClassifier::new(16, 16).unwrap();
        let asked: Combination = "purple R on cyan".parse().unwrap();
        let drawn = glyphs.draw(&asked, &mut ChaCha8Rng::seed_from_u64(3)).image;
        let mut rough = Image::filled(16, 16, Background::Cyan.rgb());
        rough.paste(&drawn.crop(0, 0, 15, 16), 1, 0);
        for at in 0..256 {
            let pixel = rough
                .pixel(at % 16, at / 16)
                .map(|color| color.saturating_add((at * 31 % 23) as u8));
            rough.set_pixel(at % 16, at / 16, pixel);
        }
        assert!(classifier.classify(&rough).agrees(&asked));
    }
}
