//! What a folder holds: its images, and their captions.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;

use super::Captions;
use super::metadata::{self, Captioned, Fault, Written};
use crate::bad_records::BadRecords;
use crate::caption::{caption, json_object, keys, of_field};
use crate::error::DataError;
use crate::files;
use crate::image::{EXTENSIONS, UNREAD_EXTENSIONS, chain};
use crate::split::split_hash;

/// The endings of a file beside an image that holds its caption, in the order in which they are
/// looked for.
const BESIDE: &[&str] = &["txt", "caption", "json"];
/// The fields of a `NAME.json` that hold a caption, behind the one that the settings name.
const FIELDS: &[&str] = &["caption", "text"];
/// The most bytes that are read of such a file, of which a caption may have far fewer.
const MOST_CAPTION_FILE_BYTES: u64 = 1 << 20;
/// What Windows leaves in folders.
const JUNK: &[&str] = &["thumbs.db", "desktop.ini"];

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
    /// A hash of the file's bytes, see [`files::content_hash`].
    pub(super) content: u64,
}

/// An image file.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    stamp: u64,
    content: u64,
}

impl Found {
    fn entry(&self, caption: String) -> Entry {
        let Self { path, stamp, content } = self;
        Entry { path: path.clone(), caption, stamp: *stamp, slot: 0, content: *content }
    }
}

/// A file that may hold the caption of an image beside it.
#[derive(Debug)]
struct Beside {
    path: PathBuf,
    /// Whether there is such an image.
    used: bool,
}

/// What was found in a folder.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    root: &'a Path,
    bad: &'a BadRecords,
    images: Vec<Found>,
    metadata: Vec<PathBuf>,
    /// Files such as `NAME.TXT`, by the name with the usual ending.
    beside: HashMap<PathBuf, Beside>,
    /// Metadata in a form that is not read.
    unread: Option<&'static str>,
    /// Images without a caption.
    lost: Vec<Found>,
}

/// The records of a folder.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) entries: Vec<Entry>,
    /// Images that are none, since they lack captions; they still hold out what equals them.
    pub(super) lost: Vec<Entry>,
}

impl<'a> Listing<'a> {
    /// Lists a folder and, sorted, all that is below it. Only the folder itself must be readable.
    pub(super) fn of(root: &'a Path, bad: &'a BadRecords) -> Result<Self, DataError> {
        let (images, metadata, beside) = (vec![], vec![], HashMap::new());
        let mut listing = Self { root, bad, images, metadata, beside, unread: None, lost: vec![] };
        listing.walk(root).map_err(DataError::Read)?;
        listing.images.par_iter_mut().for_each(|image| {
            image.content = files::content_of_file(&image.path)
                .unwrap_or_else(|_| split_hash(&below(&image.path, root)));
        });
        Ok(listing)
    }

    fn walk(&mut self, folder: &Path) -> io::Result<()> {
        for path in files::sorted(folder)? {
            match fs_err::symlink_metadata(&path) {
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
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(unread) = metadata::UNREAD.iter().copied().find(|unread| *unread == name) {
            self.unread = Some(unread);
            self.bad.pass_over(&path, format!("not read: captions may be in {}", metadata_names()));
        } else if metadata::NAMES.contains(&name.as_str()) {
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
                    self.images.push(Found { path, stamp, content: 0 });
                }
            }
        } else if BESIDE.contains(&extension.as_str()) {
            let usual = path.with_extension(&extension);
            if usual == path || !self.beside.contains_key(&usual) {
                self.beside.insert(usual, Beside { path, used: false });
            }
        } else if !JUNK.contains(&name.to_ascii_lowercase().as_str()) {
            let why = format!("not an image: the name ends in none of {}", extensions());
            self.bad.pass_over(&path, why);
        }
    }

    /// The images with their captions; `field` of a line of metadata is one.
    pub(super) fn entries(mut self, captions: Captions, field: &str) -> Result<Entries, DataError> {
        let entries = match captions {
            Captions::Written => self.written_captions(field)?,
            Captions::Folders => self.folder_captions(),
            Captions::None => self.images.iter().map(|one| one.entry(String::new())).collect(),
        };
        let lost = self.lost.iter().map(|one| one.entry(String::new())).collect();
        Ok(Entries { entries, lost })
    }

    /// Images with the captions of files of metadata and of the files beside them. An image
    /// without one is lost, and counts as broken.
    fn written_captions(&mut self, field: &str) -> Result<Vec<Entry>, DataError> {
        let mut listed = Captioned::new();
        for path in &self.metadata {
            metadata::read(path, field, &mut listed, self.bad)?;
        }
        let unread = self.unread.map_or(String::new(), |name| format!(" (`{name}` is not read)"));
        // Where a line of metadata cannot be read, nobody knows whose it was.
        let torn = self.bad.broken_ones().into_iter().find(|one| self.metadata.contains(&one.path));
        let torn = torn.map(|one| format!("; in `{}`: {}", below(&one.path, self.root), one.why));
        let unread = unread + &torn.unwrap_or_default();
        let mut entries = Vec::new();
        for image in std::mem::take(&mut self.images) {
            let written = listed.remove(&image.path);
            let (captions, mut faults) = written
                .map_or((None, vec![]), |Written { captions, faults }| (Some(captions), faults));
            let beside = self.beside(&image.path, field);
            let found = match (captions, beside) {
                (Some(captions), _) if !captions.is_empty() => Ok(Some(captions)),
                (Some(_), Ok(None)) => match faults.pop() {
                    Some(Fault { path, why }) => {
                        Err(format!("no caption: {}: {why}", below(&path, self.root)))
                    }
                    None => Ok(Some(vec![])),
                },
                (_, beside) => beside,
            };
            for Fault { path, why } in faults {
                self.bad.broken(&path, why);
            }
            let why = match found {
                Ok(Some(captions)) if captions.is_empty() => "its caption is empty".to_owned(),
                Ok(Some(captions)) => {
                    entries.extend(captions.into_iter().map(|caption| image.entry(caption)));
                    continue;
                }
                Ok(None) => {
                    let beside = image.path.with_extension("txt");
                    let name = beside.file_name().unwrap_or_default().to_string_lossy();
                    format!(
                        "no caption: neither `{name}` nor a line of {}{unread}",
                        metadata_names()
                    )
                }
                Err(why) => why,
            };
            self.bad.broken(&image.path, why);
            self.lost.push(image);
        }
        let known: HashSet<PathBuf> =
            self.bad.broken_ones().into_iter().map(|skipped| skipped.path).collect();
        for path in listed.into_keys().filter(|path| !known.contains(path)) {
            self.bad.broken(&path, "named in the metadata, but there is no such image");
        }
        for Beside { path, .. } in self.beside.values().filter(|file| !file.used) {
            self.bad.pass_over(path, "no image: nothing beside it has its name");
        }
        Ok(entries)
    }

    /// Returns the captions in `NAME.txt`, `NAME.caption` or `NAME.json` beside the image
    /// `NAME.png`, or in `NAME.png.txt` and so on: of the first that is not empty. `None` where
    /// there is no such file.
    fn beside(&mut self, image: &Path, field: &str) -> Result<Option<Vec<String>>, String> {
        let mut found = None;
        let whole = image.extension().unwrap_or_default().to_string_lossy().into_owned();
        for ending in BESIDE {
            for usual in
                [image.with_extension(ending), image.with_extension(format!("{whole}.{ending}"))]
            {
                let Some(Beside { path, used }) = self.beside.get_mut(&usual) else { continue };
                *used = true;
                if found.as_ref().is_none_or(Vec::is_empty) {
                    found = Some(captions_in(path, field)?);
                }
            }
        }
        Ok(found)
    }

    /// Images with the names of the folders they are in.
    fn folder_captions(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for image in &self.images {
            let parent =
                image.path.parent().filter(|parent| *parent != self.root).and_then(Path::file_name);
            match parent.map(|name| name.to_str().map(str::to_owned)) {
                Some(Some(caption)) => entries.push(image.entry(caption)),
                Some(None) => self.bad.broken(&image.path, "the name of its folder is not UTF-8"),
                None => self
                    .bad
                    .broken(&image.path, "it is in no sub-folder whose name could be its caption"),
            }
        }
        entries
    }
}

/// Returns the captions in a file beside an image.
fn captions_in(path: &Path, field: &str) -> Result<Vec<String>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = files::read_all(path, MOST_CAPTION_FILE_BYTES).map_err(|error| chain(&error))?;
    if std::str::from_utf8(&bytes).is_err() {
        return Err(format!("its caption `{name}` is not UTF-8"));
    }
    if !path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
        return caption(bytes)
            .map(|text| Some(text).filter(|text| !text.is_empty()))
            .map(|text| text.into_iter().collect());
    }
    let object = json_object(&bytes).map_err(|why| format!("its caption `{name}`: {why}"))?;
    let there =
        [field].into_iter().chain(FIELDS.iter().copied()).filter(|key| object.contains_key(*key));
    let mut there = there.peekable();
    match there.peek() {
        Some(_) => there
            .map(|key| of_field(&object, key, "").map_err(|why| format!("`{name}`: {why}")))
            .find(|found| !found.as_ref().is_ok_and(Vec::is_empty))
            .unwrap_or(Ok(vec![])),
        None => Err(format!("its caption `{name}` has no `{field}`, it has {}", keys(&object))),
    }
}

/// The names of files of metadata as words.
fn metadata_names() -> String {
    metadata::NAMES.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
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
