//! A folder of image files, for training on one's own pictures.
//!
//! Captions come from `NAME.txt` beside `NAME.png`, from `metadata.jsonl` (one `{"file_name": …, "text": …}` a line, the
//! layout of Hugging Face's imagefolder, or with another field than `text`), or, on request, from the names of sub-folders; or there are none. Sub-folders are
//! searched, files are sorted, so the same files give the same indices on any machine. Hidden files and linked folders are
//! passed over. A picture with several lines of metadata is a record with each of its captions.
//!
//! Files are listed and captions read when the folder is opened; images are read on access, and may be kept fitted in a
//! cache ([`FolderConfig::cache`]). Whatever cannot be used is left out and named in [`FolderSet::skipped`].

mod cache;
mod listing;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use mm_patch::Image;
use serde::{Deserialize, Serialize};

use self::cache::Cache;
use self::listing::{Entry, Listing, below, extensions};
use super::checksum::Checksum;
use super::ledger::{Ledger, Skipped, Tally, check_max_bad, one_percent};
use super::picture::{Frame, PictureFit, chain, white};
use super::{DataError, Example, ImageSettings, Split, files, split_hash};

/// Names of the sub-folder of training pictures, and of those that are held out, where a folder brings its own parts.
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
    pub fit: PictureFit,
    /// The colour behind transparent pixels and around padded images.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// A file that keeps fitted pixels, so that each picture is decoded once; made if it is not there, and refused if it is a
    /// file of another kind. A picture that changed, or other settings, are noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// The share of the pictures that may be broken.
    #[serde(default = "one_percent")]
    pub max_bad: f64,
}

/// Where captions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Captions {
    /// A line of `metadata.jsonl` in the image's folder or above it, otherwise `NAME.txt` beside the image.
    #[default]
    Written,
    /// The name of the folder that the image is in.
    Folders,
    /// All captions are empty, and any folder of pictures will do.
    None,
}

fn caption_field() -> String {
    "text".into()
}

impl FolderConfig {
    /// A folder with the defaults.
    pub fn of(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            captions: Captions::default(),
            caption: caption_field(),
            fit: PictureFit::default(),
            background: white(),
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
                wanted: "a field of `metadata.jsonl`; bare pictures have `captions = \"none\"`",
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
    train: Vec<Entry>,
    held_out: Vec<Entry>,
    cache: Option<Cache>,
    /// Whether the cache takes new pictures: no more after a full disk.
    caching: AtomicBool,
    books: Ledger,
}

impl FolderSet {
    /// Lists the images and reads the captions.
    ///
    /// Where the folder has a sub-folder `train` and one named `valid`, `val`, `validation` or `test`, pictures below the
    /// latter are held out. Otherwise a tenth (rounded down) of the images is, with all their captions: those whose path below
    /// the folder has the smallest [`split_hash`]. Fewer than ten images hold nothing out.
    pub fn open(config: &FolderConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, image)?;
        let books = Ledger::new("folder", config.max_bad);
        let listing = Listing::of(&config.path, &books)?;
        let entries = listing.entries(config.captions, &config.caption)?;
        if entries.is_empty() {
            return Err(nothing_found(config, &books));
        }
        let pictures = entries.chunk_by(|one, next| one.path == next.path).count();
        let books = books.opened(pictures)?;
        let cache = match &config.cache {
            Some(path) => Some(Cache::open(path, &frame)?),
            None => None,
        };
        let (mut held_out, mut train) = split(entries, config);
        number(&mut train, &mut held_out);
        let (root, caching) = (config.path.clone(), AtomicBool::new(true));
        Ok(Self { root, frame, train, held_out, cache, caching, books })
    }

    /// How many images of the part were listed, each as often as it has captions, those included that later prove unreadable.
    pub fn len(&self, split: Split) -> u64 {
        self.entries(split).len() as u64
    }

    /// The image of an index, which wraps around, or the next one that can be read.
    pub fn example(&self, split: Split, index: u64) -> Result<Example, DataError> {
        let entries = self.entries(split);
        if entries.is_empty() {
            return Err(DataError::EmptySplit { split: split.name(), source_name: "folder" });
        }
        self.books.first_good(entries.len(), index, |at| self.item(split, at))
    }

    /// The image of an index of a part that is not empty, if it can be read.
    pub(super) fn exact(&self, split: Split, index: u64) -> Option<Example> {
        self.books.exactly(self.entries(split).len(), index, |at| self.item(split, at))
    }

    /// The captions of the training part.
    pub fn captions(&self) -> Vec<String> {
        self.train.iter().map(|entry| entry.caption.clone()).collect()
    }

    /// What was left out so far, sorted by path: at opening, and by every [`Self::example`] since.
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

    /// Adds the pictures' names and captions.
    pub(super) fn add_to(&self, sum: &mut Checksum) {
        for entry in self.train.iter().chain(&self.held_out) {
            sum.add(below(&entry.path, &self.root).as_bytes());
            sum.add(entry.caption.as_bytes());
        }
    }

    fn entries(&self, split: Split) -> &[Entry] {
        match split {
            Split::Train => &self.train,
            Split::HeldOut => &self.held_out,
        }
    }

    fn item(&self, split: Split, at: usize) -> Result<Example, Skipped> {
        let entry = &self.entries(split)[at];
        let image = self.load(entry).map_err(|why| Skipped::new(&entry.path, why))?;
        Ok(Example { image, caption: entry.caption.clone() })
    }

    fn load(&self, entry: &Entry) -> Result<Image, String> {
        let slot = entry.slot;
        if let Some(image) = self.cache.as_ref().and_then(|cache| cache.get(slot, entry.stamp)) {
            return Ok(image);
        }
        let file = files::read_all(&entry.path, self.frame.most_bytes()).map_err(|e| chain(&e))?;
        let image = self.frame.picture(&file)?;
        if let Some(cache) = self.cache.as_ref().filter(|_| self.caching.load(Ordering::Relaxed))
            && let Err(why) = cache.put(slot, entry.stamp, &image)
        {
            self.caching.store(false, Ordering::Relaxed);
            let why = format!("the cache takes no more pictures: {why}");
            self.books.pass_over(&entry.path, why);
        }
        Ok(image)
    }
}

fn nothing_found(config: &FolderConfig, books: &Ledger) -> DataError {
    let skipped = books.skipped();
    let first = skipped.first().map(|file| format!(": `{}`: {}", file.path.display(), file.why));
    DataError::EmptyFolder {
        path: config.path.clone(),
        nothing: match config.captions {
            Captions::Written | Captions::Folders => {
                "no image with a caption (`captions = \"none\"` takes bare pictures)"
            }
            Captions::None => "no image",
        },
        extensions: extensions(),
        skipped: skipped.len(),
        first: first.unwrap_or_default(),
    }
}

/// Gives every picture its place in a cache, however many captions it has.
fn number(train: &mut [Entry], held_out: &mut [Entry]) {
    let of_one = |one: &Entry, next: &Entry| one.path == next.path;
    let pictures = train.chunk_by_mut(of_one).chain(held_out.chunk_by_mut(of_one));
    for (slot, same) in pictures.enumerate() {
        same.iter_mut().for_each(|entry| entry.slot = slot);
    }
}

/// The held-out images and the others, each in the order of `entries`.
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
    hashes.dedup(); // of a picture with several captions
    let bound = hashes[hashes.len() / 10];
    entries.into_iter().partition(|entry| hash(entry) < bound)
}

#[cfg(test)]
mod tests;
