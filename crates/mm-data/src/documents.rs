//! Whole documents from files: interleaved JSONL, and plain text. A line of JSONL may also be an
//! image with captions, which is a record of that kind with each of them.
//!
//! When the source is opened its files are read once from end to end, line by line, and only places
//! are kept: a line of JSONL that is a document, or a stretch of a `.txt` file. A document is read
//! again when it is wanted, with the images it names. Broken lines and stretches are named when the
//! source is opened, broken images when they are met.

mod line;

use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use mm_model::{Document, Segment};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::line::{ImageData, Line, Piece, cuts, has_target, parse};
use crate::bad_records::{BadRecords, Skipped, check_max_bad, one_percent};
use crate::caption::{HAS_NUL, line_feeds};
use crate::error::DataError;
use crate::files::{self, Listed, Named, Span};
use crate::fingerprint::Fingerprint;
use crate::image::{Frame, ImageFit, ImageSettings, chain, most_pixels, white};
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::{DOCUMENT_EQUALS_HELD_OUT, Division, Split, SplitKey, Splits, hash_bytes};

/// The most texts that a tokenizer is trained on, spread over the training split.
const MOST_TEXTS: usize = 20_000;

/// The byte-order mark of UTF-8, which is no text.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// What is wrong with a line that was otherwise when the source was opened.
const CHANGED: &str = "the file has changed";

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
    /// A hash of what must not stand in both splits.
    content: u64,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    /// A stretch of plain text.
    Plain,
    /// A line of JSONL with segments.
    Line,
    /// This piece of the text of a line of JSONL.
    Piece(u32),
    /// The image of a line of JSONL with this one of its captions.
    Captioned(u32),
}

impl DocumentSet {
    /// Reads the files once and notes where their documents are.
    ///
    /// Where the name of a file says "held out", as `val.jsonl` does, its documents are held out
    /// and all others are trained on, but for those that equal a held-out one. Otherwise a tenth is
    /// held out: of lines with images by a hash of the bytes of their first image, of other lines,
    /// and of the stretches of plain text, by a hash of their bytes.
    pub fn open(config: &DocumentsConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, config.max_pixels, image)?;
        let Named { files, others } = files::expand(&config.files, &["jsonl", "txt"])?;
        let bad = BadRecords::of_files("documents", config.max_bad, files.len());
        bad.pass_over_all(others, |path| !files::is_image(path)); // lines name their images
        let mut found = Vec::new();
        for (Listed { path, held_out }, file) in files.iter().zip(0_u32..) {
            let plain = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("txt"));
            let mut broken = |why: String| bad.broken(path, why);
            let opened = files::length(path).and_then(|_| plain_file(path));
            let in_file = opened.and_then(|reader| {
                let list = if plain { plain_entries } else { line_entries };
                list(reader, config.longest, &mut broken)
            });
            match in_file {
                Ok(in_file) => {
                    let folder = path.parent().unwrap_or(Path::new(""));
                    found.par_extend(in_file.into_par_iter().map(
                        |Found { form, span, content }| {
                            let content = content.hash(folder);
                            let key = SplitKey { content, held_out: *held_out };
                            (Entry { file, form, span, content }, key)
                        },
                    ));
                }
                Err(why) => bad.broken_file(path, chain(&why), 1.0),
            }
        }
        let division = Division::of(found.iter().map(|(_, key)| *key));
        let mut entries = Splits::default();
        for (entry, key) in found {
            match division.split(key) {
                Some(split) => entries.push(split, entry),
                None => {
                    let why = format!("at byte {}: {DOCUMENT_EQUALS_HELD_OUT}", entry.span.at);
                    bad.pass_over(&files[entry.file as usize].path, why);
                }
            }
        }
        let bad = bad.opened_with_some(entries.iter().count())?;
        let files = files.into_iter().map(|file| file.path).collect();
        Ok(Self { files, longest: config.longest, frame, entries, bad })
    }

    fn read_record(&self, entry: &Entry) -> Result<Record, String> {
        let Form::Captioned(which) = entry.form else {
            return self.document(entry).map(Record::Whole);
        };
        let Line::Captioned { image, captions } = parse(&self.bytes(entry)?)? else {
            return Err(CHANGED.into());
        };
        let image = self.image(&image, self.folder(entry))?;
        let caption = captions.into_iter().nth(which as usize).ok_or(CHANGED)?;
        Ok(Record::Captioned(Example { image, caption }))
    }

    fn folder(&self, entry: &Entry) -> &Path {
        self.files[entry.file as usize].parent().unwrap_or(Path::new(""))
    }

    fn bytes(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        files::read(&self.files[entry.file as usize], entry.span).map_err(|error| chain(&error))
    }

    fn document(&self, entry: &Entry) -> Result<Document, String> {
        let folder = self.folder(entry);
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
        let bytes = self.bytes(entry)?;
        let target = |text: &str| vec![Piece::Text { text: text.into(), target: true }];
        match entry.form {
            Form::Plain => Ok(target(&line_feeds(&String::from_utf8_lossy(&bytes)))),
            Form::Line | Form::Piece(_) | Form::Captioned(_) => {
                match (parse(&bytes)?, entry.form) {
                    (Line::Segments(pieces), _) => Ok(pieces),
                    (Line::Captioned { image, captions }, Form::Captioned(which)) => {
                        let text = captions.get(which as usize).ok_or(CHANGED)?;
                        let image = Piece::Image { image, target: true };
                        Ok([target(text), vec![image]].concat())
                    }
                    (Line::Captioned { .. }, _) => Err(CHANGED.into()),
                    (Line::Text(text), Form::Piece(which)) => {
                        let ends = cuts(&text, self.longest);
                        let end = *ends.get(which as usize).ok_or(CHANGED)?;
                        let start = which.checked_sub(1).map_or(0, |before| ends[before as usize]);
                        Ok(target(&text[start..end]))
                    }
                    (Line::Text(text), _) => Ok(target(&text)),
                }
            }
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
        self.read_record(entry).map_err(named)
    }

    fn held_out_contents(&self) -> Vec<u64> {
        self.entries.of(Split::HeldOut).iter().map(|entry| entry.content).collect()
    }

    fn leave_out(&mut self, held_out: &HashSet<u64>) {
        for entry in self.entries.take_out(|entry| held_out.contains(&entry.content)) {
            let why = format!("at byte {}: {DOCUMENT_EQUALS_HELD_OUT}", entry.span.at);
            self.bad.pass_over(&self.files[entry.file as usize], why);
        }
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
            (Form::Plain | Form::Piece(_) | Form::Captioned(_), _) => false,
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

/// A document of a file.
#[derive(Debug)]
struct Found {
    form: Form,
    span: Span,
    content: Content,
}

/// What must not stand in both splits.
#[derive(Debug, Clone)]
enum Content {
    /// A line or stretch of text, by the hash of its bytes.
    Words(u64),
    /// An image in the line itself, by the hash of its bytes.
    Image(u64),
    /// An image at a path.
    At(String),
}

impl Content {
    fn of(image: &ImageData) -> Self {
        match image {
            ImageData::Path(path) => Self::At(path.clone()),
            ImageData::Bytes(bytes) => Self::Image(files::content_of(bytes)),
        }
    }

    /// Returns the hash that decides; an image that cannot be read goes by its path.
    fn hash(&self, folder: &Path) -> u64 {
        match self {
            Self::Words(hash) | Self::Image(hash) => *hash,
            Self::At(path) => {
                let read = files::content_of_file(&folder.join(path));
                read.unwrap_or_else(|_| hash_bytes(path.as_bytes()))
            }
        }
    }
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
        let words = Content::Words(hash_bytes(line.trim_ascii()));
        match parse(&line) {
            Ok(Line::Text(text)) if text.trim().is_empty() => {
                broken(format!("line {number}: its text is empty"));
            }
            Ok(Line::Text(text)) => {
                let pieces = 0..cuts(&text, longest).len() as u32;
                found.extend(pieces.map(|at| Found {
                    form: Form::Piece(at),
                    span,
                    content: words.clone(),
                }));
            }
            Ok(Line::Captioned { image, captions }) => {
                let content = Content::of(&image);
                found.extend((0..captions.len() as u32).map(|at| Found {
                    form: Form::Captioned(at),
                    span,
                    content: content.clone(),
                }));
            }
            Ok(Line::Segments(pieces)) if !has_target(&pieces) => broken(format!(
                "line {number}: nothing in it is a target, wanted a segment without `\"loss\": false`"
            )),
            Ok(Line::Segments(pieces)) => match text_of(&pieces).len() {
                bytes if bytes > longest => broken(format!(
                    "line {number}: its text has {bytes} bytes, `longest` is {longest}"
                )),
                _ => {
                    let first = pieces.iter().find_map(|piece| match piece {
                        Piece::Image { image, .. } => Some(Content::of(image)),
                        Piece::Text { .. } => None,
                    });
                    found.push(Found { form: Form::Line, span, content: first.unwrap_or(words) });
                }
            },
            Err(why) => broken(format!("line {number}: {why}")),
        }
    }
    Ok(found)
}

/// Returns whether the first line of a JSONL file names an image that is read.
pub(crate) fn has_images(path: &Path) -> bool {
    let first = files::open_at(path, 0).map(|file| file.take(MOST_LINE_BYTES));
    let Ok(Some(Ok(line))) = first.map(|file| file.split(b'\n').next()) else { return false };
    match parse(&line) {
        Ok(Line::Captioned { .. }) => true,
        Ok(Line::Segments(pieces)) => {
            pieces.iter().any(|piece| matches!(piece, Piece::Image { .. }))
        }
        Ok(Line::Text(_)) | Err(_) => false,
    }
}

/// Opens a file that is not compressed.
fn plain_file(path: &Path) -> io::Result<files::Opened> {
    let mut first = Vec::new();
    files::open_at(path, 0)?.take(8).read_to_end(&mut first)?;
    match files::compression(&first) {
        Some(name) => {
            Err(io::Error::other(format!("it is compressed by {name}, wanted plain text")))
        }
        None => files::open_at(path, 0),
    }
}

/// Cuts a text into stretches of at most `longest` bytes, each of whole lines where a line is short
/// enough; `broken` hears of every stretch that is no text.
fn plain_entries(
    mut reader: impl BufRead,
    longest: usize,
    broken: &mut dyn FnMut(String),
) -> io::Result<Vec<Found>> {
    let (mut found, mut at, mut held) = (Vec::new(), 0_u64, Vec::new());
    reader.by_ref().take(MARK.len() as u64).read_to_end(&mut held)?;
    if held == MARK {
        at += MARK.len() as u64;
        held.clear();
    }
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
            Ok(_) if stretch.contains(&0) => broken(format!("at byte {at}: {HAS_NUL}")),
            Ok(_) if stretch.trim_ascii().is_empty() => {}
            Ok(_) => {
                let content = Content::Words(hash_bytes(stretch));
                found.push(Found { form: Form::Plain, span, content });
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
