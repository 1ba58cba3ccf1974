//! Whole documents from files: interleaved JSONL, and plain text.
//!
//! When the source is opened its files are read once from end to end, line by line, and only places
//! are kept: a line of JSONL that is a document, or a stretch of a `.txt` file. A document is read
//! again when it is wanted, with the images it names. Broken lines and stretches are named when the
//! source is opened, broken images when they are met.

mod line;

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use mm_model::{Document, Segment};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::line::{ImageData, Line, Piece, cuts, has_target, parse};
use crate::bad_records::{BadRecords, Skipped, check_max_bad, one_percent};
use crate::error::DataError;
use crate::files::{self, Span};
use crate::fingerprint::Fingerprint;
use crate::image::{Frame, ImageFit, ImageSettings, chain, most_pixels, white};
use crate::record::Record;
use crate::source::DataSource;
use crate::split::{Split, Splits, hash_bytes};

/// The most texts that a tokenizer is trained on, spread over the training split.
const MOST_TEXTS: usize = 20_000;

/// The longest line that is read: a document with a few images in data URIs.
const MOST_LINE_BYTES: u64 = 64 << 20;

/// Settings of [`DocumentSet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentsConfig {
    /// `.jsonl` and `.txt` files: names with `*`, `?` and `{000..099}`, or folders.
    pub files: Vec<String>,
    /// The most bytes of text of a document. Texts alone are cut into documents of at most this
    /// length, behind white space; a document with images and more text counts as broken.
    #[serde(default = "a_page")]
    pub longest: usize,
    /// How images of other shapes are made to fit.
    #[serde(default)]
    pub fit: ImageFit,
    /// The color behind transparent pixels and around padded images.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// The most pixels that an image file may have.
    #[serde(default = "most_pixels")]
    pub max_pixels: u64,
    /// The share of the documents, and of the files, that may be broken.
    #[serde(default = "one_percent")]
    pub max_bad: f64,
}

fn a_page() -> usize {
    1024
}

impl DocumentsConfig {
    /// Takes files with the defaults.
    pub fn of(files: Vec<String>) -> Self {
        let (longest, max_bad) = (a_page(), one_percent());
        Self {
            files,
            longest,
            fit: ImageFit::default(),
            background: white(),
            max_pixels: most_pixels(),
            max_bad,
        }
    }

    /// Checks what the types do not; touches no file.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.files.is_empty() {
            let (found, wanted) = ("[]".into(), "at least one .jsonl or .txt file");
            return Err(DataError::Setting { field: "files", found, wanted });
        }
        if self.longest < 4 {
            let found = self.longest.to_string();
            return Err(DataError::Setting { field: "longest", found, wanted: "at least 4 bytes" });
        }
        check_max_bad(self.max_bad)
    }
}

/// The documents of some files.
#[derive(Debug)]
pub struct DocumentSet {
    files: Vec<PathBuf>,
    longest: usize,
    frame: Frame,
    entries: Splits<Entry>,
    bad: BadRecords,
}

/// Where a document is.
#[derive(Debug, Clone, Copy)]
struct Entry {
    file: u32,
    form: Form,
    span: Span,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    /// A stretch of plain text.
    Plain,
    /// A line of JSONL with segments.
    Line,
    /// This piece of the text of a line of JSONL.
    Piece(u32),
}

impl DocumentSet {
    /// Reads the files once and notes where their documents are.
    ///
    /// Held out are the lines, and the stretches of plain text, a tenth by the hash of their bytes.
    pub fn open(config: &DocumentsConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, config.max_pixels, image)?;
        let files = files::expand(&config.files, &["jsonl", "txt"])?;
        let bad = BadRecords::of_files("documents", config.max_bad, files.len());
        let mut entries = Splits::default();
        for (path, file) in files.iter().zip(0..) {
            let plain = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("txt"));
            let mut broken = |why: String| bad.broken(path, why);
            let opened = files::length(path).and_then(|_| files::open_at(path, 0));
            let found = opened.and_then(|reader| {
                let list = if plain { plain_entries } else { line_entries };
                list(reader, config.longest, &mut broken)
            });
            match found {
                Ok(found) => {
                    for Found { split, form, span } in found {
                        entries.push(split, Entry { file, form, span });
                    }
                }
                Err(why) => bad.broken_file(path, chain(&why), 1.0),
            }
        }
        let bad = bad.opened_with_some(entries.iter().count())?;
        Ok(Self { files, longest: config.longest, frame, entries, bad })
    }

    fn document(&self, entry: &Entry) -> Result<Document, String> {
        let folder = self.files[entry.file as usize].parent().unwrap_or(Path::new(""));
        let mut segments = vec![];
        for (number, piece) in (1..).zip(self.pieces(entry)?) {
            segments.push(match piece {
                Piece::Text { text, target } => Segment::Text { text, target },
                Piece::Image { image, target } => {
                    let image = self.image(&image, folder);
                    let image = image.map_err(|why| format!("segment {number}: {why}"))?;
                    Segment::Image { image, target }
                }
            });
        }
        Ok(Document { segments })
    }

    fn image(&self, image: &ImageData, folder: &Path) -> Result<mm_patch::Image, String> {
        match image {
            ImageData::Bytes(bytes) => self.frame.image(bytes),
            ImageData::Path(path) => {
                let bytes = files::read_all(&folder.join(path), self.frame.most_bytes());
                self.frame.image(&bytes.map_err(|error| chain(&error))?)
            }
        }
    }

    fn pieces(&self, entry: &Entry) -> Result<Vec<Piece>, String> {
        let bytes = files::read(&self.files[entry.file as usize], entry.span);
        let bytes = bytes.map_err(|error| chain(&error))?;
        let target = |text: &str| vec![Piece::Text { text: text.into(), target: true }];
        match entry.form {
            Form::Plain => Ok(target(&String::from_utf8_lossy(&bytes))),
            Form::Line | Form::Piece(_) => match (parse(&bytes)?, entry.form) {
                (Line::Segments(pieces), _) => Ok(pieces),
                (Line::Text(text), Form::Piece(which)) => {
                    let ends = cuts(&text, self.longest);
                    let end = *ends.get(which as usize).ok_or("the file has changed")?;
                    let start = which.checked_sub(1).map_or(0, |before| ends[before as usize]);
                    Ok(target(&text[start..end]))
                }
                (Line::Text(text), _) => Ok(target(&text)),
            },
        }
    }
}

impl DataSource for DocumentSet {
    fn name(&self) -> &'static str {
        "documents"
    }

    fn len(&self, split: Split) -> Option<u64> {
        self.entries.len(split)
    }

    fn load(&self, split: Split, at: u64, _: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let entry = self.entries.at(split, at);
        let (path, place) = (&self.files[entry.file as usize], entry.span.at);
        let named = |why| Skipped::new(path, format!("at byte {place}: {why}"));
        self.document(entry).map(Record::Whole).map_err(named)
    }

    fn bad_records(&self) -> Vec<&BadRecords> {
        vec![&self.bad]
    }

    fn captions(&self) -> Vec<String> {
        let text = |entry| self.pieces(entry).ok().map(|pieces| text_of(&pieces));
        self.entries.spread(MOST_TEXTS).filter_map(text).collect()
    }

    /// Adds the files' names and the places of documents.
    fn describe(&self, sum: &mut Fingerprint) {
        for path in &self.files {
            sum.add_name(path);
        }
        for entry in self.entries.iter() {
            for number in [u64::from(entry.file), entry.span.at, entry.span.bytes] {
                sum.add_number(number);
            }
        }
    }

    fn check_image_only(&self) -> Result<(), DataError> {
        let image_only = |entry: &&Entry| match (entry.form, self.pieces(entry)) {
            (Form::Plain | Form::Piece(_), _) => false,
            (Form::Line, Err(_)) => true, // its own error is told when its turn comes
            (Form::Line, Ok(pieces)) => {
                let images = |piece: &&Piece| matches!(piece, Piece::Image { .. });
                let empty = |piece: &Piece| match piece {
                    Piece::Text { text, .. } => text.is_empty(),
                    Piece::Image { .. } => true,
                };
                pieces.iter().filter(images).count() == 1 && pieces.iter().all(empty)
            }
        };
        match self.entries.spread(MOST_TEXTS).find(|entry| !image_only(entry)) {
            None => Ok(()),
            Some(Entry { file, span, .. }) => {
                let path = self.files[*file as usize].clone();
                Err(DataError::NotImageOnly { path, at: span.at })
            }
        }
    }
}

fn text_of(pieces: &[Piece]) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text { text, .. } => text.clone(),
        Piece::Image { .. } => "\n".to_owned(),
    };
    pieces.iter().map(text).collect()
}

/// A document of a file: its split, form and place.
#[derive(Debug)]
struct Found {
    split: Split,
    form: Form,
    span: Span,
}

/// Returns the documents in lines of JSONL; `broken` hears of every line that is none.
fn line_entries(
    mut reader: impl BufRead,
    longest: usize,
    broken: &mut dyn FnMut(String),
) -> io::Result<Vec<Found>> {
    let (mut found, mut at) = (Vec::new(), 0);
    for number in 1_u64.. {
        let mut line = Vec::new();
        let bytes = reader.by_ref().take(MOST_LINE_BYTES).read_until(b'\n', &mut line)? as u64;
        let span = Span { at, bytes };
        at += bytes;
        if bytes == MOST_LINE_BYTES && !line.ends_with(b"\n") {
            at += reader.skip_until(b'\n')? as u64;
            broken(format!("line {number} is longer than {MOST_LINE_BYTES} bytes"));
            continue;
        } else if bytes == 0 {
            break;
        } else if line.trim_ascii().is_empty() {
            continue;
        }
        let split = Split::of_hash(hash_bytes(line.trim_ascii()));
        match parse(&line) {
            Ok(Line::Text(text)) if text.trim().is_empty() => {
                broken(format!("line {number}: its text is empty"));
            }
            Ok(Line::Text(text)) => {
                let pieces = 0..cuts(&text, longest).len() as u32;
                found.extend(pieces.map(|at| Found { split, form: Form::Piece(at), span }));
            }
            Ok(Line::Segments(pieces)) if !has_target(&pieces) => broken(format!(
                "line {number}: nothing in it is a target, wanted a segment without `\"loss\": false`"
            )),
            Ok(Line::Segments(pieces)) => match text_of(&pieces).len() {
                bytes if bytes > longest => broken(format!(
                    "line {number}: its text has {bytes} bytes, `longest` is {longest}"
                )),
                _ => found.push(Found { split, form: Form::Line, span }),
            },
            Err(why) => broken(format!("line {number}: {why}")),
        }
    }
    Ok(found)
}

/// Cuts a text into stretches of at most `longest` bytes, each of whole lines where a line is short
/// enough; `broken` hears of every stretch that is no text.
fn plain_entries(
    mut reader: impl BufRead,
    longest: usize,
    broken: &mut dyn FnMut(String),
) -> io::Result<Vec<Found>> {
    let (mut found, mut at, mut held) = (Vec::new(), 0_u64, Vec::new());
    loop {
        let wanted = (longest - held.len()) as u64;
        let more = reader.by_ref().take(wanted).read_to_end(&mut held)? as u64 == wanted;
        let end = if more { last_cut(&held) } else { held.len() };
        if end == 0 {
            return Ok(found);
        }
        let (stretch, span) = (&held[..end], Span { at, bytes: end as u64 });
        match std::str::from_utf8(stretch) {
            Err(why) => {
                broken(format!("it is not UTF-8 at byte {}", at + why.valid_up_to() as u64));
            }
            Ok(_) if stretch.trim_ascii().is_empty() => {}
            Ok(_) => {
                let split = Split::of_hash(hash_bytes(stretch));
                found.push(Found { split, form: Form::Plain, span });
            }
        }
        held.drain(..end);
        at += end as u64;
    }
}

/// Returns where a full stretch of at least 4 bytes ends: behind its last line break, or space, or
/// character that is whole.
fn last_cut(held: &[u8]) -> usize {
    let behind = |sign: u8| held.iter().rposition(|byte| *byte == sign).map(|at| at + 1);
    let last_chars = held[held.len().saturating_sub(4)..].utf8_chunks().last();
    let cut_in_two = last_chars.map_or(0, |chunk| chunk.invalid().len()); // at most 3
    behind(b'\n').or_else(|| behind(b' ')).unwrap_or(held.len() - cut_in_two)
}

#[cfg(test)]
mod tests;
