//! TensorBoard event files, made from `metrics.jsonl`: records in TFRecord framing, each of which
//! is an `Event` message of protocol buffers.
//!
//! ```text
//! record = length u64, crc(length) u32, bytes, crc(bytes) u32
//!          (little endian; crc = rotated CRC-32C + 0xa282ead8)
//! Event   { 1: wall_time double, 2: step int64, 3: file_version string, 5: Summary }
//! Summary { 1: repeated Value { 1: tag string, 2: simple_value float, 4: Image } }
//! Image   { 1: height, 2: width, 3: colorspace, 4: bytes }
//! ```
//!
//! The formats are those of TensorFlow's `record_writer.h`, `event.proto` and `summary.proto`.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::history::number;

/// The tags of TensorBoard, and the paths in a line of `metrics.jsonl`.
const TAGS: [(&str, &str); 20] = [
    ("loss/all", "loss"),
    ("loss/text", "text"),
    ("loss/image", "image"),
    ("optimizer/gradient", "gradient"),
    ("optimizer/lr", "lr"),
    ("optimizer/skipped", "skipped"),
    ("speed/tokens_per_second", "tokens_per_second"),
    ("speed/images_per_second", "images_per_second"),
    ("speed/data_wait", "data_wait"),
    ("speed/gradient_sum", "gradient_sum"),
    ("speed/gradient_bytes", "gradient_bytes"),
    ("levels/0-25", "levels.0"),
    ("levels/25-50", "levels.1"),
    ("levels/50-75", "levels.2"),
    ("levels/75-100", "levels.3"),
    ("held_out/all", "validation.loss"),
    ("held_out/text", "validation.text"),
    ("held_out/bits_per_byte", "validation.bits_per_byte"),
    ("held_out/image", "validation.image"),
    ("run/rolled_back", "given_up_at"),
];

/// An open event file that follows a `metrics.jsonl`.
#[derive(Debug)]
pub struct Board {
    file: fs_err::File,
    log: PathBuf,
    /// The bytes of the log that were read.
    read: u64,
}

impl Board {
    /// Creates an event file in `folder`, beside those of earlier parts of the run. It will hold
    /// the lines that are added to `log` from here on.
    pub fn create(folder: &Path, log: PathBuf) -> io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        let name = format!("events.out.tfevents.{:.6}.mm", now());
        let mut file = fs_err::File::create_new(folder.join(name))?;
        let mut event = event(now(), 0);
        text(&mut event, 3, b"brain.Event:2");
        file.write_all(&record(&event))?;
        let read = fs_err::metadata(&log).map_or(0, |log| log.len());
        Ok(Self { file, log, read })
    }

    /// Writes the numbers of the lines that were added to the log.
    pub fn follow(&mut self) -> io::Result<()> {
        let length = fs_err::metadata(&self.log).map_or(0, |log| log.len());
        if length <= self.read {
            return Ok(());
        }
        let mut log = fs_err::File::open(&self.log)?;
        log.seek(SeekFrom::Start(self.read))?;
        let mut added = String::new();
        log.read_to_string(&mut added)?;
        self.read += added.len() as u64;
        for line in added.lines() {
            self.line(line)?;
        }
        Ok(())
    }

    /// Reads the log anew after a rollback, which has removed lines and added one at the end.
    pub fn roll_back(&mut self) -> io::Result<()> {
        let log = fs_err::read_to_string(&self.log)?;
        let last = log.trim_end().rfind('\n').map_or(0, |end| end + 1);
        self.read = last as u64;
        self.follow()
    }

    /// Writes the image in a PNG file that was drawn after `step`.
    pub fn samples(&mut self, step: u64, path: &Path) -> io::Result<()> {
        self.image(step, "samples", &fs_err::read(path)?)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return Ok(()) };
        let Some(step) = line.get("step").and_then(Value::as_u64) else { return Ok(()) };
        let mut values = vec![];
        for (tag, path) in TAGS {
            let flag = line.get(path).and_then(Value::as_bool).map(|set| f64::from(u8::from(set)));
            values.extend(number(&line, path).or(flag).map(|number| (tag, number)));
        }
        if values.is_empty() { Ok(()) } else { self.scalars(step, &values) }
    }

    fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> io::Result<()> {
        let mut summary = vec![];
        for (tag, number) in values {
            let mut value = vec![];
            text(&mut value, 1, tag.as_bytes());
            value.push(2 << 3 | 5); // a 32-bit field
            value.extend((*number as f32).to_le_bytes());
            text(&mut summary, 1, &value);
        }
        self.summary(step, &summary)
    }

    fn image(&mut self, step: u64, tag: &str, png: &[u8]) -> io::Result<()> {
        // The first chunk of a PNG begins with the width and the height.
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

/// Returns the seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Starts an event with time and step.
fn event(seconds: f64, step: u64) -> Vec<u8> {
    let mut bytes = vec![1 << 3 | 1]; // a 64-bit field
    bytes.extend(seconds.to_le_bytes());
    if step > 0 {
        bytes.push(2 << 3);
        varint(&mut bytes, step);
    }
    bytes
}

/// Adds a field of bytes: a string or a message.
fn text(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    to.push(field << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

/// Adds a number with seven bits per byte, the lowest first.
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

/// Returns the CRC-32C (Castagnoli), computed bit by bit, since event files are small.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use mm_eval::HeldOutLosses;
    use mm_train::metrics::{MetricLine, ValidationLine};
    use mm_train::{LossValues, Speed, StepReport, Validation};

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

    /// Returns the events of the only file of a folder, without their lengths and checksums.
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
    fn lines_that_are_added_to_the_log_are_events_and_a_rollback_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("metrics.jsonl");
        fs_err::write(&log, "{\"step\":6,\"loss\":9.0}\n").unwrap();
        let board = folder.path().join("tensorboard");
        let mut open = Board::create(&board, log.clone()).unwrap();
        open.follow().unwrap();
        let add = |line: &str| {
            let mut file = fs_err::OpenOptions::new().append(true).open(&log).unwrap();
            writeln!(file, "{line}").unwrap();
        };
        add("{\"step\":7,\"loss\":2.0,\"text\":null,\"skipped\":true}");
        open.follow().unwrap();
        open.follow().unwrap();
        let done = "{\"step\":4,\"event\":\"rolled back\",\"given_up_at\":16}";
        fs_err::write(&log, format!("{{\"step\":3,\"loss\":1.0}}\n{done}\n")).unwrap();
        open.roll_back().unwrap();
        let events = events(&board);
        assert_eq!(events.len(), 3, "one of the file, one of step 7, one of the rollback");
        assert_eq!(events[1][9..11], *b"\x10\x07");
        assert!(events[1].windows(13).any(|part| part == b"loss/all\x15\0\0\0\x40"));
        assert!(events[1].windows(22).any(|part| part == b"optimizer/skipped\x15\0\0\x80\x3f"));
        let back = b"\x10\x04\x2a\x18\x0a\x16\x0a\x0frun/rolled_back\x15\0\0\x80\x41";
        assert_eq!(events[2][9..], *back);
    }

    #[test]
    fn every_number_of_a_step_and_of_a_measurement_has_a_tag() {
        let report = StepReport {
            step: 7,
            loss: 2.0,
            losses: LossValues::from([("text", Some(1.0)), ("image", Some(1.0))]),
            gradient: 1.0,
            lr: 0.5,
            skipped: false,
            loss_scale: None,
            tokens: 1,
            images: 1,
            levels: Some([Some(1.0); 4]),
        };
        let speed = Speed {
            tokens_per_second: 1.0,
            images_per_second: 1.0,
            data_wait: 0.0,
            gradient_sum: Some(0.5),
            gradient_bytes: Some(4),
        };
        let line = MetricLine { report: &report, seconds: 1.0, speed };
        let losses = HeldOutLosses {
            text: Some(1.0),
            bits_per_byte: Some(1.0),
            image: Some(1.0),
            documents: 8,
        };
        let found =
            Validation { step: 7, loss: 1.0, losses, own: std::collections::BTreeMap::new() };
        let measured = ValidationLine { step: 7, validation: &found };
        let lines = [serde_json::to_value(&line).unwrap(), serde_json::to_value(measured).unwrap()];
        for (tag, path) in TAGS.iter().take(TAGS.len() - 1) {
            let pointer = format!("/{}", path.replace('.', "/"));
            assert!(lines.iter().any(|line| line.pointer(&pointer).is_some()), "{tag}: {path}");
        }
    }

    #[test]
    fn scalars_and_images_are_records_with_their_lengths() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = Board::create(folder.path(), "metrics.jsonl".into()).unwrap();
        board.scalars(7, &[("loss", 2.0)]).unwrap();
        board.image(7, "grid", &mm_patch::Image::filled(3, 2, [0; 3]).encode_png()).unwrap();
        let records = events(folder.path());
        assert_eq!(records.len(), 3);
        let scalar = b"\x10\x07\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\0\x40";
        assert_eq!(records[1][9..], *scalar);
        assert!(records[2].windows(6).any(|part| part == [0x08, 2, 0x10, 3, 0x18, 3]), "sizes");
    }
}
