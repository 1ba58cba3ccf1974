//! Whether a file is whole, where its decoder does not see it as a reader of images does.
//!
//! A WebP chunk may claim any length, and a PNG file whose pixels are all there may lack its end.
//! The decoders of GIF, BMP and TIFF find missing pixels by themselves.

use std::borrow::Cow;

/// A PNG chunk without data that ends a file, with its checksum.
const PNG_END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";

/// Gives a PNG file its end where that alone is missing: what stands behind the last whole chunk is
/// left out. A file that is cut inside its pixels stays as it is, so that the decoder refuses it.
pub(crate) fn with_png_end(file: &[u8]) -> Cow<'_, [u8]> {
    let (mut whole, mut has_pixels) = (0, false);
    for PngChunk { kind, end, .. } in png_chunks(file) {
        match kind {
            b"IEND" => return Cow::Borrowed(file),
            b"IDAT" if end > file.len() as u64 => return Cow::Borrowed(file),
            b"IDAT" => has_pixels = true,
            _ if end > file.len() as u64 => break,
            _ => {}
        }
        whole = end as usize;
    }
    if has_pixels { Cow::Owned([&file[..whole], PNG_END].concat()) } else { Cow::Borrowed(file) }
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

struct PngChunk<'a> {
    kind: &'a [u8],
    /// How many bytes of data the chunk claims to have.
    length: u32,
    /// Where the chunk would end in the file.
    end: u64,
}

/// Returns the chunks of a PNG file, the last of which may end after the file.
fn png_chunks(file: &[u8]) -> impl Iterator<Item = PngChunk<'_>> {
    let mut at = 8; // after the signature
    std::iter::from_fn(move || {
        let head = file.get(at..)?.get(..8)?;
        let length = u32::from_be_bytes(head[..4].try_into().ok()?);
        let end = at as u64 + 12 + u64::from(length);
        at = usize::try_from(end).ok()?;
        Some(PngChunk { kind: &head[4..], length, end })
    })
}

/// Says whether every top-level chunk of a WebP file lies inside it (RFC 9649, section 2.3). The
/// last pad byte may be missing.
pub(crate) fn webp_is_whole(file: &[u8]) -> bool {
    let size_at = |at: usize| {
        let bytes = file.get(at + 4..at + 8)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let Some(riff) = size_at(0) else { return false };
    if riff + 8 > file.len() + 1 {
        return false;
    }
    let mut at = 12; // after `RIFF`, its size, and `WEBP`
    while let Some(size) = size_at(at) {
        if at + 8 + size > file.len() {
            return false;
        }
        at += 8 + size + size % 2;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webp_chunk_that_claims_more_than_the_file_is_refused() {
        let file = |claimed: u32| {
            let mut file = b"RIFF\x10\0\0\0WEBPEXIF".to_vec();
            file.extend(claimed.to_le_bytes());
            file.extend([0; 4]);
            file
        };
        assert!(webp_is_whole(&file(4)) && webp_is_whole(&file(3)));
        assert!(!webp_is_whole(&file(5)) && !webp_is_whole(&file(u32::MAX)));
    }

    #[test]
    fn a_png_whose_pixels_are_all_there_gets_its_end() {
        let chunk = |kind: &[u8; 4], data: &[u8]| {
            [&(data.len() as u32).to_be_bytes(), &kind[..], data, &[0; 4]].concat()
        };
        let head = [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &[0; 13])[..]].concat();
        let pixels = [&head[..], &chunk(b"IDAT", &[1, 2, 3])].concat();
        let whole = [&pixels[..], PNG_END].concat();
        for end in [&b""[..], b"\0\0\0\0IE", b"\0\0\0\x09tEXt", b"\xFF\xFF\xFF\xFFtEXt"] {
            assert_eq!(*with_png_end(&[&pixels[..], end].concat()), whole[..]);
        }
        for kept in [&whole[..], &pixels[..pixels.len() - 1], &head] {
            assert_eq!(*with_png_end(kept), *kept);
        }
    }
}
