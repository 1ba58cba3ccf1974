//! Decoding image files: whatever a file holds becomes upright 8-bit RGB.
//!
//! Limits are checked on the file's header, so that a small file that claims a huge image is an
//! error and does not exhaust the memory. Gray, palette, CMYK and 16-bit images are converted,
//! alpha is composed on a background, the orientation of EXIF or XMP is applied, and the first
//! frame of an animation is taken. Color profiles and gamma are ignored.

use std::borrow::Cow;
use std::io::{Cursor, ErrorKind};

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::guard::guarded;
use crate::image::{MAX_PIXELS, MAX_SIDE, RGB_CHANNELS};
use crate::jpeg::{self, Jpeg};
use crate::orientation::orientation;
use crate::{Image, PatchError, tiff, whole};

/// How much memory a file may take, and what stands behind transparent pixels.
///
/// The default allows [`MAX_PIXELS`] and 256 MiB, on white.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// The most pixels an image may have.
    pub max_pixels: u64,
    /// The most bytes that the file may have, and that its pixels may take as the file stores them
    /// (a 16-bit pixel with alpha takes 8). Both copies are in memory while they are converted to
    /// RGB.
    pub max_bytes: u64,
    /// The color behind transparent pixels.
    pub background: [u8; 3],
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_pixels: MAX_PIXELS, max_bytes: 256 << 20, background: [255; 3] }
    }
}

impl Image {
    /// Decodes a PNG, JPEG, WebP, GIF, BMP or TIFF file; the first bytes tell which it is.
    ///
    /// A file that is empty, of another format, truncated, damaged or beyond the limits of
    /// `options` is an error.
    ///
    /// ```
    /// use mm_patch::{DecodeOptions, Image, PatchError};
    ///
    /// let file = Image::filled(300, 200, [0, 128, 0]).encode_png();
    /// assert_eq!(Image::decode(&file, &DecodeOptions::default())?.pixel(299, 199), [0, 128, 0]);
    ///
    /// let small = DecodeOptions { max_pixels: 100 * 100, ..DecodeOptions::default() };
    /// let error = Image::decode(&file, &small).unwrap_err();
    /// assert_eq!(error.to_string(), "the image has 300 x 200 pixels, `max_pixels` is 10000");
    /// # Ok::<(), PatchError>(())
    /// ```
    pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Self, PatchError> {
        if bytes.is_empty() {
            return Err(PatchError::Empty);
        }
        check_bytes(bytes.len() as u64, options)?;
        let format = format_of(bytes)?;
        let decoded = guarded(|| match format {
            ImageFormat::Jpeg => jpeg_pixels(bytes, options),
            other => pixels(bytes, other, options),
        });
        let damaged = PatchError::Damaged { format: name_of(format) };
        let is_premultiplied = format == ImageFormat::Tiff && tiff::is_premultiplied(bytes);
        flattened(decoded.unwrap_or(Err(damaged))?, options.background, is_premultiplied)
    }

    /// Returns how many pixels an image file claims to have, from its header alone.
    pub fn count_pixels(bytes: &[u8]) -> Result<u64, PatchError> {
        let format = format_of(bytes)?;
        let name = name_of(format);
        let (width, height) = match format {
            ImageFormat::Jpeg => jpeg::size(bytes)
                .ok_or(PatchError::Truncated { format: name, found: bytes.len() })?,
            _ => ImageReader::with_format(Cursor::new(bytes), format)
                .into_dimensions()
                .map_err(|source| PatchError::Decode { format: name, source })?,
        };
        Ok(u64::from(width) * u64::from(height))
    }
}

fn jpeg_pixels(bytes: &[u8], options: &DecodeOptions) -> Result<DynamicImage, PatchError> {
    if let Some(size) = jpeg::size(bytes).filter(|(_, height)| *height > 0) {
        check_size(size, options)?; // before anything is copied
    }
    let file = Jpeg::of(bytes)?;
    check_bytes(file.total_bytes(), options)?;
    let mut decoded = file.decode()?;
    decoded.apply_orientation(orientation(Some(&file.exif), file.xmp));
    Ok(decoded)
}

/// Fails for what is in a file that its decoder would misread or not know.
fn check_readable(bytes: &[u8], format: ImageFormat) -> Result<(), PatchError> {
    let name = name_of(format);
    let unread = match format {
        // The decoder of the crate `png` 0.18.1 panics where a color of the palette is not whole,
        // and in a browser no panic is caught.
        ImageFormat::Png => match whole::png_palette(bytes) {
            Some(found) if found % RGB_CHANNELS != 0 => return Err(PatchError::Palette { found }),
            _ => whole::unread_png_chunk(bytes),
        },
        ImageFormat::WebP if !whole::webp_is_whole(bytes) => {
            return Err(PatchError::Truncated { format: name, found: bytes.len() });
        }
        ImageFormat::Tiff => tiff::unread(bytes),
        _ => None,
    };
    unread.map_or(Ok(()), |what| Err(PatchError::Unread { format: name, what }))
}

/// Returns the pixels of every format but JPEG.
fn pixels(
    bytes: &[u8],
    format: ImageFormat,
    options: &DecodeOptions,
) -> Result<DynamicImage, PatchError> {
    check_readable(bytes, format)?;
    let name = name_of(format);
    let refused = |source: ImageError| match source {
        ImageError::IoError(why) if why.kind() == ErrorKind::UnexpectedEof => {
            PatchError::Truncated { format: name, found: bytes.len() }
        }
        source => PatchError::Decode { format: name, source },
    };
    let whole = match format {
        ImageFormat::Bmp => whole::bmp_pixels(bytes),
        ImageFormat::Png => whole::png_pixels(bytes).into(),
        _ => Cow::Borrowed(bytes),
    };
    let mut reader = ImageReader::with_format(Cursor::new(&*whole), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.max_bytes);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?; // reads the header alone
    check_size(decoder.dimensions(), options)?;
    check_bytes(decoder.total_bytes(), options)?;
    let orientation = match format {
        ImageFormat::Png => {
            let whole::PngNotes { exif, xmp } = whole::png_notes(bytes);
            orientation(exif.as_deref(), xmp.as_deref())
        }
        ImageFormat::WebP => orientation(whole::webp_exif(bytes), whole::webp_xmp(bytes)),
        ImageFormat::Tiff => {
            orientation(Some(bytes), decoder.xmp_metadata().map_err(refused)?.as_deref())
        }
        _ => {
            let exif = decoder.exif_metadata().map_err(refused)?;
            orientation(exif.as_deref(), decoder.xmp_metadata().map_err(refused)?.as_deref())
        }
    };
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(refused)?;
    decoded.apply_orientation(orientation);
    Ok(decoded)
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat, PatchError> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let found = match image::guess_format(bytes) {
        Ok(format @ (Png | Jpeg | WebP | Gif | Bmp | Tiff)) => return Ok(format),
        _ if BIG_TIFF.iter().any(|start| bytes.starts_with(start)) => return Ok(Tiff),
        Ok(other) => format!("is of the format `{}`", name_of(other)),
        Err(_) => match unread_format(bytes) {
            Some(name) => format!("is {name}"),
            None => format!("begins with the bytes {:02x?}", &bytes[..bytes.len().min(8)]),
        },
    };
    Err(PatchError::UnknownFormat { found })
}

/// The first bytes of TIFF files whose offsets have 8 bytes.
const BIG_TIFF: [&[u8]; 2] = [b"II+\0", b"MM\0+"];

/// Says what a file of a known format that is not read is, by its first bytes.
fn unread_format(bytes: &[u8]) -> Option<String> {
    let format = |name: &str| Some(format!("of the format `{name}`"));
    if bytes.get(4..8) == Some(b"ftyp") {
        // ISO 14496-12: the size of the box, its kind, the brand of the file, and others that fit.
        let end = u32::from_be_bytes(bytes[..4].try_into().ok()?) as usize;
        let brands = bytes.get(8..end.min(bytes.len()).max(12))?;
        let (brand, others) = brands.split_at(4);
        let is_avif = |brand: &[u8]| matches!(brand, b"avif" | b"avis");
        return format(match brand {
            _ if is_avif(brand) || others.chunks(4).any(is_avif) => "avif",
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => "heic",
            b"crx " => "cr3",
            _ => "mp4",
        });
    }
    let known: [(&[u8], &str); 11] = [
        (b"\0\0\0\x0cJXL ", "jpeg-xl"),
        (b"\xFF\x0A", "jpeg-xl"),
        (b"\0\0\0\x0cjP  ", "jpeg-2000"),
        (b"\xFF\x4F\xFF\x51", "jpeg-2000"),
        (b"8BPS", "psd"),
        (b"II\xBC", "jpeg-xr"),
        (b"icns", "icns"),
        (b"\0\0\x02\0", "cur or tga"),
        (b"\x1F\x8B", "gzip"),
        (b"%PDF", "pdf"),
        (b"%!PS", "eps"),
    ];
    if let Some((_, name)) = known.iter().find(|(start, _)| bytes.starts_with(start)) {
        return format(name);
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return Some(
            "a pointer of Git LFS and not the file itself (`git lfs pull` gets it)".into(),
        );
    }
    if bytes.starts_with(b"http://") || bytes.starts_with(b"https://") {
        return Some("an address and not the file itself: nothing is fetched".into());
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_LOOKED_AT)]).to_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    match text {
        _ if text.starts_with('<') && text.contains("<svg") => format("svg"),
        _ if text.starts_with("<!doctype html") || text.starts_with("<html") => format("html"),
        _ if text.starts_with('<') => format("xml or html"),
        _ if text.starts_with(['{', '[']) => format("json"),
        _ => None,
    }
}

/// The bytes of a file that are looked at for what text it is.
const MOST_LOOKED_AT: usize = 4096;

fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "jpeg",
        ImageFormat::Tiff => "tiff",
        other => other.extensions_str().first().copied().unwrap_or("unnamed"),
    }
}

/// Checks a width and a height in pixels.
fn check_size(size: (u32, u32), options: &DecodeOptions) -> Result<(), PatchError> {
    let (width, height) = size;
    for (name, side) in [("width", width), ("height", height)] {
        if side == 0 {
            return Err(PatchError::Side { name, found: 0, max: MAX_SIDE });
        }
    }
    if u64::from(width) * u64::from(height) > options.max_pixels {
        return Err(PatchError::TooManyPixels { width, height, max: options.max_pixels });
    }
    Ok(())
}

fn check_bytes(found: u64, options: &DecodeOptions) -> Result<(), PatchError> {
    let max = options.max_bytes;
    if found > max { Err(PatchError::TooManyBytes { found, max }) } else { Ok(()) }
}

/// Converts any kind of pixels to 8-bit RGB, the transparent ones on `background`. Premultiplied
/// colors have their share of the sum already.
fn flattened(
    decoded: DynamicImage,
    background: [u8; 3],
    is_premultiplied: bool,
) -> Result<Image, PatchError> {
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    if !decoded.color().has_alpha() {
        return Image::new(width, height, decoded.into_rgb8().into_raw());
    }
    let mut rgb = Vec::with_capacity(RGB_CHANNELS * width * height);
    for pixel in decoded.into_rgba8().pixels() {
        let [red, green, blue, alpha] = pixel.0;
        let share = if is_premultiplied { u8::MAX } else { alpha };
        let over = |front: u8, back: u8| {
            let sum =
                u32::from(front) * u32::from(share) + u32::from(back) * (255 - u32::from(alpha));
            ((sum + 127) / 255).min(255) as u8
        };
        rgb.extend([
            over(red, background[0]),
            over(green, background[1]),
            over(blue, background[2]),
        ]);
    }
    Image::new(width, height, rgb)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use image::codecs::gif::GifEncoder;
    use image::{Frame, ImageBuffer, Luma, LumaA, Rgb, Rgba, RgbaImage};
    use proptest::prelude::*;

    use super::*;
    use crate::Format;
    use crate::image::tests::gradient;

    fn decode(file: &[u8]) -> Result<Image, PatchError> {
        Image::decode(file, &DecodeOptions::default())
    }

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        image.into().write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    fn gif(colors: &[[u8; 4]]) -> Vec<u8> {
        let mut file = Vec::new();
        let frame = |&color: &[u8; 4]| Frame::new(RgbaImage::from_pixel(8, 8, Rgba(color)));
        GifEncoder::new(&mut file).encode_frames(colors.iter().map(frame)).unwrap();
        file
    }

    fn tiff(image: &Image) -> Vec<u8> {
        let (width, height) = (image.width() as u32, image.height() as u32);
        let mut file = Cursor::new(Vec::new());
        let rgb = image::RgbImage::from_raw(width, height, image.rgb().to_vec()).unwrap();
        rgb.write_to(&mut file, ImageFormat::Tiff).unwrap();
        file.into_inner()
    }

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    /// Returns an 8 x 8 image in every format that is read.
    fn samples() -> Vec<(&'static str, Vec<u8>)> {
        let image = gradient(8, 8);
        let encoded = |format| image.encode(format).unwrap();
        vec![
            ("png", encoded(Format::Png)),
            ("jpeg", encoded(Format::Jpeg)),
            ("webp", encoded(Format::Webp)),
            ("bmp", encoded(Format::Bmp)),
            ("gif", gif(&[[1, 2, 3, 255]])),
            ("tiff", tiff(&image)),
        ]
    }

    #[test]
    fn every_format_is_read() {
        for (name, file) in samples() {
            let image = decode(&file).unwrap();
            assert_eq!((image.width(), image.height()), (8, 8), "{name}");
        }
    }

    #[test] // 3 x 2 pixels of (200, 60, 30), written by libwebp at quality 75
    fn lossy_webp_is_read() {
        let file = bytes_of(
            "524946463a00000057454250565038202e000000d001009d012a0300020002003425a00274ba01f80003b000feecbd8ffc59\
             c8c47679bffab43e5a1f2d0fdbb00000",
        );
        let image = decode(&file).unwrap();
        assert_eq!((image.width(), image.height()), (3, 2));
        for (value, wanted) in image.rgb().iter().zip([200, 60, 30].iter().cycle()) {
            assert!(value.abs_diff(*wanted) <= 4, "{:?}", image.rgb());
        }
    }

    #[test]
    fn the_first_frame_of_an_animation_is_taken() {
        let file = gif(&[[200, 0, 0, 255], [0, 200, 0, 255]]);
        assert_eq!(decode(&file).unwrap(), Image::filled(8, 8, [200, 0, 0]));
    }

    #[test]
    fn gray_and_sixteen_bit_images_become_rgb() {
        let gray: ImageBuffer<Luma<u8>, _> =
            ImageBuffer::from_raw(3, 1, vec![0, 100, 255]).unwrap();
        let gray = decode(&png(gray)).unwrap();
        assert_eq!(gray.rgb(), [0, 0, 0, 100, 100, 100, 255, 255, 255]);

        let deep: ImageBuffer<Rgb<u16>, _> =
            ImageBuffer::from_raw(1, 1, vec![0u16, 0x8080, 0xFFFF]).unwrap();
        assert_eq!(decode(&png(deep)).unwrap().rgb(), [0, 0x80, 0xFF]);

        let deep: ImageBuffer<Luma<u16>, _> =
            ImageBuffer::from_raw(2, 1, vec![0x1234u16, 0xFF00]).unwrap();
        assert_eq!(decode(&png(deep)).unwrap().rgb(), [0x12, 0x12, 0x12, 0xFE, 0xFE, 0xFE]);
    }

    #[test] // 4 x 1 pixels of two bits: red, green, blue, and a transparent fourth color
    fn a_palette_is_looked_up_and_its_transparent_color_replaced() {
        let file = bytes_of(
            "89504e470d0a1a0a0000000d49484452000000040000000102030000008452e75e0000000c504c5445ff000000ff000000ff\
             0909095c717e860000000474524e53ffffff00402aa9f40000000a49444154789c63900600001d001c8ef4f5210000000049\
             454e44ae426082",
        );
        assert_eq!(decode(&file).unwrap().rgb(), [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]);
    }

    #[test] // 4 x 1 pixels of two bits and a palette of 10 bytes, with right checksums
    fn a_palette_that_is_no_whole_number_of_colors_is_refused() {
        let file = bytes_of(
            "89504e470d0a1a0a0000000d49484452000000040000000102030000008452e75e0000000a504c5445ff000000ff000000ff\
             09a69e77da0000000a4944415478da63900600001d001c237c8fac0000000049454e44ae426082",
        );
        let why = decode(&file).unwrap_err().to_string();
        assert_eq!(why, "the png file has a palette of 10 bytes, wanted 3 for each color");
    }

    #[test]
    fn alpha_is_composed_on_the_background() {
        let pixels = vec![200, 100, 0, 255, 200, 100, 0, 128, 200, 100, 0, 0];
        let file = png(RgbaImage::from_raw(3, 1, pixels).unwrap());
        let on = |background| {
            let options = DecodeOptions { background, ..DecodeOptions::default() };
            Image::decode(&file, &options).unwrap().rgb().to_vec()
        };
        assert_eq!(on([255, 255, 255]), [200, 100, 0, 227, 177, 127, 255, 255, 255]);
        assert_eq!(on([0, 50, 200]), [200, 100, 0, 100, 75, 100, 0, 50, 200]);

        let gray: ImageBuffer<LumaA<u8>, _> = ImageBuffer::from_raw(1, 1, vec![100u8, 0]).unwrap();
        assert_eq!(decode(&png(gray)).unwrap().rgb(), [255, 255, 255]);
    }

    /// Returns a JPEG file with an EXIF segment after its first marker that holds the orientation
    /// alone.
    fn oriented(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn every_exif_orientation_is_applied() {
        let file = gradient(16, 8).encode(Format::Jpeg).unwrap();
        let stored = decode(&file).unwrap();
        let (right, bottom) = (15, 7);
        for orientation in 1..=8 {
            let shown = decode(&oriented(&file, orientation)).unwrap();
            let turned = orientation >= 5;
            assert_eq!((shown.width(), shown.height()), if turned { (8, 16) } else { (16, 8) });
            for (x, y) in (0..shown.width()).flat_map(|x| (0..shown.height()).map(move |y| (x, y)))
            {
                let (from_x, from_y) = match orientation {
                    1 => (x, y),
                    2 => (right - x, y),
                    3 => (right - x, bottom - y),
                    4 => (x, bottom - y),
                    5 => (y, x),
                    6 => (y, bottom - x),
                    7 => (right - y, bottom - x),
                    _ => (right - y, x),
                };
                assert_eq!(
                    shown.pixel(x, y),
                    stored.pixel(from_x, from_y),
                    "orientation {orientation}"
                );
            }
        }
    }

    #[test]
    fn an_image_larger_than_the_limits_is_refused_by_its_header() {
        for (name, file) in samples() {
            let pixels = DecodeOptions { max_pixels: 63, ..DecodeOptions::default() };
            let error = Image::decode(&file, &pixels).unwrap_err();
            assert!(
                matches!(error, PatchError::TooManyPixels { width: 8, height: 8, max: 63 }),
                "{name}: {error}"
            );
            let bytes =
                DecodeOptions { max_bytes: file.len() as u64 - 1, ..DecodeOptions::default() };
            let error = Image::decode(&file, &bytes).unwrap_err();
            assert!(matches!(error, PatchError::TooManyBytes { .. }), "{name}: {error}");
        }
        let file = Image::filled(100, 100, [0; 3]).encode_png();
        let error =
            Image::decode(&file, &DecodeOptions { max_bytes: 29_999, ..DecodeOptions::default() })
                .unwrap_err();
        assert!(matches!(error, PatchError::TooManyBytes { found: 30_000, .. }), "{error}");
    }

    #[test] // small files that claim 65535 x 65535 and 100000 x 100000 pixels
    fn a_decompression_bomb_is_an_error() {
        let mut bomb = gif(&[[0, 0, 0, 255]]);
        bomb[6..10].fill(0xFF);
        assert!(matches!(
            decode(&bomb),
            Err(PatchError::TooManyPixels { width: 65535, height: 65535, .. })
        ));

        let bomb = bytes_of(
            "89504e470d0a1a0a0000000d49484452000186a0000186a0080200000027309c9f0000000c49444154789c63606060000000\
             040001f61738550000000049454e44ae426082",
        );
        assert!(matches!(
            decode(&bomb),
            Err(PatchError::TooManyPixels { width: 100_000, height: 100_000, .. })
        ));
    }

    #[test]
    fn a_file_that_is_not_an_image_is_refused_in_words() {
        let files: [&[u8]; 8] = [
            b"",
            b"\0",
            b"hello, world",
            b"\0\0\0\x20ftypavif",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"\0\0\0\x0cJXL \r\n\x87\n",
            b"8BPS\0\x01",
            b"\x89PNG\r\n\x1a\n",
        ];
        let chain = |error: PatchError| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}\n"),
            None => format!("{error}\n"),
        };
        let lines: Vec<String> =
            files.iter().map(|file| chain(decode(file).unwrap_err())).collect();
        expect![[r#"
            the image file is empty
            the image file begins with the bytes [00], wanted png, jpeg, webp, gif, bmp or tiff
            the image file begins with the bytes [68, 65, 6c, 6c, 6f, 2c, 20, 77], wanted png, jpeg, webp, gif, bmp or tiff
            the image file is of the format `avif`, wanted png, jpeg, webp, gif, bmp or tiff
            the image file is of the format `heic`, wanted png, jpeg, webp, gif, bmp or tiff
            the image file is of the format `jpeg-xl`, wanted png, jpeg, webp, gif, bmp or tiff
            the image file is of the format `psd`, wanted png, jpeg, webp, gif, bmp or tiff
            the png file is truncated: it ends after 8 bytes, before its image does
        "#]].assert_eq(&lines.concat());
    }

    #[test]
    fn a_truncated_file_is_an_error_or_lacks_nothing_of_the_image() {
        for (name, file) in samples() {
            let whole = decode(&file).unwrap();
            for end in 0..file.len() {
                match decode(&file[..end]) {
                    Ok(image) => {
                        assert!(image == whole && end > file.len() / 2, "{name} cut at {end}")
                    }
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
            assert!(decode(&file[..file.len() / 2]).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(
            which in 0usize..6,
            at in any::<prop::sample::Index>(),
            value in any::<u8>(),
        ) {
            let (_, mut file) = samples().swap_remove(which);
            let at = at.index(file.len());
            file[at] = value;
            let options = DecodeOptions { max_pixels: 1 << 16, ..DecodeOptions::default() };
            if let Ok(image) = Image::decode(&file, &options) {
                prop_assert!(image.rgb().len() <= 3 << 16);
            }
        }
    }
}
