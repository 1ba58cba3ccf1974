//! A folder of image files, for training on one's own images.
//!
//! Captions come from `metadata.jsonl` (one `{"file_name": …, "text": …}` a line, the layout of
//! Hugging Face's imagefolder, or with another field than `text`) or `metadata.csv`; otherwise from
//! `NAME.txt`, `NAME.caption` or `NAME.json` beside `NAME.png`; or, on request, from the names of
//! sub-folders; or there are none. Sub-folders are searched, files are sorted, so the same files
//! give the same indices on any machine. Hidden files and linked folders are passed over. An image
//! with several captions is a record with each of them.
//!
//! Files are listed and captions read when the folder is opened; images are read on access, and may
//! be kept fitted in a cache ([`FolderConfig::cache`]). Whatever cannot be used is left out and
//! named in [`FolderSet::skipped`].

mod cache;
mod listing;
mod metadata;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use mm_patch::Image;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::cache::Cache;
use self::listing::{Entries, Entry, Listing, below, extensions};
use crate::bad_records::{BadRecords, Skipped, check_max_bad, one_percent};
use crate::error::DataError;
use crate::files;
use crate::fingerprint::Fingerprint;
use crate::image::{Frame, ImageFit, ImageSettings, chain, most_pixels, white};
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::{Division, EQUALS_HELD_OUT, HELD_OUT, Split, SplitKey, Splits, says_held_out};

/// Settings of [`FolderSet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderConfig {
    /// The folder, searched with all that is below it.
    pub path: PathBuf,
    /// Where captions come from.
    #[serde(default)]
    pub captions: Captions,
    /// The field of a line of `metadata.jsonl` that holds the caption.
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
    /// A file that keeps fitted pixels, so that each image is decoded once; made if it is not
    /// there, and refused if it is a file of another kind. An image that changed, or other
    /// settings, are noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// The share of the images that may be broken.
    #[serde(default = "one_percent")]
    pub max_bad: f64,
}

/// Where captions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Captions {
    /// A line of `metadata.jsonl` or `metadata.csv` in the image's folder or above it, otherwise a
    /// file beside the image: `NAME.txt`, `NAME.caption` or `NAME.json`.
    #[default]
    Written,
    /// The name of the folder that the image is in.
    Folders,
    /// All captions are empty, and any folder of images will do.
    None,
}

fn caption_field() -> String {
    "text".into()
}

impl FolderConfig {
    /// Takes a folder with the defaults.
    pub fn of(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            captions: Captions::default(),
            caption: caption_field(),
            fit: ImageFit::default(),
            background: white(),
            max_pixels: most_pixels(),
            cache: None,
            max_bad: one_percent(),
        }
    }

    /// Checks what the types do not; touches no file.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.path.as_os_str().is_empty() {
            return Err(DataError::Setting {
                field: "path",
                found: String::new(),
                wanted: "a folder of images",
            });
        }
        if self.caption.is_empty() {
            return Err(DataError::Setting {
                field: "caption",
                found: String::new(),
                wanted: "a field of `metadata.jsonl`; bare images have `captions = \"none\"`",
            });
        }
        check_max_bad(self.max_bad)
    }
}

/// The images of a folder.
#[derive(Debug)]
pub struct FolderSet {
    root: PathBuf,
    frame: Frame,
    entries: Splits<Entry>,
    cache: Option<Cache>,
    /// Whether the cache takes new images: no more after a full disk.
    caching: AtomicBool,
    bad: BadRecords,
}

impl FolderSet {
    /// Lists the images and reads the captions.
    ///
    /// Where a folder in it has a name that says "held out" (`test`, `testing`, `val`, `valid`,
    /// `validation`, `dev`, `eval`, `evaluation`, `held-out`, also within `val2017`), however deep,
    /// images below such folders are held out and all others are trained on, but for those whose
    /// file equals a held-out one. Otherwise a tenth of the images is held out, with all their
    /// captions, by a hash of the bytes of each: images that are added move no other, and equal
    /// files stand on one side. A folder all of whose images that would hold out is trained on.
    pub fn open(config: &FolderConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, config.max_pixels, image)?;
        let bad = BadRecords::new("folder", config.max_bad);
        let listing = Listing::of(&config.path, &bad)?;
        let Entries { entries, lost } = listing.entries(config.captions, &config.caption)?;
        if entries.is_empty() {
            return Err(nothing_found(config, &bad));
        }
        let images = entries.chunk_by(|one, next| one.path == next.path).count();
        let bad = bad.opened(images)?;
        let cache = match &config.cache {
            Some(path) => Some(Cache::open(path, &frame)?),
            None => None,
        };
        let Sides { mut train, mut held_out } = split(entries, &lost, config, &bad);
        number(&mut train, &mut held_out);
        let (root, caching) = (config.path.clone(), AtomicBool::new(true));
        let entries = Splits::new(train, held_out);
        Ok(Self { root, frame, entries, cache, caching, bad })
    }

    fn image(&self, entry: &Entry) -> Result<Image, String> {
        let slot = entry.slot;
        if let Some(image) = self.cache.as_ref().and_then(|cache| cache.get(slot, entry.stamp)) {
            return Ok(image);
        }
        let file = files::read_all(&entry.path, self.frame.most_bytes()).map_err(|e| chain(&e))?;
        let image = self.frame.image(&file)?;
        if let Some(cache) = self.cache.as_ref().filter(|_| self.caching.load(Ordering::Relaxed))
            && let Err(why) = cache.put(slot, entry.stamp, &image)
        {
            self.caching.store(false, Ordering::Relaxed);
            let why = format!("the cache takes no more images: {why}");
            self.bad.pass_over(&entry.path, why);
        }
        Ok(image)
    }
}

/// An image with several captions is as many records; one that later proves unreadable counts too.
impl DataSource for FolderSet {
    fn name(&self) -> &'static str {
        "folder"
    }

    fn len(&self, split: Split) -> Option<u64> {
        self.entries.len(split)
    }

    fn load(&self, split: Split, at: u64, _: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let entry = self.entries.at(split, at);
        let image = self.image(entry).map_err(|why| Skipped::new(&entry.path, why))?;
        Ok(Record::Captioned(Example { image, caption: entry.caption.clone() }))
    }

    fn held_out_contents(&self) -> Vec<u64> {
        self.entries.of(Split::HeldOut).iter().map(|entry| entry.content).collect()
    }

    fn leave_out(&mut self, held_out: &HashSet<u64>) {
        for entry in self.entries.take_out(|entry| held_out.contains(&entry.content)) {
            self.bad.pass_over(&entry.path, EQUALS_HELD_OUT);
        }
    }

    fn bad_records(&self) -> Vec<&BadRecords> {
        vec![&self.bad]
    }

    fn captions(&self) -> Vec<String> {
        self.entries.of(Split::Train).iter().map(|entry| entry.caption.clone()).collect()
    }

    fn describe(&self, sum: &mut Fingerprint) {
        for entry in self.entries.iter() {
            sum.add(below(&entry.path, &self.root).as_bytes());
            sum.add(entry.caption.as_bytes());
        }
    }
}

fn nothing_found(config: &FolderConfig, bad: &BadRecords) -> DataError {
    let (skipped, first) = bad.skipped_and_first();
    DataError::EmptyFolder {
        path: config.path.clone(),
        nothing: match config.captions {
            Captions::Written | Captions::Folders => {
                "no image with a caption (`captions = \"none\"` takes bare images)"
            }
            Captions::None => "no image",
        },
        extensions: extensions(),
        skipped,
        first,
    }
}

/// Gives every image its place in a cache, however many captions it has.
fn number(train: &mut [Entry], held_out: &mut [Entry]) {
    let of_one = |one: &Entry, next: &Entry| one.path == next.path;
    let images = train.chunk_by_mut(of_one).chain(held_out.chunk_by_mut(of_one));
    for (slot, same) in images.enumerate() {
        same.iter_mut().for_each(|entry| entry.slot = slot);
    }
}

/// The entries of both splits, each in the order of the listing.
#[derive(Default)]
struct Sides {
    train: Vec<Entry>,
    held_out: Vec<Entry>,
}

/// Divides the images; those that are lost decide on others alone.
fn split(entries: Vec<Entry>, lost: &[Entry], config: &FolderConfig, bad: &BadRecords) -> Sides {
    let key = |entry: &Entry| SplitKey {
        content: entry.content,
        held_out: is_held_out(&below(&entry.path, &config.path), config.captions),
    };
    let division = Division::of(entries.iter().chain(lost).map(key));
    let mut sides = Sides::default();
    for entry in entries {
        match division.split(key(&entry)) {
            Some(Split::Train) => sides.train.push(entry),
            Some(Split::HeldOut) => sides.held_out.push(entry),
            None => bad.pass_over(&entry.path, EQUALS_HELD_OUT),
        }
    }
    sides
}

/// Returns whether one of the folders on the path to an image says "held out". Where the name of
/// its own folder is the caption, that name counts as a whole alone: a `test tube` is a thing.
fn is_held_out(below: &str, captions: Captions) -> bool {
    let mut folders: Vec<&str> = below.split('/').collect();
    folders.pop();
    let own = match captions {
        Captions::Folders => folders.pop(),
        Captions::Written | Captions::None => None,
    };
    folders.into_iter().any(says_held_out)
        || own.is_some_and(|name| HELD_OUT.contains(&name.to_lowercase().as_str()))
}

#[cfg(test)]
mod tests;
