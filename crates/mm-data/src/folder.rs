//! A folder of image files, for training on one's own images.
//!
//! Captions come from `NAME.txt` beside `NAME.png`, from `metadata.jsonl` (one `{"file_name": …,
//! "text": …}` a line, the layout of Hugging Face's imagefolder, or with another field than
//! `text`), or, on request, from the names of sub-folders; or there are none. Sub-folders are
//! searched, files are sorted, so the same files give the same indices on any machine. Hidden files
//! and linked folders are passed over. An image with several lines of metadata is a record with
//! each of its captions.
//!
//! Files are listed and captions read when the folder is opened; images are read on access, and may
//! be kept fitted in a cache ([`FolderConfig::cache`]). Whatever cannot be used is left out and
//! named in [`FolderSet::skipped`].

mod cache;
mod listing;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use mm_patch::Image;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::cache::Cache;
use self::listing::{Entry, Listing, below, extensions};
use crate::bad_records::{BadRecords, Skipped, check_max_bad, one_percent};
use crate::error::DataError;
use crate::files;
use crate::fingerprint::Fingerprint;
use crate::image::{Frame, ImageFit, ImageSettings, chain, most_pixels, white};
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::{Split, Splits, split_hash};

/// Names of the sub-folder of training images, and of those that are held out, where a folder
/// brings its own splits.
const TRAIN: &str = "train";
const HELD_OUT: &[&str] = &["valid", "val", "validation", "test"];

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
    /// A line of `metadata.jsonl` in the image's folder or above it, otherwise `NAME.txt` beside
    /// the image.
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
    /// Where the folder has a sub-folder `train` and one named `valid`, `val`, `validation` or
    /// `test`, images below the latter are held out. Otherwise a tenth (rounded down) of the images
    /// is, with all their captions: those whose path below the folder has the smallest
    /// [`split_hash`]. Fewer than ten images hold nothing out.
    pub fn open(config: &FolderConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, config.max_pixels, image)?;
        let bad = BadRecords::new("folder", config.max_bad);
        let listing = Listing::of(&config.path, &bad)?;
        let entries = listing.entries(config.captions, &config.caption)?;
        if entries.is_empty() {
            return Err(nothing_found(config, &bad));
        }
        let images = entries.chunk_by(|one, next| one.path == next.path).count();
        let bad = bad.opened(images)?;
        let cache = match &config.cache {
            Some(path) => Some(Cache::open(path, &frame)?),
            None => None,
        };
        let (mut held_out, mut train) = split(entries, config);
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

/// Returns the held-out images and the others, each in the order of `entries`.
fn split(entries: Vec<Entry>, config: &FolderConfig) -> (Vec<Entry>, Vec<Entry>) {
    let path = |entry: &Entry| below(&entry.path, &config.path);
    let top = |entry: &Entry| {
        path(entry).split_once('/').map(|(top, _)| top.to_lowercase()).unwrap_or_default()
    };
    let set_aside = |entry: &Entry| HELD_OUT.contains(&top(entry).as_str());
    if entries.iter().any(|entry| top(entry) == TRAIN) && entries.iter().any(set_aside) {
        return entries.into_iter().partition(set_aside);
    }
    let hash = |entry: &Entry| split_hash(&path(entry));
    let mut hashes: Vec<u64> = entries.iter().map(hash).collect();
    hashes.sort_unstable();
    hashes.dedup(); // of an image with several captions
    let bound = hashes[hashes.len() / 10];
    entries.into_iter().partition(|entry| hash(entry) < bound)
}

#[cfg(test)]
mod tests;
