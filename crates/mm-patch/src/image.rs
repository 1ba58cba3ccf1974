//! [`Image`]: 8-bit RGB pixels in memory, and cutting and pasting them. The modules `decode` and
//! `encode` turn files into images and back.

use std::fmt;

use crate::PatchError;

/// The longest side of an image in pixels; PNG allows no longer one.
pub(crate) const MAX_SIDE: usize = i32::MAX as usize;

/// The most pixels of an image that is read or drawn, unless the caller says otherwise: 64 Mi
/// pixels, which take 192 MiB.
pub const MAX_PIXELS: u64 = 64 << 20;

/// The channels of an image: red, green and blue.
pub const RGB_CHANNELS: usize = 3;

/// An image of 8-bit RGB pixels, row by row from the top left. Both sides are at least one pixel.
///
/// The bytes are taken as they stand in the file, which in practice means sRGB. Color profiles are
/// not applied.
///
/// ```
/// use mm_patch::Image;
///
/// let mut image = Image::filled(4, 3, [0, 0, 0]);
/// image.set_pixel(3, 2, [255, 128, 0]);
/// let corner = image.crop(2, 1, 2, 2);
/// assert_eq!(corner.pixel(1, 1), [255, 128, 0]);
/// assert_eq!(corner.mirrored().pixel(0, 1), [255, 128, 0]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Image {
    /// Makes an image of its bytes, three a pixel, row by row from the top left.
    ///
    /// A side of zero or too many pixels is an error, and so is another number of bytes.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self, PatchError> {
        for (name, found) in [("width", width), ("height", height)] {
            if !(1..=MAX_SIDE).contains(&found) {
                return Err(PatchError::Side { name, found, max: MAX_SIDE });
            }
        }
        let pixels = width.checked_mul(height);
        if pixels.and_then(|pixels| pixels.checked_mul(RGB_CHANNELS)) != Some(rgb.len()) {
            return Err(PatchError::Pixels { found: rgb.len(), width, height });
        }
        Ok(Self { width, height, rgb })
    }

    /// Makes an image of one color. Panics on a side of zero pixels.
    pub fn filled(width: usize, height: usize, color: [u8; 3]) -> Self {
        Self::new(width, height, color.repeat(width * height)).expect("sides are positive")
    }

    /// Returns the number of pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns all bytes, `[height, width, colors]` in reading order.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Returns the color at column `x` of row `y`. Panics outside the image.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = self.offset(x, y);
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// Paints column `x` of row `y`. Panics outside the image.
    pub fn set_pixel(&mut self, x: usize, y: usize, color: [u8; 3]) {
        let at = self.offset(x, y);
        self.rgb[at..at + RGB_CHANNELS].copy_from_slice(&color);
    }

    /// Returns the rectangle whose top left corner is `(x, y)`. Panics if it is empty or leaves the
    /// image.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        assert!(width > 0 && height > 0, "a crop of {width} x {height} pixels has no pixels");
        let (right, bottom) = (x.checked_add(width), y.checked_add(height));
        assert!(
            right.is_some_and(|right| right <= self.width)
                && bottom.is_some_and(|bottom| bottom <= self.height),
            "a crop of {width} x {height} pixels at ({x}, {y}) leaves the image of {} x {}",
            self.width,
            self.height,
        );
        let rows = self.rgb.chunks_exact(RGB_CHANNELS * self.width).skip(y).take(height);
        let rgb = rows
            .flat_map(|row| &row[RGB_CHANNELS * x..RGB_CHANNELS * (x + width)])
            .copied()
            .collect();
        Self { width, height, rgb }
    }

    /// Returns the image as a mirror shows it, with left and right exchanged.
    pub fn mirrored(&self) -> Self {
        let rows = self.rgb.chunks_exact(RGB_CHANNELS * self.width);
        let rgb =
            rows.flat_map(|row| row.chunks_exact(RGB_CHANNELS).rev().flatten()).copied().collect();
        Self { width: self.width, height: self.height, rgb }
    }

    /// Copies `other` over this image with its top left corner at `(x, y)`. What falls outside is
    /// cut off.
    pub fn paste(&mut self, other: &Self, x: usize, y: usize) {
        if x >= self.width {
            return;
        }
        let bytes = RGB_CHANNELS * other.width.min(self.width - x);
        let rows = self.rgb.chunks_exact_mut(RGB_CHANNELS * self.width).skip(y);
        for (to, from) in rows.zip(other.rgb.chunks_exact(RGB_CHANNELS * other.width)) {
            to[RGB_CHANNELS * x..RGB_CHANNELS * x + bytes].copy_from_slice(&from[..bytes]);
        }
    }

    fn offset(&self, x: usize, y: usize) -> usize {
        let Self { width, height, .. } = *self;
        assert!(
            x < width && y < height,
            "pixel ({x}, {y}) is outside an image of {width} x {height}"
        );
        RGB_CHANNELS * (y * width + x)
    }
}

/// Prints the size alone, because a failing comparison of two images should not print a million
/// bytes.
impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("width", &self.width)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns an image in which no two pixels of the first 256 x 256 are alike.
    pub(crate) fn gradient(width: usize, height: usize) -> Image {
        let pixel = |at: usize| [(at % width) as u8, (at / width) as u8, (at * 7) as u8];
        Image::new(width, height, (0..width * height).flat_map(pixel).collect())
            .expect("three bytes a pixel")
    }

    #[test]
    fn a_pixel_that_was_set_is_read_back_and_no_other_changed() {
        let mut image = gradient(5, 4);
        image.set_pixel(3, 2, [9, 8, 7]);
        for (x, y) in (0..5).flat_map(|x| (0..4).map(move |y| (x, y))) {
            let expected = if (x, y) == (3, 2) { [9, 8, 7] } else { gradient(5, 4).pixel(x, y) };
            assert_eq!(image.pixel(x, y), expected);
        }
    }

    #[test]
    fn a_mirror_turns_rows_round_and_twice_is_never() {
        let image = gradient(5, 4);
        assert_eq!(image.mirrored().pixel(0, 3), image.pixel(4, 3));
        assert_eq!(image.mirrored().pixel(2, 1), image.pixel(2, 1));
        assert_eq!(image.mirrored().mirrored(), image);
    }

    #[test]
    fn a_crop_pasted_where_it_was_cut_restores_the_image() {
        let image = gradient(9, 7);
        let piece = image.crop(2, 3, 5, 4);
        assert_eq!((piece.width(), piece.height(), piece.pixel(0, 0)), (5, 4, image.pixel(2, 3)));

        let mut holed = image.clone();
        holed.paste(&Image::filled(5, 4, [1, 2, 3]), 2, 3);
        assert_ne!(holed, image);
        holed.paste(&piece, 2, 3);
        assert_eq!(holed, image);
    }

    #[test]
    fn a_paste_is_cut_off_at_the_border() {
        let mut image = Image::filled(3, 2, [0; 3]);
        image.paste(&gradient(4, 4), 2, 1);
        let mut expected = Image::filled(3, 2, [0; 3]);
        expected.set_pixel(2, 1, gradient(4, 4).pixel(0, 0));
        image.paste(&Image::filled(1, 1, [255; 3]), 3, 0);
        image.paste(&Image::filled(1, 1, [255; 3]), 0, 2);
        assert_eq!(image, expected);
    }
}
