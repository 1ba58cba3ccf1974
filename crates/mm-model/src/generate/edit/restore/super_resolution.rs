//! Super-resolution: an image that, averaged down, is the given small one.

use mm_patch::Image;

use super::repair::into_range;
use super::{Measurement, bytes_of, check_size, image_of};
use crate::generate::edit::error::EditError;

/// The means of square blocks of an image. The mean of `k` x `k` bytes is rounded to the nearest
/// byte, and a half is rounded up: `(sum + k² / 2) / k²` in integers.
#[derive(Debug, Clone)]
pub struct SuperResolution {
    small: Image,
    /// The planes of the small image.
    bytes: Vec<u8>,
    factor: usize,
}

impl SuperResolution {
    /// Asks for an image that is `factor` times as wide and as high as a small one.
    pub fn new(small: Image, factor: usize) -> Result<Self, EditError> {
        EditError::unless((1..=256).contains(&factor), "factor", factor, "1 to 256")?;
        Ok(Self { bytes: bytes_of(&small), small, factor })
    }

    /// Returns an image averaged down by `factor`. Panics if a side is not a multiple of it.
    pub fn down(image: &Image, factor: usize) -> Image {
        let (width, height) = (image.width() / factor, image.height() / factor);
        let whole = (width * factor, height * factor) == (image.width(), image.height());
        assert!(whole, "the sides of {image:?} are no multiples of {factor}");
        let bytes = bytes_of(image);
        let size = factor * factor;
        let means = (0..3 * width * height).map(|at| {
            let sum: usize = block(at, width, factor).map(|place| usize::from(bytes[place])).sum();
            ((sum + size / 2) / size) as u8
        });
        image_of(&means.collect::<Vec<u8>>(), width, height)
    }
}

/// Returns the places in large planes of the block of number `at` of small planes, whose rows have
/// `width` pixels.
fn block(at: usize, width: usize, factor: usize) -> impl Iterator<Item = usize> + Clone {
    let (x, y) = (at % width * factor, at / width * factor); // planes follow one another as rows do
    (0..factor * factor)
        .map(move |inside| (y + inside / factor) * width * factor + x + inside % factor)
}

impl Measurement for SuperResolution {
    fn width(&self) -> usize {
        self.small.width().saturating_mul(self.factor)
    }

    fn height(&self) -> usize {
        self.small.height().saturating_mul(self.factor)
    }

    fn project(&self, planes: &mut [f64]) {
        let size = (self.factor * self.factor) as f64;
        for (at, &wanted) in self.bytes.iter().enumerate() {
            let places = block(at, self.small.width(), self.factor);
            let mean = places.clone().map(|place| planes[place]).sum::<f64>() / size;
            for place in places {
                planes[place] += f64::from(wanted) - mean;
            }
        }
    }

    fn repair(&self, bytes: &mut [u8], exact: &[f64]) {
        let size = (self.factor * self.factor) as i64;
        let weights = vec![1; size as usize];
        for (at, &wanted) in self.bytes.iter().enumerate() {
            let places: Vec<usize> = block(at, self.small.width(), self.factor).collect();
            let mut inside: Vec<u8> = places.iter().map(|&place| bytes[place]).collect();
            let exact: Vec<f64> = places.iter().map(|&place| exact[place]).collect();
            let least = size * i64::from(wanted) - size / 2;
            into_range(&mut inside, &exact, &weights, &(least..=least + size - 1));
            for (place, byte) in places.into_iter().zip(inside) {
                bytes[place] = byte;
            }
        }
    }

    fn largest_error(&self, image: &Image) -> u8 {
        check_size(self, image);
        let means = bytes_of(&Self::down(image, self.factor));
        means.iter().zip(&self.bytes).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
    }
}
