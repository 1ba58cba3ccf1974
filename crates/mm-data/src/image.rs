//! Bytes of an image file to an image of the size that the recipe asks for.

use std::error::Error;

use mm_patch::{DecodeOptions, Fit, Grid, Image};
use mm_text::MAX_SIDE;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::split::split_hash;

/// The file name endings that count as images, in any case.
pub const EXTENSIONS: &[&str] = &["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// The most pixels of an image in a data set: 32 Mi, so that a few decoded side by side fit any
/// machine.
const MOST_PIXELS: u64 = 32 << 20;

/// The size of every image of a data set, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSettings {
    /// Columns, a multiple of the patch.
    pub width: usize,
    /// Rows, a multiple of the patch.
    pub height: usize,
    /// Side of a square patch.
    pub patch: usize,
}

impl ImageSettings {
    /// Checks that both sides are multiples of the patch and none is 0.
    pub fn validate(&self) -> Result<(), DataError> {
        let Self { width, height, patch } = *self;
        let divides = |side: usize| side > 0 && patch > 0 && side.is_multiple_of(patch);
        if divides(width) && divides(height) {
            Ok(())
        } else {
            Err(DataError::Size { width, height, patch })
        }
    }
}

/// How images of other shapes are made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFit {
    /// Fill the image, cut what stands out.
    #[default]
    CenterCrop,
    /// Show all of the image, fill the rest with the background.
    Pad,
    /// Keep the image's own aspect: of all sizes in whole patches that have no more patches than
    /// the recipe's image, the one nearest to it. The size tokens before the patches are targets,
    /// so a model learns which aspect suits a caption.
    Aspect,
}

/// What every image of a source goes through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    fit: ImageFit,
    image: ImageSettings,
    decoding: DecodeOptions,
}

impl Frame {
    pub(crate) fn new(
        fit: ImageFit,
        background: [u8; 3],
        image: ImageSettings,
    ) -> Result<Self, DataError> {
        image.validate()?;
        let decoding =
            DecodeOptions { background, max_pixels: MOST_PIXELS, ..DecodeOptions::default() };
        Ok(Self { fit, image, decoding })
    }

    /// The image of an image file's bytes, or what is wrong with them.
    pub(crate) fn image(&self, bytes: &[u8]) -> Result<Image, String> {
        let image = Image::decode(bytes, &self.decoding).map_err(|error| chain(&error))?;
        let ImageSettings { width, height, patch } = self.image;
        let fitted = match self.fit {
            ImageFit::CenterCrop => Fit::CenterCrop { width, height }.apply(&image, patch),
            ImageFit::Pad => {
                let background = self.decoding.background;
                Fit::Pad { width, height, background }.apply(&image, patch)
            }
            ImageFit::Aspect => self.aspect(&image),
        };
        fitted.map(|(image, _grid)| image).map_err(|error| chain(&error))
    }

    /// A size of its own; a strip longer than there are size tokens is cut to the most that there
    /// are.
    fn aspect(&self, image: &Image) -> Result<(Image, Grid), mm_patch::PatchError> {
        let patch = self.image.patch;
        let grid = Grid::nearest(image.width(), image.height(), patch, self.most_patches())?;
        let (cols, rows) = (grid.cols.min(MAX_SIDE), grid.rows.min(MAX_SIDE));
        if (cols, rows) == (grid.cols, grid.rows) {
            return Ok((image.resize(grid.width(), grid.height()), grid));
        }
        Fit::CenterCrop { width: cols * patch, height: rows * patch }.apply(image, patch)
    }

    /// The most bytes of an image file.
    pub(crate) fn most_bytes(&self) -> u64 {
        self.decoding.max_bytes
    }

    /// The most bytes that the pixels of an image take.
    pub(crate) fn most_pixel_bytes(&self) -> usize {
        mm_patch::RGB_CHANNELS * self.image.width * self.image.height
    }

    /// Everything that decides what becomes of an image, as one number.
    pub(crate) fn hash(&self) -> u64 {
        split_hash(&format!("{:?} {:?}", (self.fit, self.decoding), self.image))
    }

    fn most_patches(&self) -> usize {
        let ImageSettings { width, height, patch } = self.image;
        (width / patch) * (height / patch)
    }
}

/// White, the default background.
pub(crate) fn white() -> [u8; 3] {
    [255; 3]
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(fit: ImageFit) -> Frame {
        Frame::new(fit, white(), ImageSettings { width: 32, height: 32, patch: 8 }).unwrap()
    }

    #[test]
    fn aspect_keeps_the_shape_within_the_budget_of_patches() {
        let sizes = [(64, 64), (128, 64), (64, 128), (300, 90), (1000, 5), (8, 8)];
        let fitted: Vec<(usize, usize)> = sizes
            .map(|(width, height)| Image::filled(width, height, [9; 3]).encode_png())
            .iter()
            .map(|file| frame(ImageFit::Aspect).image(file).unwrap())
            .map(|image| (image.width(), image.height()))
            .collect();
        assert_eq!(fitted, [(32, 32), (40, 24), (24, 40), (56, 16), (128, 8), (8, 8)]);
    }

    #[test]
    fn a_strip_longer_than_the_size_tokens_is_cut() {
        let wide = ImageSettings { width: 320, height: 16, patch: 2 };
        let frame = Frame::new(ImageFit::Aspect, white(), wide).unwrap();
        let image = frame.image(&Image::filled(2000, 4, [9; 3]).encode_png()).unwrap();
        assert_eq!(image.width(), 2 * MAX_SIDE);
    }

    #[test]
    fn a_image_of_fifty_megapixels_is_refused_by_its_header() {
        let mut header = Image::filled(1, 1, [0; 3]).encode_png();
        header[16..24].copy_from_slice(&[0, 0, 0x1f, 0x40, 0, 0, 0x18, 0x6a]); // 8000 x 6250
        let crc = crc32(&header[12..29]);
        header[29..33].copy_from_slice(&crc.to_be_bytes());
        let why = frame(ImageFit::Pad).image(&header).unwrap_err();
        assert_eq!(why, "the image has 8000 x 6250 pixels, `max_pixels` is 33554432");
    }

    /// CRC-32 as PNG has it.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_make_an_image_panic(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..80,
        ) {
            let mut file = Image::filled(9, 7, [1, 200, 3]).encode_png();
            let end = (at + noise.len()).min(file.len());
            file[at.min(end)..end].copy_from_slice(&noise[..end - at.min(end)]);
            for fit in [ImageFit::CenterCrop, ImageFit::Pad, ImageFit::Aspect] {
                let _ = frame(fit).image(&noise);
                let _ = frame(fit).image(&file);
            }
        }
    }
}
