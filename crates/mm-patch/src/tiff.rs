//! The first directory of a TIFF structure, which TIFF files and EXIF are made of, and what of a
//! TIFF file its decoder would not read as libtiff does.
//!
//! Numbers of tags and values are those of TIFF 6.0; files of more than 4 GiB (BigTIFF) have longer
//! offsets.

pub(crate) const ORIENTATION: u16 = 274;
const BITS_PER_SAMPLE: u16 = 258;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
const SAMPLES_PER_PIXEL: u16 = 277;
const PLANAR_CONFIGURATION: u16 = 284;
const PREDICTOR: u16 = 317;
const TILE_WIDTH: u16 = 322;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;

const NO_COMPRESSION: u32 = 1;
const GROUP_4: u32 = 4;
const LZW: u32 = 5;
const DEFLATE: u32 = 8;
const PACK_BITS: u32 = 32773;
const OLD_DEFLATE: u32 = 32946;

/// The first directory of a TIFF structure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory<'a> {
    bytes: &'a [u8],
    /// Whether numbers begin with their highest byte.
    is_big_endian: bool,
    /// Whether offsets have 8 bytes.
    is_big: bool,
}

impl<'a> Directory<'a> {
    /// Reads the head of a structure, with or without the name that EXIF has before it.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
        let (is_big_endian, is_big) = match bytes.get(..4)? {
            b"MM\0*" => (true, false),
            b"II*\0" => (false, false),
            b"MM\0+" => (true, true),
            b"II+\0" => (false, true),
            _ => return None,
        };
        Some(Self { bytes, is_big_endian, is_big })
    }

    /// Returns the first whole number of a tag, if the directory has the tag.
    pub(crate) fn number(&self, tag: u16) -> Option<u32> {
        let (head, length, inline) = if self.is_big { (8, 20, 8) } else { (2, 12, 4) };
        let start = usize::try_from(self.offset(if self.is_big { 8 } else { 4 })?).ok()?;
        let entries = self.unsigned(start, head)?;
        let first = start.checked_add(head)?;
        for entry in 0..usize::try_from(entries).ok()? {
            let at = first.checked_add(entry.checked_mul(length)?)?;
            if self.unsigned(at, 2)? != u64::from(tag) {
                continue;
            }
            // Signed kinds are read as unsigned ones: a number below zero means nothing here.
            let bytes = match self.unsigned(at + 2, 2)? {
                6 => 1,
                3 | 8 => 2,
                4 | 9 => 4,
                16 => 8,
                _ => return None,
            };
            let count = self.unsigned(at + 4, if self.is_big { 8 } else { 4 })?;
            let value = at + length - inline;
            let value = if count.saturating_mul(bytes as u64) <= inline as u64 {
                value
            } else {
                usize::try_from(self.offset(value)?).ok()?
            };
            return u32::try_from(self.unsigned(value, bytes)?).ok();
        }
        None
    }

    fn offset(&self, at: usize) -> Option<u64> {
        self.unsigned(at, if self.is_big { 8 } else { 4 })
    }

    fn unsigned(&self, at: usize, bytes: usize) -> Option<u64> {
        let found = self.bytes.get(at..at.checked_add(bytes)?)?;
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Some(if self.is_big_endian {
            found.iter().fold(0, add)
        } else {
            found.iter().rev().fold(0, add)
        })
    }
}

/// Names what of a TIFF file is not read: what its decoder does not know, and what it reads
/// otherwise than libtiff does.
pub(crate) fn unread(file: &[u8]) -> Option<String> {
    let directory = Directory::of(file)?;
    let number = |tag: u16| directory.number(tag);
    let compression = number(COMPRESSION).unwrap_or(NO_COMPRESSION);
    let bits = number(BITS_PER_SAMPLE).unwrap_or(1);
    let samples = number(SAMPLES_PER_PIXEL).unwrap_or(1);
    let in_planes = number(PLANAR_CONFIGURATION) == Some(2) && samples > 1;
    let has_predictor = number(PREDICTOR).is_some_and(|predictor| predictor != 1);
    let what = match (compression, number(PHOTOMETRIC).unwrap_or(1)) {
        (2 | 3, _) => "the compression of group 3 facsimiles".to_owned(),
        (6 | 7, _) => "JPEG compression".to_owned(),
        (34925, _) => "LZMA compression".to_owned(),
        (50000, _) => "Zstandard compression".to_owned(),
        (50001, _) => "WebP compression".to_owned(),
        (NO_COMPRESSION | GROUP_4 | PACK_BITS, _) if has_predictor => {
            "a predictor without LZW or deflate".to_owned()
        }
        (NO_COMPRESSION | GROUP_4 | LZW | DEFLATE | OLD_DEFLATE | PACK_BITS, colors) => {
            match colors {
                _ if number(FILL_ORDER) == Some(2) => "bytes whose bits are in reverse".to_owned(),
                _ if number(SAMPLE_FORMAT) == Some(3) => "floating-point numbers".to_owned(),
                _ if ![1, 8, 16].contains(&bits) => format!("{bits} bits a sample"),
                _ if in_planes && number(TILE_WIDTH).is_some() => "tiles of single colors".into(),
                0 | 1 if samples == 2 => "gray with alpha".to_owned(),
                3 => "a palette".to_owned(),
                5 if in_planes => "CMYK in planes".to_owned(),
                6 => "YCbCr colors".to_owned(),
                8..=10 => "CIE L*a*b* colors".to_owned(),
                _ => return None,
            }
        }
        (other, _) => format!("compression {other}"),
    };
    Some(what)
}

/// Says whether the colors of a TIFF file are multiplied by its alpha already (associated alpha).
pub(crate) fn is_premultiplied(file: &[u8]) -> bool {
    Directory::of(file).and_then(|directory| directory.number(EXTRA_SAMPLES)) == Some(1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{DecodeOptions, Image};

    pub(crate) const SHORT: u16 = 3;
    pub(crate) const LONG: u16 = 4;

    /// Returns a structure that has another tag, and then this one with one number.
    pub(crate) fn structure(is_big_endian: bool, tag: u16, kind: u16, number: u32) -> Vec<u8> {
        let short = |n: u16| if is_big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
        let long = |n: u32| if is_big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut bytes = if is_big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(long(8));
        bytes.extend(short(2));
        for (tag, kind, number) in [(0x010F, LONG, 9), (tag, kind, number)] {
            bytes.extend([short(tag), short(kind)].concat());
            bytes.extend(long(1));
            bytes.extend(match kind {
                SHORT => [short(number as u16), short(0)].concat(),
                _ => long(number).to_vec(),
            });
        }
        bytes
    }

    fn number(bytes: &[u8]) -> Option<u32> {
        Directory::of(bytes)?.number(ORIENTATION)
    }

    /// Returns a little-endian file of short numbers.
    fn file(tags: &[[u16; 2]]) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        bytes.extend((tags.len() as u16).to_le_bytes());
        for [tag, number] in tags {
            bytes.extend([*tag, SHORT, 1, 0, *number, 0].map(u16::to_le_bytes).concat());
        }
        bytes
    }

    #[test]
    fn short_and_long_are_read_in_either_byte_order() {
        for (is_big_endian, kind) in [(false, SHORT), (true, SHORT), (false, LONG), (true, LONG)] {
            for wanted in 1..=8 {
                let bare = structure(is_big_endian, ORIENTATION, kind, wanted);
                assert_eq!(number(&bare), Some(wanted));
                assert_eq!(number(&[b"Exif\0\0", &bare[..]].concat()), Some(wanted));
            }
        }
        assert_eq!(number(&structure(true, ORIENTATION, 2, 6)), None);
        assert_eq!(number(&structure(false, ORIENTATION, 9, 6)), Some(6));
    }

    #[test]
    fn a_list_of_numbers_has_its_first_behind_the_directory_and_big_files_have_long_offsets() {
        let mut list = structure(false, BITS_PER_SAMPLE, SHORT, 0);
        list[26..30].copy_from_slice(&3_u32.to_le_bytes());
        let end = list.len() as u32;
        list[30..34].copy_from_slice(&end.to_le_bytes());
        list.extend([16, 0, 16, 0, 16, 0]);
        assert_eq!(Directory::of(&list).unwrap().number(BITS_PER_SAMPLE), Some(16));

        let mut big = b"MM\0+\0\x08\0\0".to_vec();
        big.extend(16_u64.to_be_bytes());
        big.extend(1_u64.to_be_bytes());
        big.extend([ORIENTATION, SHORT].map(u16::to_be_bytes).concat());
        big.extend(1_u64.to_be_bytes());
        big.extend([0, 6, 0, 0, 0, 0, 0, 0]);
        assert_eq!(number(&big), Some(6));
    }

    #[test]
    fn files_that_would_be_misread_are_named() {
        let of = |tags: &[[u16; 2]]| unread(&file(tags));
        let whole = [[BITS_PER_SAMPLE, 8], [PHOTOMETRIC, 2], [SAMPLES_PER_PIXEL, 3]];
        let with = |more: &[[u16; 2]]| of(&[more, &whole[..]].concat());
        assert_eq!(with(&[[COMPRESSION, 7]]).unwrap(), "JPEG compression");
        assert_eq!(with(&[[COMPRESSION, 9]]).unwrap(), "compression 9");
        let predictor = with(&[[COMPRESSION, 1], [PREDICTOR, 2]]).unwrap();
        assert_eq!(predictor, "a predictor without LZW or deflate");
        assert_eq!(with(&[[FILL_ORDER, 2]]).unwrap(), "bytes whose bits are in reverse");
        assert_eq!(with(&[[SAMPLE_FORMAT, 3]]).unwrap(), "floating-point numbers");
        assert_eq!(with(&[[BITS_PER_SAMPLE, 32]]).unwrap(), "32 bits a sample");
        let tiles = with(&[[PLANAR_CONFIGURATION, 2], [TILE_WIDTH, 16]]).unwrap();
        assert_eq!(tiles, "tiles of single colors");
        let gray = of(&[[BITS_PER_SAMPLE, 8], [PHOTOMETRIC, 1], [SAMPLES_PER_PIXEL, 2]]).unwrap();
        assert_eq!(gray, "gray with alpha");
        for (compression, predictor) in [(1, 1), (5, 2), (8, 2), (32946, 2), (32773, 1)] {
            assert_eq!(with(&[[COMPRESSION, compression], [PREDICTOR, predictor]]), None);
        }
        assert_eq!(of(&[]), None, "one bit of gray is the default");
        assert!(is_premultiplied(&file(&[[EXTRA_SAMPLES, 1]])));
        assert!(!is_premultiplied(&file(&[[EXTRA_SAMPLES, 2]])) && !is_premultiplied(&file(&[])));
    }

    #[test]
    fn colors_that_are_multiplied_by_their_alpha_are_not_multiplied_again() {
        let pixels = [100, 50, 0, 128, 200, 100, 0, 255, 0, 0, 0, 0];
        let decode = |extra: u16| {
            let bits = 8 + 2 + 10 * 12 + 4;
            let tags = [
                [256, 1, 3],
                [257, 1, 1],
                [BITS_PER_SAMPLE, 4, bits],
                [COMPRESSION, 1, 1],
                [PHOTOMETRIC, 1, 2],
                [273, 1, bits + 8], // where the pixels are
                [SAMPLES_PER_PIXEL, 1, 4],
                [278, 1, 1], // rows of a strip
                [279, 1, 12],
                [EXTRA_SAMPLES, 1, extra],
            ];
            let mut file = b"II*\0\x08\0\0\0\x0A\0".to_vec();
            for [tag, count, number] in tags {
                file.extend([tag, SHORT, count, 0, number, 0].map(u16::to_le_bytes).concat());
            }
            file.extend([&[0; 4][..], &[8, 0].repeat(4), &pixels].concat());
            Image::decode(&file, &DecodeOptions::default()).unwrap().rgb().to_vec()
        };
        assert_eq!(decode(2), [177, 152, 127, 200, 100, 0, 255, 255, 255]);
        assert_eq!(decode(1), [227, 177, 127, 200, 100, 0, 255, 255, 255]);
    }

    #[test]
    fn cut_and_looping_directories_say_nothing() {
        let whole = structure(true, ORIENTATION, SHORT, 6);
        for end in 0..whole.len() - 4 {
            assert_eq!(number(&whole[..end]), None, "cut at {end}");
        }
        let mut far = whole;
        far[4..8].fill(0xFF);
        assert_eq!(number(&far), None);
    }
}
