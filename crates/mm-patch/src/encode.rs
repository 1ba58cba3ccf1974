//! Encoding an [`Image`] as a file in memory.

use image::codecs::bmp::BmpEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};

use crate::{Image, PatchError};

/// JPEG quality from 1 to 100. At 90 the loss is hard to see, and files are a third of those at
/// 100.
const JPEG_QUALITY: u8 = 90;

/// A file format that images are written in. All but [`Format::Jpeg`] keep every bit.
///
/// ```
/// use mm_patch::{DecodeOptions, Format, Image};
///
/// let image = Image::filled(5, 4, [10, 20, 30]);
/// let file = image.encode(Format::Webp)?;
/// assert_eq!(Image::decode(&file, &DecodeOptions::default())?, image);
/// # Ok::<(), mm_patch::PatchError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG at quality 90, which is slightly lossy.
    Jpeg,
    /// WebP in its lossless form, at most 16384 pixels a side.
    Webp,
    /// Windows bitmap, uncompressed.
    Bmp,
}

impl Format {
    /// Returns the format that a file name's extension names, in upper or lower case.
    ///
    /// ```
    /// use mm_patch::Format;
    ///
    /// assert_eq!(Format::from_extension("JPG"), Some(Format::Jpeg));
    /// assert_eq!(Format::from_extension("txt"), None);
    /// ```
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::Webp),
            "bmp" => Some(Self::Bmp),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
            Self::Bmp => "bmp",
        }
    }
}

impl Image {
    /// Returns the image as a PNG file.
    pub fn encode_png(&self) -> Vec<u8> {
        self.encode(Format::Png)
            .expect("every image fits PNG, and memory cannot fail to be written")
    }

    /// Returns the image as a file. A side that is too long for the format is an error.
    pub fn encode(&self, format: Format) -> Result<Vec<u8>, PatchError> {
        let (width, height) = (self.width(), self.height());
        let mut file = Vec::new();
        write(self, format, &mut file).map_err(|source| PatchError::Encode {
            format: format.name(),
            width,
            height,
            source,
        })?;
        Ok(file)
    }
}

fn write(image: &Image, format: Format, file: &mut Vec<u8>) -> ImageResult<()> {
    let (width, height) = (image.width() as u32, image.height() as u32);
    let (rgb, color) = (image.rgb(), ExtendedColorType::Rgb8);
    match format {
        Format::Png => PngEncoder::new(file).write_image(rgb, width, height, color),
        Format::Jpeg => {
            JpegEncoder::new_with_quality(file, JPEG_QUALITY).write_image(rgb, width, height, color)
        }
        Format::Webp => WebPEncoder::new_lossless(file).write_image(rgb, width, height, color),
        Format::Bmp => BmpEncoder::new(file).write_image(rgb, width, height, color),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DecodeOptions;
    use crate::image::tests::gradient;

    #[test]
    fn lossless_formats_return_every_bit() {
        for (width, height) in [(1, 1), (17, 5), (64, 48)] {
            let image = gradient(width, height);
            for format in [Format::Png, Format::Webp, Format::Bmp] {
                let file = image.encode(format).unwrap();
                assert_eq!(
                    Image::decode(&file, &DecodeOptions::default()).unwrap(),
                    image,
                    "{format:?}"
                );
            }
        }
    }

    #[test]
    fn jpeg_returns_a_flat_color_within_two_steps() {
        let image = Image::filled(20, 12, [200, 90, 40]);
        let decoded =
            Image::decode(&image.encode(Format::Jpeg).unwrap(), &DecodeOptions::default()).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (20, 12));
        assert!(decoded.rgb().iter().zip(image.rgb()).all(|(a, b)| a.abs_diff(*b) <= 2));
    }

    #[test]
    fn a_side_too_long_for_the_format_is_an_error() {
        let long = Image::filled(70_000, 1, [0; 3]);
        for format in [Format::Jpeg, Format::Webp] {
            let error = long.encode(format).unwrap_err();
            assert!(
                matches!(error, PatchError::Encode { width: 70_000, height: 1, .. }),
                "{error}"
            );
        }
        assert_eq!(Image::decode(&long.encode_png(), &DecodeOptions::default()).unwrap(), long);
    }
}
