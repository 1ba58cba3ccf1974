//! A folder of image files with captions, for training on one's own pictures.
//!
//! Captions come from `NAME.txt` beside `NAME.png`, from `metadata.jsonl` (one `{"file_name": …, "text": …}` a line, the
//! layout of Hugging Face's imagefolder), or, on request, from the names of sub-folders. Sub-folders are searched, files
//! are sorted, so the same files give the same indices on any machine. Hidden files and linked folders are passed over.
//!
//! Files are listed and captions read when the folder is opened; images are read on access. Whatever cannot be used is
//! left out and named in [`FolderSet::skipped`]; nothing of it stops a run as long as one image can be read.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mm_patch::{DecodeOptions, Fit, Image};
use serde::{Deserialize, Serialize};

use super::{DataError, Example, ImageSettings, Split, split_hash};

/// The file name endings that count as images, in any case.
pub const EXTENSIONS: &[&str] = &["png", "jpg", "jpeg", "webp", "gif", "bmp"];

const METADATA: &str = "metadata.jsonl";

/// Settings of [`FolderSet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderConfig {
    /// The folder, searched with all that is below it.
    pub path: PathBuf,
    /// Where captions come from.
    #[serde(default)]
    pub captions: Captions,
    /// How images of other shapes are made to fit.
    #[serde(default)]
    pub fit: FolderFit,
    /// The colour behind transparent pixels and around padded images.
    #[serde(default = "white")]
    pub background: [u8; 3],
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
}

/// How images of other shapes are made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FolderFit {
    /// Fill the picture, cut what stands out.
    #[default]
    CentreCrop,
    /// Show all of the image, fill the rest with the background.
    Pad,
}

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl FolderConfig {
    /// Checks what the types do not; touches no file.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.path.as_os_str().is_empty() {
            return Err(DataError::Setting {
                field: "path",
                found: String::new(),
                wanted: "a folder of images",
            });
        }
        Ok(())
    }
}

fn white() -> [u8; 3] {
    [255; 3]
}

/// The captioned images of a folder.
#[derive(Debug)]
pub struct FolderSet {
    path: PathBuf,
    patch: usize,
    fit: Fit,
    decoding: DecodeOptions,
    train: Vec<Entry>,
    held_out: Vec<Entry>,
    skipped: Mutex<BTreeSet<Skipped>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    path: PathBuf,
    caption: String,
}

impl FolderSet {
    /// Lists the images and reads the captions.
    ///
    /// Held out is a tenth (rounded down) of the images: those whose path below the folder has the smallest
    /// [`split_hash`]. Fewer than ten images hold nothing out.
    pub fn open(config: &FolderConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        image.validate()?;
        let ImageSettings { width, height, patch } = image;
        let mut listing = Listing::default();
        listing.walk(&config.path).map_err(DataError::Read)?;
        let entries = match config.captions {
            Captions::Written => listing.written_captions(),
            Captions::Folders => listing.folder_captions(&config.path),
        };
        if entries.is_empty() {
            return Err(listing.nothing_found(&config.path));
        }
        let (held_out, train) = split(entries, &config.path);
        let background = config.background;
        let fit = match config.fit {
            FolderFit::CentreCrop => Fit::CentreCrop { width, height },
            FolderFit::Pad => Fit::Pad { width, height, background },
        };
        let decoding = DecodeOptions { background, ..DecodeOptions::default() };
        let skipped = Mutex::new(listing.skipped);
        Ok(Self { path: config.path.clone(), patch, fit, decoding, train, held_out, skipped })
    }

    /// How many images of the part were listed, those included that later prove unreadable.
    pub fn len(&self, split: Split) -> u64 {
        self.entries(split).len() as u64
    }

    /// The image of an index, which wraps around, or the next one that can be read.
    pub fn example(&self, split: Split, index: u64) -> Result<Example, DataError> {
        let entries = self.entries(split);
        if entries.is_empty() {
            return Err(DataError::EmptySplit { split: split.name(), source_name: "folder" });
        }
        let start = (index % entries.len() as u64) as usize;
        let mut first = None;
        for entry in entries[start..].iter().chain(&entries[..start]) {
            match self.load(&entry.path) {
                Ok(image) => return Ok(Example { image, caption: entry.caption.clone() }),
                Err(why) => {
                    first.get_or_insert_with(|| why.clone());
                    let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
                    skipped.insert(Skipped { path: entry.path.clone(), why });
                }
            }
        }
        let why = first.unwrap_or_default();
        Err(DataError::AllBroken { path: self.path.clone(), files: entries.len(), why })
    }

    /// The captions of the training part.
    pub fn captions(&self) -> Vec<String> {
        self.train.iter().map(|entry| entry.caption.clone()).collect()
    }

    /// What was left out so far, sorted by path: at opening, and by every [`Self::example`] since.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn entries(&self, split: Split) -> &[Entry] {
        match split {
            Split::Train => &self.train,
            Split::HeldOut => &self.held_out,
        }
    }

    fn load(&self, path: &Path) -> Result<Image, String> {
        let bytes = fs_err::metadata(path).map_err(|error| chain(&error))?.len();
        if bytes > self.decoding.max_bytes {
            return Err(format!(
                "the file has {bytes} bytes, at most {} are read",
                self.decoding.max_bytes
            ));
        }
        let file = fs_err::read(path).map_err(|error| chain(&error))?;
        let image = Image::decode(&file, &self.decoding).map_err(|error| chain(&error))?;
        let (image, _grid) = self.fit.apply(&image, self.patch).map_err(|error| chain(&error))?;
        Ok(image)
    }
}

/// What was found in a folder.
#[derive(Debug, Default)]
struct Listing {
    images: Vec<PathBuf>,
    metadata: Vec<PathBuf>,
    skipped: BTreeSet<Skipped>,
}

impl Listing {
    fn skip(&mut self, path: &Path, why: impl Into<String>) {
        self.skipped.insert(Skipped { path: path.into(), why: why.into() });
    }

    /// Lists a folder and, sorted, all that is below it. Only the folder itself must be readable.
    fn walk(&mut self, folder: &Path) -> io::Result<()> {
        let mut inside: Vec<PathBuf> = Vec::new();
        for entry in fs_err::read_dir(folder)? {
            inside.push(entry?.path());
        }
        inside.sort();
        for path in inside {
            let hidden =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            match fs_err::symlink_metadata(&path) {
                _ if hidden => {}
                Err(error) => self.skip(&path, chain(&error)),
                Ok(found) if found.is_dir() => {
                    if let Err(error) = self.walk(&path) {
                        self.skip(&path, chain(&error));
                    }
                }
                Ok(_) => self.file(path),
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf) {
        let extension = path
            .extension()
            .and_then(OsStr::to_str)
            .map(str::to_ascii_lowercase)
            .unwrap_or_default();
        if path.file_name() == Some(OsStr::new(METADATA)) {
            self.metadata.push(path);
        } else if EXTENSIONS.contains(&extension.as_str()) {
            match fs_err::metadata(&path) {
                Err(error) => self.skip(&path, chain(&error)),
                Ok(found) if found.is_dir() => {}
                Ok(found) if found.len() == 0 => self.skip(&path, "the file is empty"),
                Ok(_) => self.images.push(path),
            }
        } else if extension != "txt" {
            self.skip(&path, format!("not an image: the name ends in none of {}", extensions()));
        }
    }

    /// Images with the captions of `metadata.jsonl` files and of `NAME.txt` files.
    fn written_captions(&mut self) -> Vec<Entry> {
        let mut listed = HashMap::new();
        for path in std::mem::take(&mut self.metadata) {
            match read_text(&path) {
                Ok(text) => self.metadata_lines(&path, &text, &mut listed),
                Err(error) => self.skip(&path, chain(&error)),
            }
        }
        let mut entries = Vec::new();
        for path in std::mem::take(&mut self.images) {
            match listed.remove(&path).map_or_else(|| caption_beside(&path), Ok) {
                Ok(caption) if caption.trim().is_empty() => {
                    self.skip(&path, "its caption is empty")
                }
                Ok(caption) => entries.push(Entry { path, caption: caption.trim().into() }),
                Err(why) => self.skip(&path, why),
            }
        }
        for (path, _) in listed {
            if !self.skipped.iter().any(|skipped| skipped.path == path) {
                self.skip(&path, format!("named in `{METADATA}`, but there is no such image"));
            }
        }
        entries
    }

    fn metadata_lines(&mut self, path: &Path, text: &str, listed: &mut HashMap<PathBuf, String>) {
        #[derive(Deserialize)]
        struct Line {
            file_name: PathBuf,
            text: String,
        }
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str::<Line>(line) {
                Ok(line) => {
                    listed.insert(path.with_file_name(line.file_name), line.text);
                }
                Err(error) => self.skip(path, format!("line {}: {error}", number + 1)),
            }
        }
    }

    /// Images with the names of the folders they are in.
    fn folder_captions(&mut self, root: &Path) -> Vec<Entry> {
        let mut entries = Vec::new();
        for path in std::mem::take(&mut self.images) {
            let parent = path.parent().filter(|parent| *parent != root).and_then(Path::file_name);
            match parent.map(|name| name.to_str().map(str::to_owned)) {
                Some(Some(caption)) => entries.push(Entry { path, caption }),
                Some(None) => self.skip(&path, "the name of its folder is not UTF-8"),
                None => self.skip(&path, "it is in no sub-folder whose name could be its caption"),
            }
        }
        entries
    }

    fn nothing_found(&self, path: &Path) -> DataError {
        let first =
            self.skipped.first().map(|file| format!(": `{}`: {}", file.path.display(), file.why));
        DataError::EmptyFolder {
            path: path.into(),
            extensions: extensions(),
            skipped: self.skipped.len(),
            first: first.unwrap_or_default(),
        }
    }
}

/// The held-out images and the others, each in the order of `entries`.
fn split(entries: Vec<Entry>, root: &Path) -> (Vec<Entry>, Vec<Entry>) {
    let hash = |entry: &Entry| {
        let below = entry.path.strip_prefix(root).unwrap_or(&entry.path);
        let parts: Vec<_> = below.iter().map(OsStr::to_string_lossy).collect();
        split_hash(&parts.join("/"))
    };
    let mut hashes: Vec<u64> = entries.iter().map(hash).collect();
    hashes.sort_unstable();
    let bound = hashes[entries.len() / 10];
    entries.into_iter().partition(|entry| hash(entry) < bound)
}

fn caption_beside(image: &Path) -> Result<String, String> {
    let path = image.with_extension("txt");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    read_text(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("no caption: neither `{name}` nor a line of `{METADATA}`")
        }
        io::ErrorKind::InvalidData => format!("its caption `{name}` is not UTF-8"),
        _ => chain(&error),
    })
}

/// A UTF-8 file, without a byte-order mark.
fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(fs_err::read(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn extensions() -> String {
    EXTENSIONS.iter().map(|name| format!("`.{name}`")).collect::<Vec<_>>().join(", ")
}

/// An error and its causes on one line.
fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests;
