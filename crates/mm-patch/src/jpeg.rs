//! JPEG files (ITU T.81): this module reads the headers, the crate `jpeg-decoder` the coded blocks.
//!
//! The headers decide what the numbers of a file mean, and decoders differ in what they make of
//! them. So they are read once, here, by the rules of libjpeg: what the decoder is known to read
//! right goes to it without any application segment and with the color transform that was found,
//! and the rest is refused by name. `tests/reference/jpeg_corpus.py` holds the result against
//! libjpeg-turbo for every sampling, scan layout and marker order.
//!
//! Refused are arithmetic, lossless and hierarchical coding, samples of other than 8 bits, a
//! height that stands behind the first scan, sampling factors that do not divide each other, and
//! progressive files without all of their scans, which libjpeg would show blurred.

use image::error::{DecodingError, ImageFormatHint};
use image::{DynamicImage, GrayImage, ImageError, ImageFormat, RgbImage};
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use crate::PatchError;

const START: [u8; 2] = [0xFF, 0xD8];
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;
const COMMENT: u8 = 0xFE;
/// Says how many lines a frame has (DNL), which is of use only where its header does not.
const LINES: u8 = 0xDC;
const SEQUENTIAL: u8 = 0xC1;
const PROGRESSIVE: u8 = 0xC2;
/// The first and the last coefficient of a scan, and the bits of each, where a scan has all.
const WHOLE_BAND: [u8; 3] = [0, 63, 0];
/// An application segment that makes the decoder use the standard Huffman tables where a file
/// brings none, as libjpeg does.
const STANDARD_TABLES: &[u8] = b"\xFF\xE0\0\x07AVI1\0";

/// A marker with its payload; a scan also has the coded data behind it, restart markers included.
struct Segment<'a> {
    marker: u8,
    payload: &'a [u8],
    coded: &'a [u8],
}

/// The segments of a file up to its end marker, or up to where the file ends.
struct Segments<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let file = self.file;
        let marker = loop {
            let &[lead, marker] = file.get(self.at..self.at + 2)? else { return None };
            match (lead, marker) {
                (0xFF, 0xFF) => self.at += 1,                      // a fill byte
                (0xFF, 0x00 | 0x01 | 0xD0..=0xD7) => self.at += 2, // without a segment
                (0xFF, _) => break marker,
                _ => self.at += 1, // a stray byte between segments, as some cameras leave
            }
        };
        if marker == END || marker == START[1] {
            self.at += 2;
            return Some(Segment { marker, payload: &[], coded: &[] });
        }
        let length = file.get(self.at + 2..self.at + 4)?;
        let end = self.at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let payload = file.get(self.at + 4..end)?;
        self.at = if marker == SCAN { coded_end(file, end) } else { end };
        Some(Segment { marker, payload, coded: &file[end..self.at] })
    }
}

/// Returns where the entropy-coded data that begin at `from` end, which is at the next marker other
/// than a restart marker.
fn coded_end(file: &[u8], from: usize) -> usize {
    let coded = file.get(from..).unwrap_or_default();
    let marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xD0..=0xD7 | 0xFF);
    from + coded.windows(2).position(marker).unwrap_or(coded.len())
}

fn segments(file: &[u8]) -> Segments<'_> {
    Segments { file, at: START.len() }
}

/// Width and height as the frame header has them, if there is one.
pub(crate) fn size(file: &[u8]) -> Option<(u32, u32)> {
    let frame = segments(file).find_map(|segment| Frame::of(&segment))?;
    Some((frame.width, frame.height))
}

/// Says whether a file reaches its end marker.
fn is_whole(file: &[u8]) -> bool {
    segments(file).any(|segment| segment.marker == END)
}

/// The frame header (T.81, B.2.2).
struct Frame {
    process: u8,
    precision: u8,
    width: u32,
    height: u32,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Sampling factors: columns and rows of blocks in a coded unit.
    factors: [u32; 2],
}

impl Frame {
    fn of(segment: &Segment<'_>) -> Option<Self> {
        let is_frame = matches!(segment.marker, 0xC0..=0xCF | 0xF7)
            && !matches!(segment.marker, 0xC4 | 0xC8 | 0xCC); // tables, and a reserved marker
        let (head, list) = segment.payload.split_at_checked(6).filter(|_| is_frame)?;
        let long = |at: usize| u32::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let component = |one: &[u8]| Component {
            id: one[0],
            factors: [u32::from(one[1] >> 4), u32::from(one[1] & 15)],
        };
        Some(Self {
            process: segment.marker,
            precision: head[0],
            height: long(1),
            width: long(3),
            components: list.chunks_exact(3).map(component).collect(),
        })
    }

    /// Names what of this frame is not read.
    fn unread(&self) -> Option<String> {
        let count = self.components.len();
        Some(match self.process {
            0xC3 | 0xCB => "lossless coding".into(),
            0xC5..=0xC7 | 0xCD..=0xCF => "hierarchical coding".into(),
            0xC9 | 0xCA => "arithmetic coding".into(),
            0xF7 => "JPEG-LS coding".into(),
            _ if self.precision != 8 => format!("{} bits a sample, not 8", self.precision),
            _ if self.height == 0 => "a height behind its first scan (DNL)".into(),
            _ if ![1, 3, 4].contains(&count) => format!("{count} components, not 1, 3 or 4"),
            _ if !self.divides() => format!("the sampling factors {}", self.factors()),
            _ if self.has_namesakes() => "components of one name".into(),
            _ => return None,
        })
    }

    fn has_namesakes(&self) -> bool {
        let ids = || self.components.iter().map(|one| one.id);
        ids().enumerate().any(|(at, id)| ids().skip(at + 1).any(|other| other == id))
    }

    fn most(&self, axis: usize) -> u32 {
        self.components.iter().map(|one| one.factors[axis]).max().unwrap_or(1)
    }

    /// Says whether every component has a whole number of pixels a sample.
    fn divides(&self) -> bool {
        let fits = |axis: usize| {
            let most = self.most(axis);
            let allowed = |one: &Component| {
                (1..=4).contains(&one.factors[axis]) && most.is_multiple_of(one.factors[axis])
            };
            self.components.iter().all(allowed)
        };
        self.components.len() == 1 || (fits(0) && fits(1))
    }

    /// Names a scan of one component that the decoder would misread: it takes the number of blocks
    /// a row (or a column) from the whole image, which is wrong for a factor between one and the
    /// largest.
    fn unread_scan(&self, scan: &Segment<'_>) -> Option<String> {
        let &[1, id, ..] = scan.payload else { return None };
        let one = self.components.iter().find(|one| one.id == id)?;
        let is_misread = |axis: usize, pixels: u32| {
            let (factor, most) = (one.factors[axis], self.most(axis));
            let taken = (factor * pixels.div_ceil(8 * most)).min(pixels.div_ceil(8));
            taken != (pixels * factor).div_ceil(most).div_ceil(8)
        };
        let wrong =
            self.components.len() > 1 && (is_misread(0, self.width) || is_misread(1, self.height));
        wrong.then(|| format!("the sampling factors {} in a scan of its own", self.factors()))
    }

    fn is_progressive(&self) -> bool {
        self.process == PROGRESSIVE
    }

    /// Marks the coefficients of a scan that no later scan refines, one bit each, by component. A
    /// scan of a frame that is not progressive has all of them, whatever it says.
    fn mark_sent(&self, scan: &Segment<'_>, sent: &mut [u64]) {
        let Some((&count, rest)) = scan.payload.split_first() else { return };
        let ids = rest.iter().step_by(2).take(usize::from(count));
        let band = rest.get(2 * usize::from(count)..).and_then(<[u8]>::first_chunk);
        let [from, to, bits] = match band {
            Some(band) if self.is_progressive() => *band,
            Some(_) => WHOLE_BAND,
            None => return,
        };
        if bits & 15 != 0 || from > to || to > 63 {
            return;
        }
        let band = (u64::MAX >> (63 - to)) & (u64::MAX << from);
        for id in ids {
            let at = self.components.iter().position(|one| one.id == *id);
            if let Some(sent) = at.and_then(|at| sent.get_mut(at)) {
                *sent |= band;
            }
        }
    }

    fn factors(&self) -> String {
        let factors = self.components.iter().map(|one| one.factors);
        factors.map(|[cols, rows]| format!("{cols}x{rows}")).collect::<Vec<_>>().join(", ")
    }
}

/// What the application segments before the first scan say.
#[derive(Default)]
struct Application<'a> {
    jfif: bool,
    adobe: Option<u8>,
    /// What stands in all segments of EXIF, one behind the other.
    exif: Vec<u8>,
    /// The last XMP.
    xmp: Option<&'a [u8]>,
}

impl<'a> Application<'a> {
    fn add(&mut self, segment: &Segment<'a>) {
        let behind = |name: &[u8]| segment.payload.strip_prefix(name);
        match segment.marker {
            0xE0 => self.jfif |= behind(b"JFIF\0").is_some(),
            0xE1 => {
                self.exif.extend(behind(b"Exif\0\0").unwrap_or_default());
                self.xmp = behind(b"http://ns.adobe.com/xap/1.0/\0").or(self.xmp);
            }
            0xEE => {
                let transform = behind(b"Adobe").and_then(|rest| rest.get(6).copied());
                self.adobe = transform.or(self.adobe);
            }
            _ => {}
        }
    }

    /// What the components are, by the rules of libjpeg (`default_decompress_parms`).
    fn transform(&self, components: &[Component]) -> ColorTransform {
        let ids: Vec<u8> = components.iter().map(|one| one.id).collect();
        match (components.len(), self.adobe) {
            (1, _) => ColorTransform::Grayscale,
            (3, Some(0)) if !self.jfif => ColorTransform::RGB,
            (3, None) if !self.jfif && ids == *b"RGB" => ColorTransform::RGB,
            (3, _) => ColorTransform::YCbCr,
            (_, None | Some(0)) => ColorTransform::CMYK,
            _ => ColorTransform::YCCK,
        }
    }
}

/// A JPEG file whose headers were read, and found to be of a kind that is decoded right.
pub(crate) struct Jpeg<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) exif: Vec<u8>,
    pub(crate) xmp: Option<&'a [u8]>,
    transform: ColorTransform,
    is_gray: bool,
    /// The file without its application segments and comments.
    coded: Vec<u8>,
}

impl<'a> Jpeg<'a> {
    pub(crate) fn of(file: &'a [u8]) -> Result<Self, PatchError> {
        let unread = |what| PatchError::Unread { format: "jpeg", what };
        if let Some(what) = segments(file).find_map(|one| Frame::of(&one)?.unread()) {
            return Err(unread(what));
        }
        if !is_whole(file) {
            return Err(PatchError::Truncated { format: "jpeg", found: file.len() });
        }
        let mut coded = [&START[..], STANDARD_TABLES].concat();
        let (mut application, mut found, mut scans) = (Application::default(), None, 0);
        let mut sent = [0; 4];
        for segment in segments(file) {
            found = Frame::of(&segment).or(found);
            if let Some(frame) = found.as_ref().filter(|_| segment.marker == SCAN) {
                if let Some(what) = frame.unread_scan(&segment) {
                    return Err(unread(what));
                }
                frame.mark_sent(&segment, &mut sent);
            }
            match segment.marker {
                0xE0..=0xEF if scans == 0 => application.add(&segment),
                0xE0..=0xEF | COMMENT | LINES => {}
                _ => push(&mut coded, &segment, found.as_ref()),
            }
            scans += usize::from(segment.marker == SCAN);
            if segment.marker == END {
                break;
            }
        }
        let Some(Frame { width, height, components, .. }) = found else {
            return Err(refused("it has no frame header"));
        };
        if sent.iter().take(components.len()).any(|sent| *sent != u64::MAX) {
            return Err(unread("scans that leave out some of its coefficients".into()));
        }
        let transform = application.transform(&components);
        let Application { exif, xmp, .. } = application;
        let is_gray = components.len() == 1;
        Ok(Self { width, height, exif, xmp, transform, is_gray, coded })
    }

    /// Returns how many bytes the decoded samples take.
    pub(crate) fn total_bytes(&self) -> u64 {
        let samples = match self.transform {
            ColorTransform::Grayscale => 1,
            ColorTransform::CMYK | ColorTransform::YCCK => 4,
            _ => 3,
        };
        samples * u64::from(self.width) * u64::from(self.height)
    }

    pub(crate) fn decode(&self) -> Result<DynamicImage, PatchError> {
        let mut decoder = Decoder::new(self.coded.as_slice());
        if !self.is_gray {
            decoder.set_color_transform(self.transform);
        }
        let samples = decoder.decode().map_err(refused)?;
        let Some(info) = decoder.info() else { return Err(refused("it has no frame header")) };
        let (width, height) = (self.width, self.height);
        let image = match info.pixel_format {
            PixelFormat::L8 => GrayImage::from_raw(width, height, samples).map(Into::into),
            PixelFormat::RGB24 => RgbImage::from_raw(width, height, samples).map(Into::into),
            PixelFormat::CMYK32 => {
                RgbImage::from_raw(width, height, rgb_of_cmyk(&samples)).map(Into::into)
            }
            PixelFormat::L16 => None,
        };
        image.ok_or_else(|| refused("its samples are not those of its frame header"))
    }
}

/// Adds a segment as the decoder wants it. Baseline frames are called sequential, which lifts the
/// bounds on tables that libjpeg does not know either. The scan of a frame that is not progressive
/// gets the band that it must have: some cameras write another, which libjpeg does not heed.
fn push(coded: &mut Vec<u8>, segment: &Segment<'_>, frame: Option<&Frame>) {
    let marker = if segment.marker == 0xC0 { SEQUENTIAL } else { segment.marker };
    coded.extend([0xFF, marker]);
    if marker != END && marker != START[1] {
        coded.extend((segment.payload.len() as u16 + 2).to_be_bytes());
    }
    match segment.payload.split_last_chunk::<3>() {
        Some((head, _)) if marker == SCAN && frame.is_some_and(|one| !one.is_progressive()) => {
            coded.extend(head);
            coded.extend(WHOLE_BAND);
        }
        _ => coded.extend(segment.payload),
    }
    coded.extend(segment.coded);
}

/// Ink to light: the inks of a pixel darken what its black leaves.
fn rgb_of_cmyk(samples: &[u8]) -> Vec<u8> {
    let (pixels, _) = samples.as_chunks::<4>();
    let mut rgb = Vec::with_capacity(3 * pixels.len());
    for &[cyan, magenta, yellow, black] in pixels {
        let light = 255 - u32::from(black);
        let left = |ink: u8| ((255 - u32::from(ink)) * light + 127) / 255;
        rgb.extend([cyan, magenta, yellow].map(|ink| left(ink) as u8));
    }
    rgb
}

fn refused(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PatchError {
    let source = DecodingError::new(ImageFormatHint::Exact(ImageFormat::Jpeg), why);
    PatchError::Decode { format: "jpeg", source: ImageError::Decoding(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::gradient;
    use crate::tiff::ORIENTATION;
    use crate::tiff::tests::{SHORT, structure};
    use crate::{DecodeOptions, Format, Image};

    #[test]
    fn a_file_ends_at_its_own_marker_and_not_at_that_of_a_thumbnail() {
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
        let scan = [0xFF, 0xDA, 0, 2, 0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56];
        let cut = [&START[..], &thumbnail, &scan].concat();
        assert!(!is_whole(&cut));
        assert!(is_whole(&[&cut[..], &[0xFF, 0xFF, 0xD9, 0, 0]].concat()));
    }

    #[test]
    fn the_band_of_a_scan_that_is_not_progressive_is_not_heeded() {
        let image = gradient(24, 16);
        let file = image.encode(Format::Jpeg).unwrap();
        let decode = |file: &[u8]| Image::decode(file, &DecodeOptions::default());
        let scan = file.windows(2).position(|pair| pair == [0xFF, SCAN]).unwrap();
        let band = scan + 2 + usize::from(file[scan + 3]) - 3;
        assert_eq!(file[band..band + 3], WHOLE_BAND);
        for wrong in [[0, 0, 0], [1, 63, 0], [0, 64, 0], [0, 63, 0x11], [0xFF; 3]] {
            let mut other = file.clone();
            other[band..band + 3].copy_from_slice(&wrong);
            assert_eq!(decode(&other).unwrap(), decode(&file).unwrap(), "{wrong:?}");
        }
        let (head, end) = file.split_at(file.len() - 2);
        let lines = [head, &[0xFF, LINES, 0, 4, 0, 16], end].concat();
        assert_eq!(decode(&lines).unwrap(), decode(&file).unwrap());
        let mut namesakes = file.clone();
        let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        namesakes[frame + 13] = namesakes[frame + 10];
        let why = decode(&namesakes).unwrap_err().to_string();
        assert_eq!(why, "the jpeg file uses components of one name, which is not read");
    }

    #[test]
    fn exif_in_two_segments_is_one_and_the_last_xmp_counts() {
        let segment = |payload: &[u8]| {
            [&[0xFF, 0xE1][..], &(payload.len() as u16 + 2).to_be_bytes(), payload].concat()
        };
        let plain = gradient(16, 8).encode(Format::Jpeg).unwrap();
        let turned = |parts: &[&[u8]]| {
            let noted: Vec<u8> = parts.iter().flat_map(|part| segment(part)).collect();
            let file = [&plain[..2], &noted, &plain[2..]].concat();
            let image = Image::decode(&file, &DecodeOptions::default()).unwrap();
            (image.width(), image.height()) == (8, 16)
        };
        let exif = structure(true, ORIENTATION, SHORT, 6);
        let (head, tail) = exif.split_at(11);
        let [head, tail] = [head, tail].map(|part| [b"Exif\0\0", part].concat());
        assert!(turned(&[&head, &tail]) && turned(&[b"Exif\0\0", &head, &tail]));
        let xmp = |turn: u8| {
            let text = format!("http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation=\"{turn}\"/>");
            text.into_bytes()
        };
        assert!(turned(&[&xmp(1), &xmp(6)]) && !turned(&[&xmp(6), &xmp(1)]));
    }

    #[test]
    fn a_factor_between_one_and_the_largest_is_refused_in_a_scan_of_its_own_where_it_is_misread() {
        let frame = |width, height| Frame {
            process: SEQUENTIAL,
            precision: 8,
            width,
            height,
            components: [(1, [4, 1]), (2, [2, 1]), (3, [2, 1])]
                .map(|(id, factors)| Component { id, factors })
                .into(),
        };
        let scan = |payload| Segment { marker: SCAN, payload, coded: &[] };
        assert_eq!(frame(64, 9).unread_scan(&scan(&[1, 2, 0])), None);
        assert_eq!(frame(37, 9).unread_scan(&scan(&[1, 1, 0])), None);
        assert_eq!(frame(37, 9).unread_scan(&scan(&[2, 2, 0, 3, 0])), None);
        let what = frame(37, 9).unread_scan(&scan(&[1, 2, 0])).unwrap();
        assert_eq!(what, "the sampling factors 4x1, 2x1, 2x1 in a scan of its own");
    }
}
