//! Coloring: an image whose luma is the given gray.

use mm_patch::Image;

use super::repair::into_range;
use super::{Measurement, check_size};

/// The shares of red, green and blue of the luma of ITU-R BT.601 (0.299, 0.587, 0.114), of 65,536.
const WEIGHTS: [i64; 3] = [19_595, 38_470, 7_471];

/// All shares together.
const WHOLE: i64 = 65_536;

/// Returns the luma of a color: `(19595 r + 38470 g + 7471 b + 32768) / 65536` in integers, as
/// Pillow's `convert("L")` computes it. The luma of a gray is the gray.
///
/// ```
/// assert_eq!(mm_model::luma([255, 0, 0]), 76);
/// assert_eq!(mm_model::luma([93, 93, 93]), 93);
/// ```
pub fn luma(color: [u8; 3]) -> u8 {
    let sum: i64 = color.iter().zip(WEIGHTS).map(|(&value, share)| i64::from(value) * share).sum();
    ((sum + WHOLE / 2) / WHOLE) as u8
}

/// The [`luma`] of every pixel of an image.
#[derive(Debug, Clone)]
pub struct Color {
    width: usize,
    height: usize,
    luma: Vec<u8>,
}

impl Color {
    /// Asks for an image of the luma of this one, which is gray or has colors to be replaced.
    pub fn of_image(image: &Image) -> Self {
        let (pixels, _) = image.rgb().as_chunks::<3>();
        let luma = pixels.iter().map(|&color| luma(color)).collect();
        Self { width: image.width(), height: image.height(), luma }
    }
}

impl Measurement for Color {
    fn width(&self) -> usize {
        self.width
    }

    fn height(&self) -> usize {
        self.height
    }

    fn project(&self, planes: &mut [f64]) {
        let shares = WEIGHTS.map(|share| share as f64 / WHOLE as f64);
        let square: f64 = shares.iter().map(|share| share * share).sum();
        let pixels = self.luma.len();
        for (at, &wanted) in self.luma.iter().enumerate() {
            let found: f64 = (0..3).map(|color| shares[color] * planes[color * pixels + at]).sum();
            let step = (f64::from(wanted) - found) / square;
            for color in 0..3 {
                planes[color * pixels + at] += shares[color] * step;
            }
        }
    }

    fn repair(&self, bytes: &mut [u8], exact: &[f64]) {
        let pixels = self.luma.len();
        for (at, &wanted) in self.luma.iter().enumerate() {
            let places = [at, pixels + at, 2 * pixels + at];
            let mut color = places.map(|place| bytes[place]);
            let least = WHOLE * i64::from(wanted) - WHOLE / 2;
            let exact = places.map(|place| exact[place]);
            into_range(&mut color, &exact, &WEIGHTS, &(least..=least + WHOLE - 1));
            for (place, byte) in places.into_iter().zip(color) {
                bytes[place] = byte;
            }
        }
    }

    fn largest_error(&self, image: &Image) -> u8 {
        check_size(self, image);
        let found = Self::of_image(image).luma;
        found.iter().zip(&self.luma).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
    }
}
