//! Named texts in PNG files: written beside the pixels, which they do not change, and read again.
//!
//! Texts are written as `iTXt` chunks, which hold UTF-8. All three kinds of text chunks are read.

use std::io::Cursor;

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, EncodingError, Info, Limits};

use crate::{Image, PatchError};

/// The most bytes of a packed text, after it was unpacked.
const MAX_BYTES: usize = 1 << 20;

/// A text of a PNG file and the keyword that says what it is, such as `Description`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PngText {
    /// Names the text, in 1 to 79 characters of Latin-1.
    pub keyword: String,
    /// The text; any Unicode, with line breaks.
    pub text: String,
}

impl PngText {
    /// Makes a text of its keyword.
    pub fn new(keyword: &str, text: impl Into<String>) -> Self {
        Self { keyword: keyword.to_owned(), text: text.into() }
    }

    /// Returns the text that names this program and its version.
    pub fn software() -> Self {
        Self::new("Software", concat!("mm ", env!("CARGO_PKG_VERSION")))
    }
}

impl Image {
    /// Returns the image as a PNG file that holds these texts before the pixels. The same image and
    /// texts give the same bytes. A keyword that PNG does not allow is an error.
    ///
    /// ```
    /// use mm_patch::{DecodeOptions, Image, PngText, png_texts};
    ///
    /// let image = Image::filled(5, 4, [10, 20, 30]);
    /// let texts = [PngText::new("Description", "ein grüner Würfel")];
    /// let file = image.encode_png_with(&texts)?;
    /// assert_eq!(png_texts(&file)?, texts);
    /// assert_eq!(Image::decode(&file, &DecodeOptions::default())?, image);
    /// # Ok::<(), mm_patch::PatchError>(())
    /// ```
    pub fn encode_png_with(&self, texts: &[PngText]) -> Result<Vec<u8>, PatchError> {
        let mut file = Vec::new();
        self.write_png(texts, &mut file)
            .map_err(|why| PatchError::PngText { why: why.to_string() })?;
        Ok(file)
    }

    fn write_png(&self, texts: &[PngText], file: &mut Vec<u8>) -> Result<(), EncodingError> {
        let mut encoder = Encoder::new(file, self.width() as u32, self.height() as u32);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_compression(Compression::Balanced);
        for PngText { keyword, text } in texts {
            encoder.add_itxt_chunk(keyword.clone(), text.clone())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.rgb())?;
        writer.finish()
    }
}

/// Returns the texts of a PNG file in the order of their kinds (`iTXt`, `tEXt`, `zTXt`) and of the
/// file. Texts after the pixels are found too. Pixels that are broken are not looked at, but a file
/// that is no PNG file is an error, and so is a packed text of more than a mebibyte.
pub fn png_texts(file: &[u8]) -> Result<Vec<PngText>, PatchError> {
    let wrong = |why: png::DecodingError| PatchError::PngText { why: why.to_string() };
    let limits = Limits { bytes: 64 << 20 };
    let mut reader =
        Decoder::new_with_limits(Cursor::new(file), limits).read_info().map_err(wrong)?;
    let _ = reader.finish(); // reads the chunks after the pixels, where there are whole ones
    texts_of(reader.info()).map_err(wrong)
}

fn texts_of(info: &Info<'_>) -> Result<Vec<PngText>, png::DecodingError> {
    let mut texts = vec![];
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MAX_BYTES)?;
        texts.push(PngText { text: chunk.get_text()?, keyword: chunk.keyword });
    }
    let latin = &info.uncompressed_latin1_text;
    texts.extend(latin.iter().map(|chunk| PngText::new(&chunk.keyword, chunk.text.clone())));
    for chunk in &info.compressed_latin1_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MAX_BYTES)?;
        texts.push(PngText { text: chunk.get_text()?, keyword: chunk.keyword });
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DecodeOptions;
    use crate::image::tests::gradient;

    #[test]
    fn texts_come_back_in_order_and_leave_the_pixels_alone() {
        let image = gradient(17, 5);
        let long = "шар ".repeat(1000);
        let texts = [
            PngText::new("Description", "red K on yellow\nsecond line"),
            PngText::new("Seed", "7"),
            PngText::new("Comment", long),
            PngText::new("Comment", ""),
        ];
        let file = image.encode_png_with(&texts).unwrap();
        assert_eq!(file, image.encode_png_with(&texts).unwrap());
        assert_eq!(png_texts(&file).unwrap(), texts);
        assert_eq!(Image::decode(&file, &DecodeOptions::default()).unwrap(), image);
        assert_eq!(png_texts(&image.encode_png()).unwrap(), []);
    }

    #[test]
    fn every_kind_of_text_chunk_is_read_before_and_after_the_pixels() {
        let image = gradient(3, 2);
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 3, 2);
        encoder.set_color(ColorType::Rgb);
        encoder.add_text_chunk("Author".to_owned(), "Zoë".to_owned()).unwrap();
        encoder.add_ztxt_chunk("Comment".to_owned(), "a".repeat(500)).unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(image.rgb()).unwrap();
        writer.write_text_chunk(&png::text_metadata::TEXtChunk::new("Source", "late")).unwrap();
        writer.finish().unwrap();
        let wanted = [
            PngText::new("Author", "Zoë"),
            PngText::new("Source", "late"),
            PngText::new("Comment", "a".repeat(500)),
        ];
        assert_eq!(png_texts(&file).unwrap(), wanted);
    }

    #[test]
    fn a_keyword_that_png_does_not_allow_and_a_file_of_another_kind_are_errors() {
        let image = gradient(3, 2);
        for keyword in ["", "шар", &"k".repeat(80)] {
            let said = image.encode_png_with(&[PngText::new(keyword, "text")]).unwrap_err();
            assert!(matches!(said, PatchError::PngText { .. }), "{keyword}");
        }
        assert!(png_texts(b"GIF89a").is_err());
        assert!(png_texts(b"").is_err());
    }

    #[test]
    fn a_text_that_unpacks_to_far_more_than_the_file_is_refused() {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 3, 2);
        encoder.set_color(ColorType::Rgb);
        encoder.add_ztxt_chunk("Comment".to_owned(), "a".repeat(4 << 20)).unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(gradient(3, 2).rgb()).unwrap();
        writer.finish().unwrap();
        assert!(file.len() < 1 << 16);
        assert!(png_texts(&file).is_err());
    }
}
