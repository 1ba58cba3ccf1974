//! WebDataset: tar files whose neighbouring members with the same key are one sample.
//!
//! ```text
//! cats-000.tar: 0001.jpg 0001.txt 0002.png 0002.json 0003.webp 0003.txt …
//! ```
//!
//! A member's key is its name up to the first dot of its last part. A sample has an image, and its
//! caption in `KEY.txt` or in a field of `KEY.json`. When the source is opened the headers of every
//! shard are read and the places of members kept; members are read by place, in any order. A shard
//! that is cut short gives the samples before the cut and weighs as a whole file, since nobody
//! knows how long it was; one that is damaged weighs by what lies behind the damage.

mod index;

use std::path::PathBuf;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::index::{Index, Lacks, Sample, Words, index, shown};
use crate::bad_records::{BadRecords, Skipped, check_max_bad, one_percent};
use crate::error::DataError;
use crate::files;
use crate::fingerprint::Fingerprint;
use crate::image::{Frame, ImageFit, ImageSettings, caption, chain, most_pixels, white};
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::{Split, Splits};

/// The most captions that a tokenizer is trained on, spread over the training split.
const MOST_CAPTIONS: usize = 20_000;

/// Settings of [`ShardSet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebdatasetConfig {
    /// The shards: names with `*`, `?` and `{000..099}`, or folders of `.tar` files.
    pub files: Vec<String>,
    /// The field of `KEY.json` that holds the caption; an empty name for images without captions.
    #[serde(default = "caption_field")]
    pub caption: String,
    /// How images of other shapes are made to fit.
    #[serde(default)]
    pub fit: ImageFit,
    /// The color behind transparent pixels and around padded images.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// The most pixels that an image file may have.
    #[serde(default = "most_pixels")]
    pub max_pixels: u64,
    /// The share of the samples, and of the shards, that may be broken.
    #[serde(default = "one_percent")]
    pub max_bad: f64,
}

fn caption_field() -> String {
    "caption".into()
}

impl WebdatasetConfig {
    /// Takes shards with the defaults.
    pub fn of(files: Vec<String>) -> Self {
        let (caption, max_bad) = (caption_field(), one_percent());
        Self {
            files,
            caption,
            fit: ImageFit::default(),
            background: white(),
            max_pixels: most_pixels(),
            max_bad,
        }
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
    entries: Splits<Entry>,
    bad: BadRecords,
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
        let frame = Frame::new(config.fit, config.background, config.max_pixels, image)?;
        let shards = files::expand(&config.files, &["tar"])?;
        let bad = BadRecords::of_files("webdataset", config.max_bad, shards.len());
        let mut entries = Splits::default();
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
                    Lacks::Image | Lacks::Words => bad.pass_over(path, why),
                    Lacks::Neighbour => bad.broken(path, why),
                }
            }
            if let Some(cut) = index.cut {
                bad.broken_file(path, cut.why, cut.lost);
            }
        }
        let bad = bad.opened_with_some(entries.iter().count())?;
        Ok(Self { shards, caption: config.caption.clone(), frame, entries, bad })
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

impl DataSource for ShardSet {
    fn name(&self) -> &'static str {
        "webdataset"
    }

    fn len(&self, split: Split) -> Option<u64> {
        self.entries.len(split)
    }

    fn load(&self, split: Split, at: u64, _: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let entry @ Entry { shard, sample } = self.entries.at(split, at);
        let path = &self.shards[*shard as usize];
        let named = |why: String| Skipped::new(path, at_place(&sample.key, sample.image.at, &why));
        let caption = self.words(entry).map_err(named)?;
        let bytes = files::read(path, sample.image).map_err(|error| named(chain(&error)))?;
        let image = self.frame.image(&bytes).map_err(named)?;
        Ok(Record::Captioned(Example { image, caption }))
    }

    fn bad_records(&self) -> Vec<&BadRecords> {
        vec![&self.bad]
    }

    fn captions(&self) -> Vec<String> {
        self.entries.spread(MOST_CAPTIONS).filter_map(|entry| self.words(entry).ok()).collect()
    }

    /// Adds the shards' names, and the names and places of samples.
    fn describe(&self, sum: &mut Fingerprint) {
        for path in &self.shards {
            sum.add_name(path);
        }
        for Entry { shard, sample } in self.entries.iter() {
            sum.add(sample.key.as_bytes());
            for number in [u64::from(*shard), sample.image.at, sample.image.bytes] {
                sum.add_number(number);
            }
        }
    }
}

/// Says what is wrong with a sample. Its place stands beside its key, since keys may be equal as
/// far as they are shown.
fn at_place(key: &str, place: u64, why: &str) -> String {
    format!("`{}` at byte {place}: {why}", shown(key))
}

/// Returns the text of a field of a JSON object.
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
