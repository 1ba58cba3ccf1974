//! Image files, one target a format, so that each has a corpus and a coverage of its own.

use mm_patch::{DecodeOptions, Image};

/// The most pixels that are decoded, so that many inputs are tried in a second.
const MAX_PIXELS: u64 = 1 << 18;

pub fn jpeg(bytes: &[u8]) {
    of_format(&[&[0xff, 0xd8, 0xff]], bytes);
}

pub fn png(bytes: &[u8]) {
    of_format(&[b"\x89PNG\r\n\x1a\n"], bytes);
}

pub fn webp(bytes: &[u8]) {
    of_format(&[b"RIFF"], bytes);
}

pub fn gif(bytes: &[u8]) {
    of_format(&[b"GIF8"], bytes);
}

pub fn bmp(bytes: &[u8]) {
    of_format(&[b"BM"], bytes);
}

pub fn tiff(bytes: &[u8]) {
    of_format(&[b"II*\0", b"MM\0*"], bytes);
}

/// Decodes a file that begins as its format does.
///
/// What is accepted keeps to the limits, and is the same image after one more file.
fn of_format(starts: &[&[u8]], bytes: &[u8]) {
    if !starts.iter().any(|start| bytes.starts_with(start)) {
        return;
    }
    let options =
        DecodeOptions { max_pixels: MAX_PIXELS, max_bytes: 8 << 20, ..DecodeOptions::default() };
    let image = match Image::decode(bytes, &options) {
        Ok(image) => image,
        Err(why) => {
            assert!(!why.to_string().is_empty(), "an error without words");
            return;
        }
    };
    let (width, height) = (image.width(), image.height());
    assert!(width > 0 && height > 0 && (width * height) as u64 <= MAX_PIXELS, "{width}x{height}");
    assert_eq!(image.rgb().len(), 3 * width * height);
    if width * height <= 1 << 12 {
        let again = Image::decode(&image.encode_png(), &options).expect("our own file");
        assert!(again == image, "another image after one more file");
    }
}
