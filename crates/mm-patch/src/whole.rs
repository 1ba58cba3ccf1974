//! Checks that a file is whole where its decoder does not.
//!
//! The JPEG decoder fills the rest of a file that was cut off with gray, which a model would then
//! learn, and a WebP chunk may claim any length. The decoders of PNG, GIF and BMP find a missing
//! end by themselves.

/// Says whether a JPEG file reaches its end-of-image marker (ITU T.81, annex B). Damage of other
/// kinds is left to the decoder, so the answer is then `true`.
pub(crate) fn jpeg_is_whole(file: &[u8]) -> bool {
    jpeg_end(file).is_none_or(|end| end)
}

/// Returns `Some(true)` at the end-of-image marker, `Some(false)` at the end of the file, and
/// `None` at anything unexpected.
fn jpeg_end(file: &[u8]) -> Option<bool> {
    let mut at = 2; // after the start-of-image marker
    loop {
        let Some(&[lead, marker]) = file.get(at..at + 2) else { return Some(false) };
        match (lead, marker) {
            (0xFF, 0xFF) => at += 1, // a fill byte
            (0xFF, 0xD9) => return Some(true),
            (0xFF, 0x01 | 0xD0..=0xD7) => at += 2, // markers without a segment
            (0xFF, _) => {
                let Some(&[high, low]) = file.get(at + 2..at + 4) else { return Some(false) };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
                if marker == 0xDA {
                    at = coded_end(file, at);
                }
            }
            _ => return None,
        }
    }
}

/// Returns where the entropy-coded data that begin at `from` end, which is at the next marker other
/// than a restart marker.
fn coded_end(file: &[u8], from: usize) -> usize {
    let coded = file.get(from..).unwrap_or_default();
    let marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xD0..=0xD7 | 0xFF);
    from + coded.windows(2).position(marker).unwrap_or(coded.len())
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
    fn a_jpeg_ends_at_its_own_marker_and_not_at_that_of_a_thumbnail() {
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
        let scan = [0xFF, 0xDA, 0, 2, 0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56];
        let cut = [&[0xFF, 0xD8][..], &thumbnail, &scan].concat();
        assert!(!jpeg_is_whole(&cut));
        assert!(jpeg_is_whole(&[&cut[..], &[0xFF, 0xFF, 0xD9, 0, 0]].concat()));
    }
}
