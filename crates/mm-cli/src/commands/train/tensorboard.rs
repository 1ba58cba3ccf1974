//! TensorBoard event files, written by hand: records in TFRecord framing, each an `Event` message of protocol buffers.
//!
//! ```text
//! record = length u64, crc(length) u32, bytes, crc(bytes) u32      little endian; crc = rotated CRC-32C + 0xa282ead8
//! Event  { 1: wall_time double, 2: step int64, 3: file_version string, 5: Summary }
//! Summary { 1: repeated Value { 1: tag string, 2: simple_value float, 4: Image { 1: height, 2: width, 3: colorspace, 4: bytes } } }
//! ```
//!
//! The formats are those of TensorFlow's `record_writer.h`, `event.proto` and `summary.proto`.

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use mm_train::Happening;

/// An open event file.
#[derive(Debug)]
pub struct Board {
    file: fs_err::File,
}

impl Board {
    /// A new event file in `folder`, beside those of earlier parts of the run.
    pub fn create(folder: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        let name = format!("events.out.tfevents.{:.6}.mm", now());
        let mut file = fs_err::File::create_new(folder.join(name))?;
        let mut event = event(now(), 0);
        text(&mut event, 3, b"brain.Event:2");
        file.write_all(&record(&event))?;
        Ok(Self { file })
    }

    /// Writes what TensorBoard can show of a happening: of steps those that are lines of `metrics.jsonl`.
    pub fn note(&mut self, step: u64, happening: &Happening<'_>) -> io::Result<()> {
        match happening {
            Happening::Step { report, speed, logged: true } => {
                let mut values = vec![
                    ("loss/all", Some(report.loss)),
                    ("loss/text", report.text),
                    ("loss/image", report.image),
                    ("optimizer/gradient", Some(report.gradient)),
                    ("optimizer/rate", Some(report.rate)),
                    ("optimizer/skipped", Some(f64::from(u8::from(report.skipped)))),
                    ("speed/tokens_per_second", Some(speed.tokens_per_second)),
                    ("speed/images_per_second", Some(speed.images_per_second)),
                    ("speed/data_wait", Some(speed.data_wait)),
                    ("speed/gradient_sum", speed.gradient_sum),
                    ("speed/gradient_bytes", speed.gradient_bytes.map(|bytes| bytes as f64)),
                ];
                const LEVELS: [&str; 4] =
                    ["levels/0-25", "levels/25-50", "levels/50-75", "levels/75-100"];
                values.extend(LEVELS.into_iter().zip(report.levels.into_iter().flatten()));
                self.scalars(step, &values)
            }
            Happening::Measured(found, _) => self.scalars(
                step,
                &[
                    ("held_out/all", Some(found.loss)),
                    ("held_out/text", found.terms.text),
                    ("held_out/bits_per_byte", found.terms.bits_per_byte),
                    ("held_out/image", found.terms.image),
                ],
            ),
            Happening::Samples(path) => self.picture(step, "samples", &fs_err::read(path)?),
            Happening::RolledBack(done) => {
                self.scalars(done.step, &[("run/rolled_back", Some(done.given_up_at as f64))])
            }
            Happening::Step { .. } | Happening::Saved(_) => Ok(()),
        }
    }

    fn scalars(&mut self, step: u64, values: &[(&str, Option<f64>)]) -> io::Result<()> {
        let mut summary = vec![];
        for (tag, number) in values.iter().filter_map(|(tag, value)| Some((tag, (*value)?))) {
            let mut value = vec![];
            text(&mut value, 1, tag.as_bytes());
            value.push(2 << 3 | 5); // a 32-bit field
            value.extend((number as f32).to_le_bytes());
            text(&mut summary, 1, &value);
        }
        self.summary(step, &summary)
    }

    fn picture(&mut self, step: u64, tag: &str, png: &[u8]) -> io::Result<()> {
        // Width and height are the first numbers of a PNG's first chunk.
        let side = |at: usize| {
            png.get(at..at + 4).map_or(0, |side| {
                u64::from(u32::from_be_bytes(side.try_into().expect("four bytes")))
            })
        };
        let mut image = vec![];
        for (field, number) in [(1, side(20)), (2, side(16)), (3, 3)] {
            image.push(field << 3);
            varint(&mut image, number);
        }
        text(&mut image, 4, png);
        let (mut value, mut summary) = (vec![], vec![]);
        text(&mut value, 1, tag.as_bytes());
        text(&mut value, 4, &image);
        text(&mut summary, 1, &value);
        self.summary(step, &summary)
    }

    fn summary(&mut self, step: u64, summary: &[u8]) -> io::Result<()> {
        let mut event = event(now(), step);
        text(&mut event, 5, summary);
        self.file.write_all(&record(&event))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The start of an event: time and step.
fn event(seconds: f64, step: u64) -> Vec<u8> {
    let mut bytes = vec![1 << 3 | 1]; // a 64-bit field
    bytes.extend(seconds.to_le_bytes());
    if step > 0 {
        bytes.push(2 << 3);
        varint(&mut bytes, step);
    }
    bytes
}

/// A field of bytes: a string or a message.
fn text(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    to.push(field << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

/// Seven bits a byte, the lowest first.
fn varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(bytes);
    record.extend(masked(crc32c(bytes)).to_le_bytes());
    record
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: event files are small.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use mm_train::{RolledBack, Speed, StepReport};

    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_file_opens_with_the_record_that_every_event_file_opens_with() {
        let mut first = event(1.5, 0);
        text(&mut first, 3, b"brain.Event:2");
        let record = record(&first);
        assert_eq!(record[..12], *b"\x18\0\0\0\0\0\0\0\xa3\x7fK\"");
        assert_eq!(record[12..36], *b"\x09\0\0\0\0\0\0\xf8\x3f\x1a\x0dbrain.Event:2");
        assert_eq!(record.len(), 12 + 24 + 4);
    }

    #[test]
    fn numbers_are_written_seven_bits_a_byte() {
        let written = |number| {
            let mut bytes = vec![];
            varint(&mut bytes, number);
            bytes
        };
        assert_eq!(written(1), [1]);
        assert_eq!(written(300), [0xac, 2]); // the example of the encoding's documentation
    }

    /// The events of a folder's only file, without their lengths and checksums.
    fn events(folder: &Path) -> Vec<Vec<u8>> {
        let path = fs_err::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        let (bytes, mut events, mut at) = (fs_err::read(path).unwrap(), vec![], 0);
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            events.push(bytes[at + 12..at + 12 + length].to_vec());
            at += length + 16;
        }
        events
    }

    #[test]
    fn a_step_is_an_event_where_it_is_logged_and_a_roll_back_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = Board::create(folder.path()).unwrap();
        let report = StepReport {
            step: 7,
            loss: 2.0,
            text: None,
            image: None,
            gradient: 1.0,
            rate: 0.5,
            skipped: false,
            tokens: 1,
            images: 1,
            levels: None,
        };
        let speed = Speed {
            tokens_per_second: 1.0,
            images_per_second: 1.0,
            data_wait: 0.0,
            gradient_sum: None,
            gradient_bytes: None,
        };
        for logged in [false, true] {
            board.note(7, &Happening::Step { report: &report, speed, logged }).unwrap();
        }
        let done = RolledBack { step: 4, event: String::new(), given_up_at: 16, rate_factor: 0.5 };
        board.note(16, &Happening::RolledBack(&done)).unwrap();
        let events = events(folder.path());
        assert_eq!(events.len(), 3);
        assert_eq!(events[1][9..11], *b"\x10\x07");
        assert!(events[1].windows(13).any(|part| part == b"loss/all\x15\0\0\0\x40"));
        let back = b"\x10\x04\x2a\x18\x0a\x16\x0a\x0frun/rolled_back\x15\0\0\x80\x41";
        assert_eq!(events[2][9..], *back);
    }

    #[test]
    fn scalars_and_pictures_are_records_with_their_lengths() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = Board::create(folder.path()).unwrap();
        board.scalars(7, &[("loss", Some(2.0)), ("none", None)]).unwrap();
        board.picture(7, "grid", &mm_patch::Image::filled(3, 2, [0; 3]).encode_png()).unwrap();
        let records = events(folder.path());
        assert_eq!(records.len(), 3);
        let scalar = b"\x10\x07\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\0\x40";
        assert_eq!(records[1][9..], *scalar);
        assert!(records[2].windows(6).any(|part| part == [0x08, 2, 0x10, 3, 0x18, 3]), "sizes");
    }
}
