//! WebDataset: tar files whose neighbouring members with the same key are one sample.
//!
//! ```text
//! cats-000.tar: 0001.jpg 0001.txt 0002.png 0002.json 0003.webp 0003.txt …
//! ```
//!
//! A member's key is its name up to the first dot of its last part. A sample has an image, and its
//! caption in `KEY.txt` or, if there is none, in a field of `KEY.json`; a list there is as many
//! captions, each of which is a record. When the source is opened the headers and words of every
//! shard are read, and up to 64 KiB of every image for its split; the places of members are kept,
//! and members are read by place, in any order. Members that are no sample are named, and those
//! that ought to be one count as broken. A shard
//! that is cut short gives the samples before the cut and weighs as a whole file, since nobody
//! knows how long it was; one that is damaged weighs by what lies behind the damage.

mod index;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::index::{Index, Sample, index, shown};
use crate::bad_records::{BadRecords, Skipped, check_max_bad, one_percent};
use crate::caption::{caption, json_object, of_field};
use crate::error::DataError;
use crate::files::{self, Listed, Named, Span};
use crate::fingerprint::Fingerprint;
use crate::image::{Frame, ImageFit, ImageSettings, chain, most_pixels, white};
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::{Division, EQUALS_HELD_OUT, Split, SplitKey, Splits, hash_bytes};

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
    /// Which of its captions it is.
    which: u32,
    /// A hash of its image.
    content: u64,
}

impl ShardSet {
    /// Reads the headers and words of every shard.
    ///
    /// Where the name of a shard says "held out", as `val-000.tar` does, its samples are held out
    /// and all others are trained on, but for those whose image equals a held-out one. Otherwise a
    /// tenth of the samples is held out, by a hash of the bytes of their images.
    pub fn open(config: &WebdatasetConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, config.max_pixels, image)?;
        let Named { files: shards, others } = files::expand(&config.files, &["tar"])?;
        let bad = BadRecords::of_files("webdataset", config.max_bad, shards.len());
        bad.pass_over_all(others, |_| true);
        let found: Vec<Vec<Keyed>> =
            shards.par_iter().map(|shard| keyed(shard, &config.caption, &bad)).collect();
        let division = Division::of(found.iter().flatten().map(|one| one.key));
        let mut entries = Splits::default();
        for ((found, shard), number) in found.into_iter().zip(&shards).zip(0..) {
            for Keyed { sample, key, captions } in found {
                let Some(split) = division.split(key) else {
                    if captions == 0 {
                        continue;
                    }
                    let why = at_place(&sample.key, sample.image.at, EQUALS_HELD_OUT);
                    bad.pass_over(&shard.path, why);
                    continue;
                };
                for which in 0..captions {
                    let (sample, content) = (sample.clone(), key.content);
                    entries.push(split, Entry { shard: number, sample, which, content });
                }
            }
        }
        let bad = bad.opened_with_some(entries.iter().count())?;
        let shards = shards.into_iter().map(|shard| shard.path).collect();
        Ok(Self { shards, caption: config.caption.clone(), frame, entries, bad })
    }

    fn words(&self, entry: &Entry) -> Result<String, String> {
        let shard = &self.shards[entry.shard as usize];
        let captions = captions(shard, &entry.sample, &self.caption)?;
        captions.into_iter().nth(entry.which as usize).ok_or_else(|| "the shard has changed".into())
    }
}

/// A sample and what decides on its split.
struct Keyed {
    sample: Sample,
    key: SplitKey,
    captions: u32,
}

/// Returns the samples of a shard; `bad` hears of everything else.
fn keyed(shard: &Listed, field: &str, bad: &BadRecords) -> Vec<Keyed> {
    let path = &shard.path;
    let opened = files::length(path).and_then(|bytes| Ok((files::open_at(path, 0)?, bytes)));
    let index = match opened {
        Ok((reader, bytes)) => index(reader, bytes, !field.is_empty()),
        Err(why) => Index::lost(chain(&why)),
    };
    for one in index.incomplete {
        let why = at_place(&one.key, one.at, &one.why);
        if one.is_lost { bad.broken(path, why) } else { bad.pass_over(path, why) }
    }
    for (ending, times) in index.unused {
        let which = match shown(&ending) {
            ending if ending.is_empty() => "without an ending".to_owned(),
            ending => format!("that end in `.{ending}`"),
        };
        bad.pass_over(path, format!("members {which} are not used: {times}"));
    }
    if let Some(cut) = index.cut {
        bad.broken_file(path, cut.why, cut.lost);
    }
    let mut found = Vec::new();
    for sample in index.samples {
        let captions = match captions(path, &sample, field) {
            Ok(captions) if captions.is_empty() => Err("its caption is empty".to_owned()),
            Ok(captions) => Ok(captions.len() as u32),
            Err(why) => Err(why),
        };
        let captions = captions.unwrap_or_else(|why| {
            bad.broken(path, at_place(&sample.key, sample.image.at, &why));
            0 // its image still decides on the split of its equals
        });
        let content = files::open_at(path, 0)
            .and_then(|mut file| files::content_hash(&mut file, sample.image))
            .unwrap_or_else(|_| hash_bytes(sample.key.as_bytes()));
        let key = SplitKey { content, held_out: shard.held_out };
        found.push(Keyed { sample, key, captions });
    }
    found
}

/// Returns the captions of a sample: what is in its text, otherwise what is in its JSON. Where no
/// captions are wanted there is one that is empty.
fn captions(path: &Path, sample: &Sample, field: &str) -> Result<Vec<String>, String> {
    if field.is_empty() {
        return Ok(vec![String::new()]);
    }
    let read = |span: Span| files::read(path, span).map_err(|error| chain(&error));
    if let Some(span) = sample.text {
        let text = caption(read(span)?)?;
        if !text.is_empty() {
            return Ok(vec![text]);
        }
    }
    match sample.json {
        Some(span) => {
            let object = json_object(&read(span)?).map_err(|why| format!("its json: {why}"))?;
            of_field(&object, field, "").map_err(|why| format!("its json: {why}"))
        }
        None => Ok(vec![]),
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
        let entry @ Entry { shard, sample, .. } = self.entries.at(split, at);
        let path = &self.shards[*shard as usize];
        let named = |why: String| Skipped::new(path, at_place(&sample.key, sample.image.at, &why));
        let caption = self.words(entry).map_err(named)?;
        let bytes = files::read(path, sample.image).map_err(|error| named(chain(&error)))?;
        let image = self.frame.image(&bytes).map_err(named)?;
        Ok(Record::Captioned(Example { image, caption }))
    }

    fn held_out_contents(&self) -> Vec<u64> {
        self.entries.of(Split::HeldOut).iter().map(|entry| entry.content).collect()
    }

    fn leave_out(&mut self, held_out: &HashSet<u64>) {
        for entry in self.entries.take_out(|entry| held_out.contains(&entry.content)) {
            let why = at_place(&entry.sample.key, entry.sample.image.at, EQUALS_HELD_OUT);
            self.bad.pass_over(&self.shards[entry.shard as usize], why);
        }
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
        for Entry { shard, sample, which, .. } in self.entries.iter() {
            sum.add(sample.key.as_bytes());
            let image = sample.image;
            for number in [u64::from(*shard), image.at, image.bytes, u64::from(*which)] {
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

#[cfg(test)]
mod tests;
