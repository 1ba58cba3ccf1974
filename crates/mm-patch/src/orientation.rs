//! How an image is to be turned before it is shown, as its file says it.
//!
//! EXIF has it as a `SHORT`, and some phones write a `LONG`; where there is no such entry, XMP may
//! have it as `tiff:Orientation`. Of both, EXIF counts, as in Pillow's `exif_transpose`.

use image::metadata::Orientation;

use crate::tiff::{Directory, ORIENTATION};

/// Returns what EXIF says, or else XMP; a number that means nothing leaves the image as it is.
pub(crate) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let of_exif = |exif| Directory::of(exif)?.number(ORIENTATION);
    let found = exif.and_then(of_exif).or_else(|| xmp.and_then(of_xmp));
    found
        .and_then(|number| u8::try_from(number).ok())
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
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
    use crate::tiff::tests::{LONG, structure};

    #[test]
    fn xmp_counts_where_exif_has_no_such_entry() {
        let attribute = br#"<rdf:Description tiff:Orientation="6"/>"#;
        let element = b"<tiff:Orientation>8</tiff:Orientation>";
        assert_eq!(orientation(None, Some(attribute)), Orientation::Rotate90);
        assert_eq!(orientation(Some(b"MM\0*"), Some(element)), Orientation::Rotate270);
        let three = structure(false, ORIENTATION, LONG, 3);
        assert_eq!(orientation(Some(&three), Some(attribute)), Orientation::Rotate180);
        let nothing = structure(false, ORIENTATION, LONG, 65536 + 6);
        assert_eq!(orientation(Some(&nothing), Some(attribute)), Orientation::NoTransforms);
    }
}
