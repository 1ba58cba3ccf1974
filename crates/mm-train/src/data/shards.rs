//! WebDataset: tar files whose neighbouring members with the same key are one sample.
//!
//! ```text
//! cats-000.tar: 0001.jpg 0001.txt 0002.png 0002.json 0003.webp 0003.txt …
//! ```
//!
//! A member's key is its name up to the first dot of its last part. A sample has an image, and its caption in `KEY.txt` or
//! in a field of `KEY.json`. When the source is opened the headers of every shard are read and the places of members kept;
//! members are read by place, in any order. A shard that is cut short gives the samples before the cut.

use std::collections::HashMap;
use std::io::{Read, Seek};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::files::{self, Span};
use super::halves::Halves;
use super::ledger::{Ledger, Skipped, allowed, check_max_bad, one_percent};
use super::picture::{EXTENSIONS, Frame, PictureFit, caption, chain, white};
use super::{DataError, Example, ImageSettings, MOST_CORPUS, Split};

/// The first bytes of a file that gzip has compressed (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The most characters that are shown of what a shard says.
const MOST_SHOWN: usize = 80;
/// The most bytes of a member that holds words.
const MOST_WORDS: u64 = 1 << 20;

/// Settings of [`ShardSet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebdatasetConfig {
    /// The shards: names with `*`, `?` and `{000..099}`, or folders of `.tar` files.
    pub files: Vec<String>,
    /// The field of `KEY.json` that holds the caption; an empty name for pictures without captions.
    #[serde(default = "caption_field")]
    pub caption: String,
    /// How images of other shapes are made to fit.
    #[serde(default)]
    pub fit: PictureFit,
    /// The colour behind transparent pixels and around padded images.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// The share of the samples, and of the shards, that may be broken.
    #[serde(default = "one_percent")]
    pub max_bad: f64,
}

fn caption_field() -> String {
    "caption".into()
}

impl WebdatasetConfig {
    /// Shards with the defaults.
    pub fn of(files: Vec<String>) -> Self {
        let (caption, max_bad) = (caption_field(), one_percent());
        Self { files, caption, fit: PictureFit::default(), background: white(), max_bad }
    }

    /// Checks what the types do not; touches no file.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.files.is_empty() {
            let (found, wanted) = ("[]".into(), "at least one shard");
            return Err(DataError::Setting { field: "files", found, wanted });
        }
        check_max_bad(self.max_bad)
    }
}

/// The samples of some shards.
#[derive(Debug)]
pub struct ShardSet {
    shards: Vec<PathBuf>,
    caption: String,
    frame: Frame,
    entries: Halves<Entry>,
    books: Ledger,
}

#[derive(Debug)]
struct Entry {
    shard: u32,
    sample: Sample,
}

/// Where a sample's members are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    key: Box<str>,
    image: Span,
    words: Option<Words>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Text(Span),
    Json(Span),
}

impl ShardSet {
    /// Reads the headers of every shard.
    ///
    /// Held out is a tenth of the samples, by the hash of their shard's name and their key.
    pub fn open(config: &WebdatasetConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, image)?;
        let shards = files::expand(&config.files, &["tar"])?;
        let books = Ledger::new("webdataset", config.max_bad);
        let (mut entries, mut bad) = (Halves::new(), 0);
        for (path, shard) in shards.iter().zip(0..) {
            let opened =
                files::length(path).and_then(|bytes| Ok((files::open_at(path, 0)?, bytes)));
            let index = match opened {
                Ok((reader, bytes)) => index(reader, bytes, !config.caption.is_empty()),
                Err(why) => Index { cut: Some(chain(&why)), ..Index::default() },
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            for sample in index.samples {
                let split = Split::of_key(&format!("{name}/{}", sample.key));
                entries.push(split, Entry { shard, sample });
            }
            for (key, why) in index.incomplete {
                books.pass_over(path, format!("`{}`: {why}", shown(&key)));
            }
            if let Some(why) = index.cut {
                bad += 1;
                books.broken(path, why);
            }
        }
        if entries.len() == 0 {
            return Err(DataError::nothing("webdataset", &books.skipped()));
        }
        let most = allowed(shards.len(), config.max_bad);
        if bad > most {
            let (of, skipped) = (shards.len(), books.skipped());
            return Err(DataError::too_many_files("webdataset", [bad, of, most], &skipped));
        }
        let books = books.opened(entries.len())?;
        Ok(Self { shards, caption: config.caption.clone(), frame, entries, books })
    }

    /// How many samples the part has.
    pub fn len(&self, split: Split) -> u64 {
        self.entries.of(split).len() as u64
    }

    /// The sample of an index, which wraps around, or the next one that can be read.
    pub fn example(&self, split: Split, index: u64) -> Result<Example, DataError> {
        let entries = self.entries.of(split);
        if entries.is_empty() {
            return Err(DataError::EmptySplit { split: split.name(), source_name: "webdataset" });
        }
        self.books.first_good(entries.len(), index, |at| self.item(&entries[at]))
    }

    /// The sample of an index of a part that is not empty, if it can be read.
    pub(super) fn exact(&self, split: Split, index: u64) -> Option<Example> {
        let entries = self.entries.of(split);
        self.books.exactly(entries.len(), index, |at| self.item(&entries[at]))
    }

    /// Captions of the training part, spread over it if there are many.
    pub fn captions(&self) -> Vec<String> {
        self.entries.spread(MOST_CORPUS).filter_map(|entry| self.words(entry).ok()).collect()
    }

    /// What was left out so far.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.books.skipped()
    }

    /// How many of these are broken.
    pub fn bad(&self) -> usize {
        self.books.bad()
    }

    /// Adds the shards' names, and the names and places of samples.
    pub(super) fn add_to(&self, sum: &mut Checksum) {
        self.shards.iter().for_each(|path| sum.add_name(path));
        for Entry { shard, sample } in
            Split::ALL.into_iter().flat_map(|split| self.entries.of(split))
        {
            sum.add(sample.key.as_bytes());
            [u64::from(*shard), sample.image.at, sample.image.bytes]
                .into_iter()
                .for_each(|number| sum.add_number(number));
        }
    }

    fn item(&self, entry: &Entry) -> Result<Example, Skipped> {
        let Entry { shard, sample } = entry;
        let path = &self.shards[*shard as usize];
        let named = |why| Skipped::new(path, format!("`{}`: {why}", shown(&sample.key)));
        let caption = self.words(entry).map_err(named)?;
        let bytes = files::read(path, sample.image).map_err(|error| named(chain(&error)))?;
        Ok(Example { image: self.frame.picture(&bytes).map_err(named)?, caption })
    }

    fn words(&self, entry: &Entry) -> Result<String, String> {
        let read = |span| {
            files::read(&self.shards[entry.shard as usize], span).map_err(|error| chain(&error))
        };
        match entry.sample.words {
            _ if self.caption.is_empty() => Ok(String::new()),
            None => Ok(String::new()),
            Some(Words::Text(span)) => caption(read(span)?),
            Some(Words::Json(span)) => field(&read(span)?, &self.caption),
        }
    }
}

/// The text of a field of a JSON object.
fn field(json: &[u8], name: &str) -> Result<String, String> {
    let found: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|why| why.to_string())?;
    match found.get(name).and_then(serde_json::Value::as_str) {
        Some(text) => caption(text.into()),
        None => {
            let names: Vec<String> = found.keys().map(|name| format!("`{name}`")).collect();
            Err(format!("its json has no text `{name}`, it has {}", names.join(", ")))
        }
    }
}

/// What the headers of a shard say.
#[derive(Debug, Default)]
struct Index {
    samples: Vec<Sample>,
    /// Keys without an image or without words, and which it is.
    incomplete: Vec<(String, &'static str)>,
    /// Why the shard could not be read to its end.
    cut: Option<String>,
}

/// A sample whose members are being met.
#[derive(Debug, Default)]
struct Open {
    image: Option<Span>,
    words: Option<Words>,
}

/// Reads the headers of a shard of `bytes` bytes; samples without words are none if words are `wanted`.
fn index(mut shard: impl Read + Seek, bytes: u64, wanted: bool) -> Index {
    let mut index = Index::default();
    let mut open: Option<(String, Open)> = None;
    if let Err(why) = starts_plain(&mut shard) {
        return Index { cut: Some(why), ..index };
    }
    let mut archive = tar::Archive::new(shard);
    let members = match archive.entries_with_seek() {
        Ok(members) => members,
        Err(why) => return Index { cut: Some(shown(&chain(&why))), ..index },
    };
    let mut after = 0;
    for member in members {
        let member = match member {
            Ok(member) => member,
            Err(why) => {
                index.cut = Some(format!("broken from byte {after} on: {}", shown(&chain(&why))));
                break;
            }
        };
        let span = Span { at: member.raw_file_position(), bytes: member.size() };
        match span.at.checked_add(span.bytes) {
            Some(end) if end <= bytes => after = end,
            _ => {
                index.cut = Some(format!(
                    "it is cut short, a member at byte {} has {} bytes",
                    span.at, span.bytes
                ));
                break;
            }
        }
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let Some((key, ending)) = key_of(&name).filter(|_| member.header().entry_type().is_file())
        else {
            continue;
        };
        if open.as_ref().is_none_or(|(held, _)| held != key) {
            index.close(open.take(), wanted);
        }
        let (_, sample) = open.get_or_insert_with(|| (key.to_owned(), Open::default()));
        match ending.as_str() {
            "txt" if span.bytes <= MOST_WORDS => sample.words = Some(Words::Text(span)),
            "json" if span.bytes <= MOST_WORDS && sample.words.is_none() => {
                sample.words = Some(Words::Json(span));
            }
            ending if EXTENSIONS.contains(&ending) => sample.image = Some(span),
            _ => {}
        }
    }
    if index.cut.is_none() && after.next_multiple_of(512) + 512 > bytes {
        index.cut = Some("it ends without its closing blocks".into());
    }
    index.close(open, wanted);
    index.without_repeats()
}

/// Says no to a compressed shard: its members have no places that could be read.
fn starts_plain(shard: &mut (impl Read + Seek)) -> Result<(), String> {
    let mut first = [0; 2];
    if shard.read_exact(&mut first).is_ok() && first == GZIP {
        return Err("it is compressed by gzip, wanted a plain tar".into());
    }
    shard.rewind().map_err(|why| chain(&why))
}

/// Outside bytes, or words about them, as a terminal may show them: escaped where they are no plain signs, and cut.
fn shown(text: &str) -> String {
    let sign = |sign: char| match sign {
        '\'' | '"' | '\\' => sign.to_string(),
        _ => sign.escape_debug().to_string(),
    };
    let escaped: String = text.chars().map(sign).collect();
    match escaped.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped,
    }
}

impl Index {
    fn close(&mut self, open: Option<(String, Open)>, wanted: bool) {
        match open {
            Some((key, Open { image: Some(image), words })) if words.is_some() || !wanted => {
                self.samples.push(Sample { key: key.into(), image, words });
            }
            Some((key, Open { image: Some(_), .. })) => {
                self.incomplete.push((key, "no caption: neither .txt nor .json beside the image"));
            }
            Some((key, _)) => self.incomplete.push((key, "no image")),
            None => {}
        }
    }

    /// Only neighbours are one sample: a key that comes back later is another sample, under another name.
    fn without_repeats(mut self) -> Self {
        let mut met: HashMap<Box<str>, usize> = HashMap::new();
        for sample in &mut self.samples {
            let times = met.entry(sample.key.clone()).or_insert(0);
            *times += 1;
            if *times > 1 {
                sample.key = format!("{}#{times}", sample.key).into();
            }
        }
        self
    }
}

/// The key and the ending, in lower case, of a member's name.
fn key_of(name: &str) -> Option<(&str, String)> {
    let start = name.rfind('/').map_or(0, |at| at + 1);
    let dot = start + name[start..].find('.')?;
    (dot > start).then(|| (&name[..dot], name[dot + 1..].to_lowercase()))
}

#[cfg(test)]
mod tests;
