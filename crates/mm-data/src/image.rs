//! Bytes of an image file to an image of the size that the recipe asks for.

use std::error::Error;
use std::sync::{Mutex, PoisonError};

use mm_patch::{DecodeOptions, Fit, Grid, Image};
use mm_text::MAX_SIDE;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::split::split_hash;

/// The file name endings that count as images, in any case.
pub const EXTENSIONS: &[&str] =
    &["png", "jpg", "jpeg", "jfif", "jpe", "webp", "gif", "bmp", "tif", "tiff"];

/// The endings of images that are not read, so that such a file is a broken record and not one that
/// was never meant as data.
pub(crate) const UNREAD_EXTENSIONS: &[&str] =
    &["avif", "heic", "heif", "jxl", "jp2", "dng", "psd", "svg"];

/// Images of more pixels than 16 Mi are decoded one at a time, so that many threads need no more
/// memory than one of them.
const ALONE_ABOVE: u64 = 16 << 20;

/// Held by whoever decodes and fits an image of more than [`ALONE_ABOVE`] pixels.
static ALONE: Mutex<()> = Mutex::new(());

/// The most bytes that a pixel takes in a decoder: four channels of 16 bits.
const MOST_PIXEL_BYTES: u64 = 8;

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
        max_pixels: u64,
        image: ImageSettings,
    ) -> Result<Self, DataError> {
        image.validate()?;
        if max_pixels == 0 {
            let (field, found) = ("max_pixels", max_pixels.to_string());
            return Err(DataError::Setting { field, found, wanted: "at least 1" });
        }
        let max_bytes = DecodeOptions::default().max_bytes;
        let max_bytes = max_bytes.max(max_pixels.saturating_mul(MOST_PIXEL_BYTES));
        let decoding = DecodeOptions { background, max_pixels, max_bytes };
        Ok(Self { fit, image, decoding })
    }

    /// The image of an image file's bytes, or what is wrong with them.
    pub(crate) fn image(&self, bytes: &[u8]) -> Result<Image, String> {
        let is_large = Image::count_pixels(bytes).is_ok_and(|pixels| pixels > ALONE_ABOVE);
        let _alone = is_large.then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner));
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

/// 128 Mi pixels: a photo of any phone is data.
pub(crate) fn most_pixels() -> u64 {
    128 << 20
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
        let next = error.to_string();
        if !words.ends_with(&next) {
            words = format!("{words}: {next}"); // some errors say their cause themselves
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(fit: ImageFit) -> Frame {
        let image = ImageSettings { width: 32, height: 32, patch: 8 };
        Frame::new(fit, white(), most_pixels(), image).unwrap()
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
        let frame = Frame::new(ImageFit::Aspect, white(), most_pixels(), wide).unwrap();
        let image = frame.image(&Image::filled(2000, 4, [9; 3]).encode_png()).unwrap();
        assert_eq!(image.width(), 2 * MAX_SIDE);
    }

    /// A PNG file of one pixel whose header claims another size.
    fn claiming(width: u32, height: u32) -> Vec<u8> {
        let mut file = Image::filled(1, 1, [0; 3]).encode_png();
        file[16..20].copy_from_slice(&width.to_be_bytes());
        file[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32(&file[12..29]);
        file[29..33].copy_from_slice(&crc.to_be_bytes());
        file
    }

    #[test]
    fn an_image_of_more_than_max_pixels_is_refused_by_its_header() {
        let why = frame(ImageFit::Pad).image(&claiming(16_000, 12_500)).unwrap_err();
        assert_eq!(why, "the image has 16000 x 12500 pixels, `max_pixels` is 134217728");
        let image = ImageSettings { width: 32, height: 32, patch: 8 };
        let small = Frame::new(ImageFit::Pad, white(), 99, image).unwrap();
        let why = small.image(&claiming(10, 10)).unwrap_err();
        assert_eq!(why, "the image has 10 x 10 pixels, `max_pixels` is 99");
        let error = Frame::new(ImageFit::Pad, white(), 0, image).unwrap_err().to_string();
        assert!(error.contains("max_pixels") && error.contains("at least 1"), "{error}");
    }

    #[test]
    fn a_large_photo_is_read_and_the_memory_of_a_larger_one_is_allowed() {
        let photo = Image::filled(6000, 3000, [90, 120, 30]);
        let file = photo.encode(mm_patch::Format::Jpeg).unwrap();
        assert!(Image::count_pixels(&file).unwrap() > ALONE_ABOVE);
        let image = frame(ImageFit::CenterCrop).image(&file).unwrap();
        assert_eq!((image.width(), image.height()), (32, 32));
        assert!(image.pixel(16, 16)[1].abs_diff(120) < 3);
        let why = frame(ImageFit::Pad).image(&claiming(10_000, 13_000)).unwrap_err();
        assert!(!why.contains("max_"), "{why}");
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
