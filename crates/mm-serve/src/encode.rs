//! Images as bytes of an answer: PNG with what tells of the image, JPEG, or WebP.
//!
//! PNG and WebP keep every bit: the WebP encoder is lossless, so that a quality means nothing to
//! it. JPEG has a quality from 0 to 100, as the field `output_compression` counts it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use mm_model::GenerateOptions;
use mm_patch::{Format, Image, PatchError, PngText};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;

/// The format of the images of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OutputFormat {
    /// Portable Network Graphics, with caption, seed, model and settings inside.
    #[default]
    Png,
    /// JPEG, the only format with loss.
    Jpeg,
    /// WebP in its lossless form.
    Webp,
}

/// How images are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    /// The format.
    pub format: OutputFormat,
    /// The quality of JPEG from 0 to 100; other formats have none.
    pub quality: u8,
}

impl Output {
    /// Writes an image. Texts go into PNG alone, and the size of the image follows them.
    pub fn bytes(self, image: &Image, texts: &[PngText]) -> Result<Vec<u8>, PatchError> {
        match self.format {
            OutputFormat::Png => png(image, texts),
            OutputFormat::Jpeg => jpeg(image, self.quality),
            OutputFormat::Webp => image.encode(Format::Webp),
        }
    }

    /// Writes an image as base64.
    pub fn base64(self, image: &Image, texts: &[PngText]) -> Result<String, ApiError> {
        let bytes = self.bytes(image, texts);
        let bytes = bytes.map_err(|why| ApiError::invalid("output_format", why.to_string()))?;
        Ok(STANDARD.encode(bytes))
    }
}

/// Returns an image as a data URI of a PNG file with these texts.
pub(crate) fn data_uri(image: &Image, texts: &[PngText]) -> String {
    let file = png(image, texts).unwrap_or_else(|_| image.encode_png());
    format!("data:image/png;base64,{}", STANDARD.encode(file))
}

/// Returns the size of an image as answers spell it, such as `64x32`.
pub(crate) fn size_of(image: &Image) -> String {
    format!("{}x{}", image.width(), image.height())
}

/// Writes PNG with texts and, behind them, the size of the image; nothing is told without texts.
fn png(image: &Image, texts: &[PngText]) -> Result<Vec<u8>, PatchError> {
    let size = (!texts.is_empty()).then(|| PngText::new("Size", size_of(image)));
    let texts: Vec<PngText> = texts.iter().cloned().chain(size).collect();
    image.encode_png_with(&texts)
}

/// Writes JPEG of a quality from 0 to 100; 0 and 1 are the same.
fn jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, PatchError> {
    let (width, height) = (image.width(), image.height());
    let mut file = vec![];
    JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100))
        .encode(image.rgb(), width as u32, height as u32, ExtendedColorType::Rgb8)
        .map_err(|source| PatchError::Encode { format: "JPEG", width, height, source })?;
    Ok(file)
}

/// Returns the texts that a PNG file has of an image, as `mm draw` writes them. The character that
/// PNG does not allow in a text is left out.
pub(crate) fn texts_of(caption: &str, model: &str, options: &GenerateOptions) -> Vec<PngText> {
    let texts = options.png_texts(caption, model).into_iter();
    texts.map(|text| PngText { text: text.text.replace('\0', ""), ..text }).collect()
}

#[cfg(test)]
mod tests {
    use mm_patch::{DecodeOptions, png_texts};

    use super::*;

    fn gradient() -> Image {
        let rgb = (0..24 * 16 * 3).map(|at| (at * 7 % 251) as u8).collect();
        Image::new(24, 16, rgb).unwrap()
    }

    fn written(format: OutputFormat, quality: u8) -> Vec<u8> {
        Output { format, quality }.bytes(&gradient(), &[]).unwrap()
    }

    #[test]
    fn png_and_webp_keep_every_bit_whatever_the_quality() {
        for format in [OutputFormat::Png, OutputFormat::Webp] {
            let file = written(format, 0);
            assert_eq!(Image::decode(&file, &DecodeOptions::default()).unwrap(), gradient());
            assert_eq!(file, written(format, 100));
        }
    }

    #[test]
    fn jpeg_is_smaller_at_a_lower_quality_and_takes_every_quality() {
        let sizes = [0, 1, 50, 90, 100].map(|quality| written(OutputFormat::Jpeg, quality).len());
        assert_eq!(sizes[0], sizes[1]);
        assert!(sizes[1..].is_sorted_by(|a, b| a < b), "{sizes:?}");
        let best = written(OutputFormat::Jpeg, 100);
        let decoded = Image::decode(&best, &DecodeOptions::default()).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (24, 16));
    }

    #[test]
    fn a_png_tells_of_its_image_as_those_of_the_command_line_do() {
        let options = GenerateOptions { seed: 7, ..GenerateOptions::default() };
        let texts = texts_of("red\0 K", "glyphs", &options);
        let output = Output { format: OutputFormat::Png, quality: 100 };
        let file = output.bytes(&gradient(), &texts).unwrap();
        let found = png_texts(&file).unwrap();
        let text = |keyword: &str| {
            let found = found.iter().find(|text| text.keyword == keyword);
            found.map(|text| text.text.as_str())
        };
        assert_eq!(text("Description"), Some("red K"));
        assert_eq!((text("Model"), text("Seed")), (Some("glyphs"), Some("7")));
        assert_eq!((text("Sampler"), text("Steps")), (Some("euler"), Some("10")));
        assert_eq!((text("Guidance"), text("Negative")), (Some("3"), None));
        assert_eq!(text("Size"), Some("24x16"));
        assert!(text("Software").unwrap().starts_with("mm "));
    }

    #[test]
    fn a_side_too_long_for_the_format_is_an_error_of_the_field() {
        let long = Image::filled(70_000, 1, [0; 3]);
        for format in [OutputFormat::Jpeg, OutputFormat::Webp] {
            let why = Output { format, quality: 50 }.base64(&long, &[]).unwrap_err();
            assert_eq!(why.error.param.as_deref(), Some("output_format"));
            assert_eq!(why.status.as_u16(), 400);
        }
    }
}
