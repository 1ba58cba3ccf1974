//! WebDataset: tar files whose neighbouring members with the same key are one sample.
//!
//! ```text
//! cats-000.tar: 0001.jpg 0001.txt 0002.png 0002.json 0003.webp 0003.txt …
//! ```
//!
//! A member's key is its name up to the first dot of its last part. A sample has an image, and its caption in `KEY.txt` or
//! in a field of `KEY.json`. When the source is opened the headers of every shard are read and the places of members kept;
//! members are read by place, in any order. A shard that is cut short gives the samples before the cut and weighs as a
//! whole file, since nobody knows how long it was; one that is damaged weighs by what lies behind the damage.

mod index;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::index::{Index, Lacks, Sample, Words, index, shown};
use super::checksum::Checksum;
use super::files;
use super::halves::Halves;
use super::ledger::{Ledger, Skipped, Tally, check_max_bad, one_percent};
use super::picture::{Frame, PictureFit, caption, chain, white};
use super::{DataError, Example, ImageSettings, MOST_CORPUS, Split};

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

impl ShardSet {
    /// Reads the headers of every shard.
    ///
    /// Held out is a tenth of the samples, by the hash of their shard's name and their key.
    pub fn open(config: &WebdatasetConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, image)?;
        let shards = files::expand(&config.files, &["tar"])?;
        let books = Ledger::of_files("webdataset", config.max_bad, shards.len());
        let mut entries = Halves::new();
        for (path, shard) in shards.iter().zip(0..) {
            let opened =
                files::length(path).and_then(|bytes| Ok((files::open_at(path, 0)?, bytes)));
            let index = match opened {
                Ok((reader, bytes)) => index(reader, bytes, !config.caption.is_empty()),
                Err(why) => Index::lost(chain(&why)),
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            for sample in index.samples {
                let split = Split::of_key(&format!("{name}/{}", sample.key));
                entries.push(split, Entry { shard, sample });
            }
            for one in index.incomplete {
                let why = at_place(&one.key, one.at, one.lacks.words());
                match one.lacks {
                    Lacks::Image | Lacks::Words => books.pass_over(path, why),
                    Lacks::Neighbour => books.broken(path, why),
                }
            }
            if let Some(cut) = index.cut {
                books.broken_file(path, cut.why, cut.lost);
            }
        }
        if entries.len() == 0 {
            return Err(DataError::nothing("webdataset", &books.skipped()));
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

    /// How much is broken so far, and how much there is.
    pub fn tally(&self) -> Tally {
        self.books.tally()
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
        let named = |why: String| Skipped::new(path, at_place(&sample.key, sample.image.at, &why));
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

/// What is wrong with a sample. Its place stands beside its key, since keys may be equal as far as they are shown.
fn at_place(key: &str, place: u64, why: &str) -> String {
    format!("`{}` at byte {place}: {why}", shown(key))
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

#[cfg(test)]
mod tests;
