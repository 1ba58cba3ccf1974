//! This module measures how crisp drawn glyphs are: how far each lies from the nearest image that
//! the data itself can show for its caption, in units of the distance between neighbors among
//! these images.
//!
//! The distance of two images is the root mean squared difference of their bytes. With `d_i` from
//! drawing `i` to the nearest of its renderings (every typeface, size and place), and `b_i` the
//! mean distance from each of these renderings to the nearest other one, the ratio is
//! `r = Σ d_i / Σ b_i`. Its error is that of a ratio of means (Cochran 1977, "Sampling Techniques",
//! eq. 6.13): the standard deviation of `d_i - r b_i` over `√n` times the mean of `b_i`.

use std::collections::HashMap;
use std::fmt;

use mm_data::{Combination, GlyphSet};
use mm_patch::Image;
use serde::Serialize;

use crate::share::Z;

/// Distances of drawings from real renderings, in steps of a byte.
///
/// ```
/// use mm_data::{GlyphSet, GlyphsConfig, ImageSettings};
/// use mm_eval::CrispnessMeter;
///
/// let settings = ImageSettings { width: 16, height: 16, patch: 4 };
/// let glyphs = GlyphSet::open(&GlyphsConfig::default(), settings)?;
/// let shown = "blue 7 on gray".parse()?;
/// let mut meter = CrispnessMeter::new(&glyphs);
/// meter.add(&shown, &glyphs.renderings(&shown)[5]);
/// assert_eq!(meter.crispness().unwrap().ratio, 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Crispness {
    /// The number of drawings.
    pub of: usize,
    /// The mean distance of a drawing from the nearest rendering of its caption.
    pub drawn: f64,
    /// The mean distance between neighbors among these renderings.
    pub real: f64,
    /// The first distance over the second.
    pub ratio: f64,
    /// The lower end of the ratio's 95 % interval.
    pub low: f64,
    /// The upper end of the ratio's 95 % interval.
    pub high: f64,
}

impl fmt::Display for Crispness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, drawn, real, ratio, low, high } = self;
        write!(
            f,
            "{ratio:.2} of {of} (95 % interval {low:.2} to {high:.2}): {drawn:.1} of 255 from the \
             nearest rendering, neighbors {real:.1} apart"
        )
    }
}

/// Collects drawings of glyphs and measures their [`Crispness`].
#[derive(Debug)]
pub struct CrispnessMeter<'a> {
    glyphs: &'a GlyphSet,
    /// The distance between neighbors, by the combination.
    neighbors: HashMap<String, f64>,
    pairs: Vec<Pair>,
}

/// The two distances of one drawing.
#[derive(Debug)]
struct Pair {
    drawn: f64,
    real: f64,
}

impl<'a> CrispnessMeter<'a> {
    /// Begins without drawings.
    pub fn new(glyphs: &'a GlyphSet) -> Self {
        Self { glyphs, neighbors: HashMap::new(), pairs: vec![] }
    }

    /// Adds a drawing of what was asked for. A drawing of another size than the data's images is
    /// left out.
    pub fn add(&mut self, asked: &Combination, drawing: &Image) {
        let renderings = self.glyphs.renderings(asked);
        let Some(drawn) = nearest(drawing, renderings.iter()) else { return };
        let among = || neighbor_distance(&renderings);
        let real = *self.neighbors.entry(asked.to_string()).or_insert_with(among);
        self.pairs.push(Pair { drawn, real });
    }

    /// Returns the measure; nothing without drawings.
    pub fn crispness(&self) -> Option<Crispness> {
        let n = self.pairs.len() as f64;
        let mean = |of: fn(&Pair) -> f64| self.pairs.iter().map(of).sum::<f64>() / n;
        let (drawn, real) = (mean(|pair| pair.drawn), mean(|pair| pair.real));
        if self.pairs.is_empty() || real <= 0.0 {
            return None;
        }
        let ratio = drawn / real;
        let squares: f64 =
            self.pairs.iter().map(|pair| (pair.drawn - ratio * pair.real).powi(2)).sum();
        let half = Z * (squares / (n - 1.0).max(1.0) / n).sqrt() / real;
        let (low, high) = ((ratio - half).max(0.0), ratio + half);
        Some(Crispness { of: self.pairs.len(), drawn, real, ratio, low, high })
    }
}

/// Returns the mean distance from each image to the nearest other one; 0 for a single image.
fn neighbor_distance(images: &[Image]) -> f64 {
    let others = |at: usize| images[..at].iter().chain(&images[at + 1..]);
    let distances = images.iter().enumerate().filter_map(|(at, one)| nearest(one, others(at)));
    distances.sum::<f64>() / images.len().max(1) as f64
}

/// Returns the distance to the nearest image of the same size, if there is one.
fn nearest<'i>(image: &Image, others: impl Iterator<Item = &'i Image>) -> Option<f64> {
    let size = |image: &Image| (image.width(), image.height());
    let alike = others.filter(|other| size(other) == size(image));
    let squares = alike.map(|other| squared_difference(image.rgb(), other.rgb())).min()?;
    Some((squares as f64 / image.rgb().len() as f64).sqrt())
}

fn squared_difference(a: &[u8], b: &[u8]) -> u64 {
    let of_piece = |(a, b): (&[u8], &[u8])| -> u32 {
        a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum()
    };
    // The squares of 1024 bytes fit into 32 bits together.
    a.chunks(1024).zip(b.chunks(1024)).map(|pieces| u64::from(of_piece(pieces))).sum()
}

#[cfg(test)]
mod tests {
    use mm_data::{GlyphsConfig, ImageSettings, Split};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn glyphs(shift: usize) -> GlyphSet {
        let config = GlyphsConfig { shift: Some(shift), ..GlyphsConfig::default() };
        GlyphSet::open(&config, ImageSettings { width: 16, height: 16, patch: 4 }).unwrap()
    }

    #[test]
    fn every_image_of_the_data_is_a_rendering_and_so_crisp() {
        let glyphs = glyphs(1);
        let mut meter = CrispnessMeter::new(&glyphs);
        for index in 0..50 {
            let mut rng = ChaCha8Rng::seed_from_u64(index);
            let example = glyphs.example(Split::Train, index, &mut rng);
            meter.add(&example.caption.parse().unwrap(), &example.image);
        }
        let found = meter.crispness().unwrap();
        assert_eq!((found.of, found.drawn, found.ratio), (50, 0.0, 0.0));
        assert!(found.real > 1.0);
    }

    #[test]
    fn the_ratio_is_the_added_noise_over_the_distance_of_neighbors() {
        let glyphs = glyphs(1);
        let mut meter = CrispnessMeter::new(&glyphs);
        let shown: Combination = "black 7 on gray".parse().unwrap();
        for image in glyphs.renderings(&shown) {
            let noisy: Vec<u8> = (0..)
                .zip(image.rgb())
                .map(|(at, &x)| if at % 2 == 0 { x ^ 1 } else { x })
                .collect();
            meter.add(&shown, &Image::new(16, 16, noisy).unwrap());
        }
        let found = meter.crispness().unwrap();
        assert!((found.drawn - 0.5_f64.sqrt()).abs() < 1e-12, "{found:?}");
        assert!((found.ratio - found.drawn / found.real).abs() < 1e-12);
        assert!(found.low <= found.ratio && found.ratio <= found.high);
    }

    #[test]
    fn neighbors_are_nearest_and_not_the_image_itself() {
        let gray = |value: u8| Image::filled(2, 2, [value; 3]);
        let images = [gray(10), gray(13), gray(20)];
        assert_eq!(neighbor_distance(&images), (3.0 + 3.0 + 7.0) / 3.0);
        assert_eq!(neighbor_distance(&images[..1]), 0.0);
    }

    #[test]
    fn a_drawing_of_another_size_and_no_drawing_have_no_measure() {
        let glyphs = glyphs(1);
        let mut meter = CrispnessMeter::new(&glyphs);
        meter.add(&"blue 7 on gray".parse().unwrap(), &Image::filled(8, 8, [0; 3]));
        assert_eq!(meter.crispness(), None);
    }
}
