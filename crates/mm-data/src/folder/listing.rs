//! What a folder holds: its images, and their captions.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value};

use super::Captions;
use crate::bad_records::BadRecords;
use crate::error::DataError;
use crate::files;
use crate::image::{EXTENSIONS, UNREAD_EXTENSIONS, caption, chain};
use crate::split::split_hash;

const METADATA: &str = "metadata.jsonl";
/// What else Hugging Face's imagefolder may have in its place.
const UNREAD: &[&str] = &["metadata.csv", "metadata.parquet"];
/// The most bytes that are read of a `NAME.txt`, of which a caption may have far fewer.
const MOST_CAPTION_FILE_BYTES: u64 = 1 << 20;

/// An image with its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) caption: String,
    /// Changes when the file changes: a hash of where it lies in the folder, its length and its
    /// time of modification.
    pub(super) stamp: u64,
    /// The slot of its image in a cache; given once the parts are known.
    pub(super) slot: usize,
}

/// What was found in a folder.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    root: &'a Path,
    bad: &'a BadRecords,
    images: Vec<(PathBuf, u64)>,
    metadata: Vec<PathBuf>,
    /// Files such as `NAME.TXT`, by the name with the usual ending.
    texts: HashMap<PathBuf, PathBuf>,
    /// Metadata in a form that is not read.
    unread: Option<&'static str>,
}

impl<'a> Listing<'a> {
    /// Lists a folder and, sorted, all that is below it. Only the folder itself must be readable.
    pub(super) fn of(root: &'a Path, bad: &'a BadRecords) -> Result<Self, DataError> {
        let (images, metadata, texts) = (vec![], vec![], HashMap::new());
        let mut listing = Self { root, bad, images, metadata, texts, unread: None };
        listing.walk(root).map_err(DataError::Read)?;
        Ok(listing)
    }

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
                Err(error) => self.bad.broken(&path, chain(&error)),
                Ok(found) if found.is_dir() => {
                    if let Err(error) = self.walk(&path) {
                        self.bad.broken(&path, chain(&error));
                    }
                }
                Ok(found) if found.is_symlink() && path.is_dir() => {
                    self.bad.pass_over(&path, "a link to a folder, not followed");
                }
                Ok(_) => self.file(path),
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf) {
        let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
        let extension = extension.unwrap_or_default();
        let named = |name: &&str| path.file_name() == Some(OsStr::new(*name));
        let unread = UNREAD.iter().copied().find(named);
        if unread.is_some() {
            self.unread = unread;
            self.bad.pass_over(&path, format!("not read: captions may be in `{METADATA}`"));
        } else if path.file_name() == Some(OsStr::new(METADATA)) {
            self.metadata.push(path);
        } else if UNREAD_EXTENSIONS.contains(&extension.as_str()) {
            let why = format!("`.{extension}` images are not read, wanted {}", extensions());
            self.bad.broken(&path, why);
        } else if EXTENSIONS.contains(&extension.as_str()) {
            match fs_err::metadata(&path) {
                Err(error) => self.bad.broken(&path, chain(&error)),
                Ok(found) if !found.is_file() => self.bad.broken(&path, "it is no regular file"),
                Ok(found) if found.len() == 0 => self.bad.broken(&path, "the file is empty"),
                Ok(found) => {
                    let stamp = stamp(&below(&path, self.root), &found);
                    self.images.push((path, stamp));
                }
            }
        } else if extension != "txt" {
            let why = format!("not an image: the name ends in none of {}", extensions());
            self.bad.pass_over(&path, why);
        } else if path.extension() != Some(OsStr::new("txt")) {
            self.texts.insert(path.with_extension("txt"), path);
        }
    }

    /// The images with their captions; `field` of a line of metadata is one.
    pub(super) fn entries(self, captions: Captions, field: &str) -> Result<Vec<Entry>, DataError> {
        Ok(match captions {
            Captions::Written => self.written_captions(field)?,
            Captions::Folders => self.folder_captions(),
            Captions::None => self.no_captions(),
        })
    }

    /// Images with the captions of `metadata.jsonl` files and of `NAME.txt` files. One that cannot
    /// be read is an error: it would take the captions of any number of images with it.
    fn written_captions(self, field: &str) -> Result<Vec<Entry>, DataError> {
        let mut listed = HashMap::new();
        for path in &self.metadata {
            let text =
                read_text(path).map_err(|why| DataError::Metadata { path: path.clone(), why })?;
            metadata_lines(path, &text, field, &mut listed, self.bad);
        }
        let unread = self.unread.map_or(String::new(), |name| format!(" (`{name}` is not read)"));
        let mut entries = Vec::new();
        for (path, stamp) in self.images {
            let found = match listed.remove(&path) {
                Some(captions) => Ok(Some(captions)),
                None => caption_beside(&path, &self.texts).map(|one| one.map(|text| vec![text])),
            };
            match found {
                Ok(Some(captions)) if captions.iter().all(String::is_empty) => {
                    self.bad.pass_over(&path, "its caption is empty");
                }
                Ok(Some(captions)) => {
                    let words = captions.into_iter().filter(|caption| !caption.is_empty());
                    entries.extend(words.map(|caption| Entry {
                        path: path.clone(),
                        caption,
                        stamp,
                        slot: 0,
                    }));
                }
                Ok(None) => {
                    let beside = path.with_extension("txt");
                    let name = beside.file_name().unwrap_or_default().to_string_lossy();
                    let why =
                        format!("no caption: neither `{name}` nor a line of `{METADATA}`{unread}");
                    self.bad.pass_over(&path, why);
                }
                Err(why) => self.bad.broken(&path, why),
            }
        }
        let named = [self.bad.broken_ones(), self.bad.passed_over()].concat();
        let known: HashSet<PathBuf> = named.into_iter().map(|skipped| skipped.path).collect();
        for path in listed.into_keys().filter(|path| !known.contains(path)) {
            let why = format!("named in `{METADATA}`, but there is no such image");
            self.bad.broken(&path, why);
        }
        Ok(entries)
    }

    /// Images with the names of the folders they are in.
    fn folder_captions(self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (path, stamp) in self.images {
            let parent =
                path.parent().filter(|parent| *parent != self.root).and_then(Path::file_name);
            match parent.map(|name| name.to_str().map(str::to_owned)) {
                Some(Some(caption)) => entries.push(Entry { path, caption, stamp, slot: 0 }),
                Some(None) => self.bad.broken(&path, "the name of its folder is not UTF-8"),
                None => self
                    .bad
                    .pass_over(&path, "it is in no sub-folder whose name could be its caption"),
            }
        }
        entries
    }

    fn no_captions(self) -> Vec<Entry> {
        let bare = |(path, stamp)| Entry { path, caption: String::new(), stamp, slot: 0 };
        self.images.into_iter().map(bare).collect()
    }
}

/// Reads the lines of a `metadata.jsonl` whose caption is `field`; an image may have several.
fn metadata_lines(
    path: &Path,
    text: &str,
    field: &str,
    listed: &mut HashMap<PathBuf, Vec<String>>,
    bad: &BadRecords,
) {
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let found = metadata_line(line, field);
        match found.and_then(|(name, text)| Ok((name, caption(text.into_bytes())?))) {
            Ok((name, caption)) => {
                let captions = listed.entry(path.with_file_name(name)).or_default();
                if !captions.contains(&caption) {
                    captions.push(caption);
                }
            }
            Err(why) => bad.broken(path, format!("line {}: {why}", number + 1)),
        }
    }
}

/// The file's name and its caption.
fn metadata_line(line: &str, field: &str) -> Result<(String, String), String> {
    let found: Map<String, Value> = serde_json::from_str(line).map_err(|why| why.to_string())?;
    let text = |name: &str| found.get(name).and_then(Value::as_str).map(str::to_owned);
    let lacks = |name: &str, set: &str| {
        let names: Vec<String> = found.keys().map(|name| format!("`{name}`")).collect();
        format!("it has no text `{name}`{set}, it has {}", names.join(", "))
    };
    let name = text("file_name").ok_or_else(|| lacks("file_name", ""))?;
    let caption = text(field).ok_or_else(|| lacks(field, " (named by the setting `caption`)"))?;
    Ok((name, caption))
}

/// The caption in `NAME.txt`, or in one of `texts`, whose ending is written otherwise, if such a
/// file is there.
fn caption_beside(
    image: &Path,
    texts: &HashMap<PathBuf, PathBuf>,
) -> Result<Option<String>, String> {
    let usual = image.with_extension("txt");
    let path = texts.get(&usual).filter(|_| !usual.exists()).unwrap_or(&usual);
    match files::read_all(path, MOST_CAPTION_FILE_BYTES) {
        Ok(bytes) if std::str::from_utf8(&bytes).is_err() => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Err(format!("its caption `{name}` is not UTF-8"))
        }
        Ok(bytes) => caption(bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(chain(&error)),
    }
}

/// A UTF-8 file, without a byte-order mark, or which line is none.
fn read_text(path: &Path) -> Result<String, String> {
    let bytes = files::read_all(path, u64::MAX).map_err(|error| chain(&error))?;
    let text = String::from_utf8(bytes).map_err(|why| {
        let before = &why.as_bytes()[..why.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8, wanted the file to be saved as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn stamp(below: &str, found: &std::fs::Metadata) -> u64 {
    let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    split_hash(&format!("{below} {} {modified:?}", found.len()))
}

/// A path from the folder on, written with `/` on every system.
pub(super) fn below(path: &Path, root: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = below.iter().map(OsStr::to_string_lossy).collect();
    parts.join("/")
}

/// The endings of image files as words.
pub(super) fn extensions() -> String {
    EXTENSIONS.iter().map(|name| format!("`.{name}`")).collect::<Vec<_>>().join(", ")
}
