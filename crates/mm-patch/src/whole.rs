//! What a file is given before its decoder sees it, and what is read of it beside its pixels, where
//! decoders differ from what is expected of a reader of images.
//!
//! A PNG file whose pixels are all there may lack its end; of its other chunks only those go to the
//! decoder that change pixels, so that no color profile or text stops it. A BMP file may lack its
//! last padding. A WebP chunk may claim any length. The decoders of GIF and TIFF find missing
//! pixels by themselves.

use std::borrow::Cow;

use crate::png_text::{PngText, png_texts};

/// The signature of a PNG file.
const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";
/// A PNG chunk without data that ends a file, with its checksum.
const PNG_END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";
/// A PNG chunk of no pixels, with its checksum.
const PNG_NO_PIXELS: &[u8] = b"\0\0\0\0IDAT\x35\xAF\x06\x1E";
/// The keyword of a text that is XMP.
const XMP: &str = "XML:com.adobe.xmp";
/// The keywords of texts that hold EXIF in hexadecimal digits, as ImageMagick writes them.
const RAW_EXIF: [&str; 2] = ["Raw profile type exif", "Raw profile type APP1"];
/// Chunks that a decoder may not pass over and that every decoder knows.
const CRITICAL: [&[u8]; 4] = [b"IHDR", b"PLTE", b"IDAT", b"IEND"];

/// Returns what of a PNG file its pixels need: the chunks that no decoder may pass over, and
/// transparency. Where the end alone is missing, it is added. A file that is cut inside its pixels
/// stays cut, so that the decoder refuses it.
pub(crate) fn png_pixels(file: &[u8]) -> Vec<u8> {
    let mut kept = file[..PNG_START.len().min(file.len())].to_vec();
    let mut has_pixels = false;
    for chunk in png_chunks(file) {
        let PngChunk { kind, data, is_whole, .. } = chunk;
        if is_whole && (is_critical(kind) || kind == b"tRNS") {
            kept.extend(chunk.bytes(file));
        } else if kind == b"IDAT" {
            kept.extend(&file[chunk.at..chunk.at + 8 + data.len()]);
            if data.len() < chunk.length as usize {
                return kept;
            }
            kept.extend(crc32(&file[chunk.at + 4..chunk.at + 8 + data.len()]).to_be_bytes());
        }
        has_pixels |= kind == b"IDAT";
        if kind == b"IEND" && is_whole {
            return kept;
        }
    }
    if has_pixels {
        kept.extend(PNG_END);
    }
    kept
}

fn is_critical(kind: &[u8]) -> bool {
    kind[0].is_ascii_uppercase()
}

/// Names a chunk of a PNG file that no decoder may pass over and that is not read.
pub(crate) fn unread_png_chunk(file: &[u8]) -> Option<String> {
    let unknown = |chunk: &PngChunk<'_>| is_critical(chunk.kind) && !CRITICAL.contains(&chunk.kind);
    let is_name = |kind: &[u8]| kind.iter().all(u8::is_ascii_alphabetic);
    let found = png_chunks(file).find(|chunk| unknown(chunk) && is_name(chunk.kind))?;
    Some(format!("the chunk `{}`", String::from_utf8_lossy(found.kind)))
}

/// Returns how many bytes the palette of a PNG file claims to have, if its pixels are indices of
/// it.
pub(crate) fn png_palette(file: &[u8]) -> Option<usize> {
    const COLOR_TYPE: usize = 25; // the tenth byte of the data of the first chunk
    if file.get(COLOR_TYPE) != Some(&3) {
        return None;
    }
    png_chunks(file).find(|chunk| chunk.kind == b"PLTE").map(|chunk| chunk.length as usize)
}

/// What a PNG file says beside its pixels, before or behind them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PngNotes {
    pub(crate) exif: Option<Vec<u8>>,
    pub(crate) xmp: Option<Vec<u8>>,
}

/// Reads EXIF from its chunk, or else from a text in hexadecimal digits, and XMP.
pub(crate) fn png_notes(file: &[u8]) -> PngNotes {
    let mut notes = PngNotes::default();
    let (mut head, mut texts) = (PNG_START.to_vec(), vec![]);
    let is_note = |data: &[u8]| {
        let has = |name: &str| {
            data.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        };
        has(XMP) || RAW_EXIF.into_iter().any(has)
    };
    for chunk in png_chunks(file).filter(|chunk| chunk.is_whole) {
        match chunk.kind {
            b"IHDR" => head.extend(chunk.bytes(file)),
            b"eXIf" => notes.exif = Some(chunk.data.to_vec()),
            b"tEXt" | b"zTXt" | b"iTXt" if is_note(chunk.data) => texts.extend(chunk.bytes(file)),
            _ => {}
        }
    }
    if texts.is_empty() {
        return notes;
    }
    let texts = png_texts(&[&head[..], &texts, PNG_NO_PIXELS, PNG_END].concat());
    for PngText { keyword, text } in texts.unwrap_or_default() {
        if keyword == XMP {
            notes.xmp = Some(text.into_bytes());
        } else {
            notes.exif = notes.exif.or(of_hexadecimal(&text));
        }
    }
    notes
}

/// Returns the bytes of a raw profile: behind an empty line, its name and its length.
fn of_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .lines()
        .skip(3)
        .flat_map(|line| line.trim().chars())
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    Some(digits.chunks_exact(2).map(|pair| 16 * pair[0] + pair[1]).collect())
}

struct PngChunk<'a> {
    /// Where the chunk begins in the file.
    at: usize,
    kind: &'a [u8],
    /// How many bytes of data the chunk claims to have.
    length: u32,
    /// What of them the file has.
    data: &'a [u8],
    /// Whether all data are there, and the checksum.
    is_whole: bool,
}

impl PngChunk<'_> {
    /// Returns a whole chunk with its head and its checksum.
    fn bytes<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        &file[self.at..self.at + 12 + self.data.len()]
    }
}

/// Returns the chunks of a PNG file, the last of which may end after the file.
fn png_chunks(file: &[u8]) -> impl Iterator<Item = PngChunk<'_>> {
    let mut next = PNG_START.len();
    std::iter::from_fn(move || {
        let at = next;
        let (head, rest) = file.get(at..)?.split_at_checked(8)?;
        let length = u32::from_be_bytes(head[..4].try_into().ok()?);
        let data = &rest[..rest.len().min(length as usize)];
        next = at.checked_add(12)?.checked_add(length as usize)?;
        Some(PngChunk { at, kind: &head[4..], length, data, is_whole: next <= file.len() })
    })
}

/// Returns the checksum of a PNG chunk (PNG, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    let of_bits = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), of_bits))
}

/// Gives a BMP file its last padding, where that alone is missing, and a place to its pixels, where
/// it says that they are at byte 0: behind its head and palette.
pub(crate) fn bmp_pixels(file: &[u8]) -> Cow<'_, [u8]> {
    let mut file = Cow::Borrowed(file);
    if file.get(10..14) == Some(&[0; 4])
        && let Some(place) = bmp_place(&file).and_then(|place| u32::try_from(place).ok())
    {
        file.to_mut()[10..14].copy_from_slice(&place.to_le_bytes());
    }
    let missing = bmp_padding(&file).unwrap_or_default();
    if missing > 0 {
        let whole = file.len() + missing;
        file.to_mut().resize(whole, 0);
    }
    file
}

/// Returns a little-endian number of a BMP file.
fn bmp_number(file: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let found = file.get(at..at + bytes)?;
    Some(found.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}

/// Returns where the head and the palette of a BMP file end.
fn bmp_place(file: &[u8]) -> Option<u64> {
    const FILE_HEAD: u64 = 14;
    let number = |at: usize, bytes: usize| bmp_number(file, at, bytes);
    let head = number(14, 4)?;
    let [bits, packing, colors, of_color] = match head {
        12 => [number(24, 2)?, 0, 0, 3],
        _ => [number(28, 2)?, number(30, 4)?, number(46, 4)?, 4],
    };
    let masks = if head == 40 && packing == 3 { 12 } else { 0 };
    let colors = match (colors, bits) {
        (0, 1..=8) => 1 << bits,
        (colors, _) => colors.min(256),
    };
    Some(FILE_HEAD + head + masks + of_color * colors)
}

/// Returns how many bytes of padding a BMP file lacks, if it lacks nothing else.
fn bmp_padding(file: &[u8]) -> Option<usize> {
    let number = |at: usize, bytes: usize| bmp_number(file, at, bytes);
    let [width, height, bits, packing] = match number(14, 4)? {
        12 => [number(18, 2)?, number(20, 2)?, number(24, 2)?, 0],
        _ => {
            let height = number(22, 4)? as u32 as i32;
            [number(18, 4)?, u64::from(height.unsigned_abs()), number(28, 2)?, number(30, 4)?]
        }
    };
    let row = (width * bits).div_ceil(8);
    let padding = row.next_multiple_of(4) - row;
    let end = number(10, 4)?.checked_add((row + padding).checked_mul(height)?)?;
    let missing = end.checked_sub(file.len() as u64)?;
    let is_packed = ![0, 3].contains(&packing); // run lengths
    (!is_packed && missing <= padding).then_some(missing as usize)
}

/// Says whether every top-level chunk of a WebP file lies inside it (RFC 9649, section 2.3). The
/// last pad byte may be missing, and anything may follow.
pub(crate) fn webp_is_whole(file: &[u8]) -> bool {
    let Some(end) = webp_end(file) else { return false };
    end <= file.len() + 1 && webp_chunks(file).all(|chunk| chunk.is_some())
}

/// Returns the EXIF of a WebP file, if its head says that there is one.
pub(crate) fn webp_exif(file: &[u8]) -> Option<&[u8]> {
    webp_note(file, 0x08, b"EXIF")
}

/// Returns the XMP of a WebP file, if its head says that there is one.
pub(crate) fn webp_xmp(file: &[u8]) -> Option<&[u8]> {
    webp_note(file, 0x04, b"XMP ")
}

/// Returns the data of a chunk that a bit of the first chunk announces.
fn webp_note<'a>(file: &'a [u8], bit: u8, wanted: &[u8]) -> Option<&'a [u8]> {
    let mut chunks = webp_chunks(file).flatten();
    let (_, head) = chunks.next().filter(|(kind, _)| *kind == b"VP8X")?;
    let is_announced = head.first()? & bit != 0;
    chunks.find(|(kind, _)| is_announced && *kind == wanted).map(|(_, data)| data)
}

/// Returns where a WebP file says that it ends.
fn webp_end(file: &[u8]) -> Option<usize> {
    let size = u32::from_le_bytes(file.get(4..8)?.try_into().ok()?);
    (size as usize).checked_add(8)
}

/// Returns the kind and the data of every top-level chunk that begins before a WebP file says that
/// it ends; nothing, and no further chunk, in place of one that ends after the file.
fn webp_chunks(file: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    let end = webp_end(file).unwrap_or(0);
    let mut at = Some(12); // after `RIFF`, its size, and `WEBP`
    std::iter::from_fn(move || {
        let (head, rest) = file.get(at.filter(|at| *at < end)?..)?.split_at_checked(8)?;
        let size = u32::from_le_bytes(head[4..].try_into().ok()?) as usize;
        let data = rest.get(..size);
        at = data.map(|data| file.len() - rest.len() + data.len() + data.len() % 2);
        Some(data.map(|data| (&head[..4], data)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webp_chunk_that_claims_more_than_the_file_is_refused_and_what_follows_the_file_is_not_read()
     {
        let file = |claimed: u32| {
            let mut file = b"RIFF\x10\0\0\0WEBPEXIF".to_vec();
            file.extend(claimed.to_le_bytes());
            file.extend([7; 4]);
            file
        };
        assert!(webp_is_whole(&file(4)) && webp_is_whole(&file(3)));
        assert!(!webp_is_whole(&file(5)) && !webp_is_whole(&file(u32::MAX)));
        assert!(webp_is_whole(&[&file(4)[..], b"<!-- appended -->"].concat()));
        assert!(!webp_is_whole(&file(4)[..20]));
        assert_eq!(webp_exif(&file(3)), None, "no head announces it");
        let note = |bits: u8, kind: &[u8; 4]| {
            let head = [b"VP8X\x0A\0\0\0", &[bits][..], &[0; 9]].concat();
            let chunks = [b"WEBP", &head[..], kind, b"\x02\0\0\0MM"].concat();
            [b"RIFF", &(chunks.len() as u32).to_le_bytes()[..], &chunks].concat()
        };
        assert_eq!(webp_exif(&note(0x08, b"EXIF")), Some(&b"MM"[..]));
        assert_eq!(webp_xmp(&note(0x0C, b"XMP ")), Some(&b"MM"[..]));
        assert_eq!((webp_exif(&note(0x04, b"EXIF")), webp_xmp(&note(0x08, b"XMP "))), (None, None));
    }

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let named = [&kind[..], data].concat();
        [&(data.len() as u32).to_be_bytes(), &named[..], &crc32(&named).to_be_bytes()].concat()
    }

    #[test]
    fn a_png_whose_pixels_are_all_there_gets_its_end_and_loses_what_changes_none() {
        let head = [PNG_START, &chunk(b"IHDR", &[0; 13])[..]].concat();
        let pixels = [&head[..], &chunk(b"IDAT", &[1, 2, 3])].concat();
        let whole = [&pixels[..], PNG_END].concat();
        for end in [&b""[..], b"\0\0\0\0IE", b"\0\0\0\x09tEXt", b"\xFF\xFF\xFF\xFFtEXt"] {
            assert_eq!(png_pixels(&[&pixels[..], end].concat()), whole);
        }
        for cut in 1..=4 {
            assert_eq!(png_pixels(&pixels[..pixels.len() - cut]), whole);
        }
        for kept in [&whole[..], &pixels[..pixels.len() - 5], &head] {
            assert_eq!(png_pixels(kept), *kept);
        }
        let [profile, clear] = [chunk(b"cICP", &[1, 1, 1, 1]), chunk(b"tRNS", &[9])];
        let noted = [&head[..], &profile, &clear, &chunk(b"IDAT", &[1, 2, 3]), PNG_END].concat();
        let plain = [&head[..], &clear, &chunk(b"IDAT", &[1, 2, 3]), PNG_END].concat();
        assert_eq!(png_pixels(&noted), plain);
        let apple = [PNG_START, &chunk(b"CgBI", &[0; 4]), &whole[8..]].concat();
        assert_eq!(unread_png_chunk(&apple).unwrap(), "the chunk `CgBI`");
        assert_eq!(unread_png_chunk(&noted), None);
    }

    #[test]
    fn exif_and_xmp_of_a_png_are_read_before_and_behind_its_pixels() {
        let head = [PNG_START, &chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0])].concat();
        let pixels = chunk(b"IDAT", &[1, 2, 3]);
        let notes = |before: &[u8], behind: &[u8]| {
            png_notes(&[&head[..], before, &pixels, behind, PNG_END].concat())
        };
        let exif = |bytes: &[u8]| PngNotes { exif: Some(bytes.to_vec()), xmp: None };
        let binary = chunk(b"eXIf", b"MM\0*");
        let raw = chunk(b"tEXt", b"Raw profile type exif\0\nexif\n       5\n457869\n6600\n");
        let xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>");
        let other = chunk(b"tEXt", b"Comment\0words");
        for (one, two) in [(&binary, &other), (&other, &binary)] {
            assert_eq!(notes(one, two), exif(b"MM\0*"));
        }
        assert_eq!(notes(&raw, &[]), exif(b"Exif\0"));
        assert_eq!(notes(&[], &[&raw[..], &binary].concat()), exif(b"MM\0*"));
        assert_eq!(notes(&[], &xmp), PngNotes { exif: None, xmp: Some(b"<x/>".to_vec()) });
        assert_eq!(notes(&other, &[]), PngNotes::default());
        assert_eq!(of_hexadecimal("\nexif\n 2\nxy"), None);
    }

    #[test]
    fn a_bmp_gets_its_last_padding_alone() {
        let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        file.extend([3_u32, 2].map(u32::to_le_bytes).concat());
        file.extend([1_u16, 24].map(u16::to_le_bytes).concat());
        file.resize(54 + 2 * 12, 0); // three pixels and three bytes of padding a row
        for cut in 0..=3 {
            assert_eq!(*bmp_pixels(&file[..file.len() - cut]), file[..]);
        }
        assert_eq!(bmp_pixels(&file[..file.len() - 4]).len(), file.len() - 4);
        let mut nowhere = file.clone();
        nowhere[10] = 0;
        assert_eq!(*bmp_pixels(&nowhere), file[..]);
        nowhere[28] = 8;
        assert_eq!(bmp_pixels(&nowhere)[10..14], (54_u32 + 4 * 256).to_le_bytes());
    }
}
