//! How an image is to be turned before it is shown, as its file says it.
//!
//! EXIF has it as a `SHORT`, and some phones write a `LONG`; where there is no such entry, XMP may
//! have it as `tiff:Orientation`. Of both, EXIF counts, as in Pillow's `exif_transpose`.

use image::metadata::Orientation;

const ORIENTATION: u16 = 0x0112;
const COMPRESSION: u16 = 0x0103;
const PREDICTOR: u16 = 0x013D;
const LZW: u32 = 5;
const DEFLATE: u32 = 8;
const OLD_DEFLATE: u32 = 32946;
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// Returns what EXIF says, or else XMP; a number that means nothing leaves the image as it is.
pub(crate) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let found = exif.and_then(|exif| entry(exif, ORIENTATION)).or_else(|| xmp.and_then(of_xmp));
    found
        .and_then(|number| u8::try_from(number).ok())
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

/// Names what of a TIFF file its decoder would read otherwise than libtiff does: JPEG data, which
/// go to another JPEG decoder, and a predictor where the compression has none.
pub(crate) fn unread_tiff(tiff: &[u8]) -> Option<&'static str> {
    match (entry(tiff, COMPRESSION), entry(tiff, PREDICTOR)) {
        (Some(6 | 7), _) => Some("JPEG compression"),
        (Some(LZW | DEFLATE | OLD_DEFLATE), _) | (_, None | Some(1)) => None,
        _ => Some("a predictor without LZW or deflate"),
    }
}

/// Returns a number in the first directory of a TIFF structure, which is what EXIF is made of.
fn entry(exif: &[u8], tag: u16) -> Option<u32> {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let is_big = match tiff.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let directory = long(4)? as usize;
    for number in 0..usize::from(short(directory)?) {
        let at = directory + 2 + 12 * number;
        if short(at)? == tag {
            return match short(at + 2)? {
                SHORT => short(at + 8).map(u32::from),
                LONG => long(at + 8),
                _ => None,
            };
        }
    }
    None
}

/// The digit of `tiff:Orientation="6"` or `<tiff:Orientation>6</tiff:Orientation>`.
fn of_xmp(xmp: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(xmp);
    let mut behind = text.split("tiff:Orientation").skip(1);
    behind.find_map(|rest| {
        let rest =
            rest.strip_prefix("=\"").or(rest.strip_prefix("='")).or(rest.strip_prefix('>'))?;
        rest.chars().next()?.to_digit(10)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_exif(exif: &[u8]) -> Option<u32> {
        entry(exif, ORIENTATION)
    }

    fn exif(is_big: bool, kind: u16, number: u32) -> Vec<u8> {
        let short = |n: u16| if is_big { n.to_be_bytes() } else { n.to_le_bytes() };
        let long = |n: u32| if is_big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut bytes = if is_big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(long(8));
        bytes.extend(short(2));
        for (tag, kind, number) in [(0x010F, LONG, 9), (ORIENTATION, kind, number)] {
            bytes.extend([short(tag), short(kind)].concat());
            bytes.extend(long(1));
            bytes.extend(match kind {
                SHORT => [short(number as u16), short(0)].concat(),
                _ => long(number).to_vec(),
            });
        }
        bytes
    }

    #[test]
    fn short_and_long_are_read_in_either_byte_order() {
        for (is_big, kind) in [(false, SHORT), (true, SHORT), (false, LONG), (true, LONG)] {
            for number in 1..=8 {
                let bare = exif(is_big, kind, number);
                assert_eq!(of_exif(&bare), Some(number));
                assert_eq!(of_exif(&[b"Exif\0\0", &bare[..]].concat()), Some(number));
            }
        }
        assert_eq!(of_exif(&exif(true, 2, 6)), None);
    }

    #[test]
    fn xmp_counts_where_exif_has_no_such_entry() {
        let attribute = br#"<rdf:Description tiff:Orientation="6"/>"#;
        let element = b"<tiff:Orientation>8</tiff:Orientation>";
        assert_eq!(orientation(None, Some(attribute)), Orientation::Rotate90);
        assert_eq!(orientation(Some(b"MM\0*"), Some(element)), Orientation::Rotate270);
        let three = exif(false, LONG, 3);
        assert_eq!(orientation(Some(&three), Some(attribute)), Orientation::Rotate180);
        let nothing = exif(false, LONG, 65536 + 6);
        assert_eq!(orientation(Some(&nothing), Some(attribute)), Orientation::NoTransforms);
    }

    #[test]
    fn tiff_files_that_would_be_misread_are_named() {
        let file = |compression: u16, predictor: u16| {
            let mut bytes = b"II*\0\x08\0\0\0\x02\0".to_vec();
            for (tag, number) in [(COMPRESSION, compression), (PREDICTOR, predictor)] {
                bytes.extend([tag, SHORT, 1, 0, number, 0].map(u16::to_le_bytes).concat());
            }
            bytes
        };
        assert_eq!(unread_tiff(&file(7, 1)), Some("JPEG compression"));
        assert_eq!(unread_tiff(&file(1, 2)), Some("a predictor without LZW or deflate"));
        for (compression, predictor) in [(1, 1), (5, 2), (8, 2), (32946, 2), (32773, 1)] {
            assert_eq!(unread_tiff(&file(compression, predictor)), None);
        }
    }

    #[test]
    fn cut_and_looping_directories_say_nothing() {
        let whole = exif(true, SHORT, 6);
        for end in 0..whole.len() - 4 {
            assert_eq!(of_exif(&whole[..end]), None, "cut at {end}");
        }
        let mut far = whole;
        far[4..8].fill(0xFF);
        assert_eq!(of_exif(&far), None);
    }
}
