//! Antialiased resizing in memory that is bounded by the wanted size, not by the given size.
//!
//! The filter is the cubic of Catmull and Rom (1974), widened when it shrinks, applied to the bytes
//! as they are (without gamma). Very large images are first averaged in blocks to at least [`KEEP`]
//! times the wanted size, because the filter's buffer of floats has the *old* width and the new
//! height, so a hostile strip of 2^26 x 1 pixels would ask for gigabytes.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb};

use crate::Image;
use crate::image::RGB_CHANNELS;

/// Blocks are averaged only where a side shrinks by more than twice this factor, and they leave
/// this factor to the filter.
const KEEP: usize = 8;

impl Image {
    /// Returns the whole image at another size, antialiased. The aspect changes if the size says
    /// so, and the same size returns the same bytes. Panics on a side of zero pixels.
    ///
    /// ```
    /// use mm_patch::Image;
    ///
    /// let image = Image::filled(64, 48, [10, 20, 30]);
    /// assert_eq!(image.resize(16, 16), Image::filled(16, 16, [10, 20, 30]));
    /// ```
    pub fn resize(&self, width: usize, height: usize) -> Self {
        assert!(width > 0 && height > 0, "an image of {width} x {height} pixels has no pixels");
        if (width, height) == (self.width(), self.height()) {
            return self.clone();
        }
        let between = (middle(self.width(), width), middle(self.height(), height));
        if between == (self.width(), self.height()) {
            return filtered(self, width, height, FilterType::CatmullRom);
        }
        let means = block_means(self, between.0, between.1);
        filtered(&means, width, height, FilterType::CatmullRom)
    }

    /// Returns the whole image at another size by a triangle filter, which is "bilinear with
    /// antialiasing" in other libraries.
    pub(crate) fn resize_by_triangles(&self, width: usize, height: usize) -> Self {
        let between = (middle(self.width(), width), middle(self.height(), height));
        if between == (self.width(), self.height()) {
            return filtered(self, width, height, FilterType::Triangle);
        }
        let means = block_means(self, between.0, between.1);
        filtered(&means, width, height, FilterType::Triangle)
    }
}

/// Returns the length of a side between the two steps.
fn middle(old: usize, new: usize) -> usize {
    if old > new.saturating_mul(2 * KEEP) { KEEP * new } else { old }
}

fn filtered(image: &Image, width: usize, height: usize, filter: FilterType) -> Image {
    let view = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(
        image.width() as u32,
        image.height() as u32,
        image.rgb(),
    )
    .expect("three bytes a pixel");
    let resized = imageops::resize(&view, width as u32, height as u32, filter);
    Image::new(width, height, resized.into_raw()).expect("three bytes a pixel")
}

/// Returns the means of blocks whose borders lie on whole pixels. `width` and `height` are at most
/// those of the image.
fn block_means(image: &Image, width: usize, height: usize) -> Image {
    let border =
        |at: usize, old: usize, new: usize| (at as u128 * old as u128 / new as u128) as usize;
    let mut rgb = Vec::with_capacity(RGB_CHANNELS * width * height);
    for row in 0..height {
        let (top, bottom) =
            (border(row, image.height(), height), border(row + 1, image.height(), height));
        for col in 0..width {
            let (left, right) =
                (border(col, image.width(), width), border(col + 1, image.width(), width));
            let mut sums = [0u64; RGB_CHANNELS];
            for y in top..bottom {
                let line = RGB_CHANNELS * y * image.width();
                let bytes = line + RGB_CHANNELS * left..line + RGB_CHANNELS * right;
                for pixel in image.rgb()[bytes].chunks_exact(RGB_CHANNELS) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += u64::from(value);
                    }
                }
            }
            let count = ((bottom - top) * (right - left)) as u64;
            rgb.extend(sums.map(|sum| ((sum + count / 2) / count) as u8));
        }
    }
    Image::new(width, height, rgb).expect("three bytes a pixel")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::gradient;

    #[test]
    fn the_same_size_is_the_same_image() {
        assert_eq!(gradient(13, 7).resize(13, 7), gradient(13, 7));
    }

    #[test]
    fn a_flat_color_stays_flat_at_every_size() {
        let color = [17, 130, 255];
        for (from, to) in
            [((1, 1), (16, 16)), ((1, 5000), (16, 64)), ((5000, 1), (1, 1)), ((640, 3), (7, 300))]
        {
            let resized = Image::filled(from.0, from.1, color).resize(to.0, to.1);
            assert_eq!(resized, Image::filled(to.0, to.1, color), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn shrinking_a_checkerboard_gives_gray_and_no_moire() {
        for factor in [4, 8, 40] {
            let side = 10 * factor;
            let board =
                (0..side * side).flat_map(|at| [[0u8; 3], [255; 3]][(at % side + at / side) % 2]);
            let small = Image::new(side, side, board.collect()).unwrap().resize(10, 10);
            assert!(
                small.rgb().iter().all(|value| value.abs_diff(128) <= 8),
                "shrunk {factor} times"
            );
        }
    }

    #[test]
    fn blocks_take_every_pixel_once() {
        let values = [10, 20, 31, 40, 60].map(|value| [value; 3]).concat();
        let means = block_means(&Image::new(5, 1, values.clone()).unwrap(), 2, 1);
        assert_eq!(means.rgb(), [15, 15, 15, 44, 44, 44]); // 10 20 | 31 40 60
        let means = block_means(&Image::new(1, 5, values).unwrap(), 1, 2);
        assert_eq!(means.rgb(), [15, 15, 15, 44, 44, 44]);
    }

    #[test]
    fn the_filter_never_sees_more_than_a_bounded_multiple_of_the_wanted_side() {
        for (old, new) in [(1, 1), (16, 1), (17, 1), (271, 16), (5000, 7), (1 << 26, 16)] {
            let between = middle(old, new);
            assert!(between <= 2 * KEEP * new && between <= old, "{old} to {new}");
        }
        assert_eq!((middle(256, 16), middle(1 << 26, 16)), (256, 128));
    }

    #[test]
    fn a_strip_of_millions_of_pixels_shrinks_in_place() {
        let width = 3_000_000;
        let half = Image::filled(width / 2, 1, [250; 3]);
        let mut strip = Image::filled(width, 1, [10; 3]);
        strip.paste(&half, width / 2, 0);
        let small = strip.resize(6, 2);
        assert_eq!((small.width(), small.height()), (6, 2));
        assert!(small.pixel(0, 0)[0].abs_diff(10) <= 2 && small.pixel(5, 1)[0].abs_diff(250) <= 2);
    }
}
