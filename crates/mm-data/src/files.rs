//! Where the streamed sources touch files: names to lists of files, and ranges of bytes out of
//! them.
//!
//! Nothing is held open: a range is read by opening its file anew, which costs microseconds, works
//! with any number of shards and threads, and needs no order.

use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::bad_records::Skipped;
use crate::error::DataError;
use crate::image::EXTENSIONS;
use crate::split::{hash_bytes, says_held_out};

/// An open file, read from some place on.
pub(crate) type Opened = BufReader<fs_err::File>;

/// A range of bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
}

/// A file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    /// Whether its name, or that of a folder that was searched for it, says "held out".
    pub(crate) held_out: bool,
}

/// What patterns name.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// The files of the wanted kinds.
    pub(crate) files: Vec<Listed>,
    /// What else is in the folders that were searched, and why it is not read.
    pub(crate) others: Vec<Skipped>,
}

/// Returns the files that patterns name, each once, sorted within a pattern. A pattern may have
/// `*`, `?`, `[a-z]` and ranges of numbers such as `{000..099}` behind the folders at its beginning
/// that are there by these names; a folder stands for the files in it and below it that end in one
/// of `endings`. Hidden files are passed over. A pattern that names nothing is an error; a plain
/// name, also one out of a range, is a file whether it is there or not, so that a missing one is
/// missed.
pub(crate) fn expand(patterns: &[String], endings: &[&str]) -> Result<Named, DataError> {
    let mut found = Named::default();
    for pattern in patterns {
        let before = found.files.len();
        let (base, paths) = matching(pattern)?;
        for path in paths {
            if path.is_dir() {
                let files = found.files.len();
                inside(&path, endings, &mut found)?;
                found.files[files..].iter_mut().for_each(|file| *file = listed(&file.path, &base));
            } else {
                found.files.push(listed(&path, &base));
            }
        }
        if found.files.len() == before {
            let why = format!("it names no file ending in {}", endings.join(", "));
            return Err(bad_pattern(pattern, why));
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.files.retain(|file| seen.insert(file.path.clone()));
    Ok(found)
}

/// Returns what a pattern names, and the folder in which it begins: the last that it has by name.
fn matching(pattern: &str) -> Result<(PathBuf, Vec<PathBuf>), DataError> {
    let whole = Path::new(pattern);
    let is_there = |path: &&Path| path.as_os_str().is_empty() || path.is_dir();
    let base = whole.ancestors().find(is_there).unwrap_or(Path::new("")).to_owned();
    let rest = whole.strip_prefix(&base).unwrap_or(whole);
    if whole.exists() {
        let base = if whole.is_dir() { base } else { whole.parent().unwrap_or(&base).to_owned() };
        return Ok((base, vec![whole.to_owned()]));
    }
    let mut paths = vec![];
    for plain in braces(&rest.to_string_lossy()).map_err(|why| bad_pattern(pattern, why))? {
        let named = named(&base, &plain);
        paths.extend(named.map_err(|why| bad_pattern(pattern, why.to_string()))?);
    }
    Ok((base, paths))
}

/// Returns a file that was found below a folder.
fn listed(path: &Path, folder: &Path) -> Listed {
    let below = path.strip_prefix(folder).unwrap_or(path);
    let held_out = below.iter().any(|part| says_held_out(&part.to_string_lossy()));
    Listed { path: path.to_owned(), held_out }
}

/// Returns what a pattern without braces names below a folder: itself, or what is there that it
/// fits.
fn named(base: &Path, plain: &str) -> Result<Vec<PathBuf>, glob::PatternError> {
    if !plain.contains(['*', '?', '[']) {
        return Ok(vec![base.join(plain)]);
    }
    let base = glob::Pattern::escape(&base.to_string_lossy());
    let pattern = Path::new(&base).join(plain);
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    Ok(glob::glob_with(&pattern.to_string_lossy(), options)?.filter_map(Result::ok).collect())
}

fn bad_pattern(pattern: &str, why: impl Into<String>) -> DataError {
    DataError::Pattern { pattern: pattern.to_owned(), why: why.into() }
}

fn inside(folder: &Path, endings: &[&str], found: &mut Named) -> Result<(), DataError> {
    for path in sorted(folder).map_err(DataError::Read)? {
        let other = |why: String| Skipped::new(&path, why);
        if path.is_dir() {
            if path.is_symlink() {
                found.others.push(other("a link to a folder, not followed".into()));
            } else {
                inside(&path, endings, found)?;
            }
        } else if endings.contains(&&*ending(&path)) || is_compressed(&path, endings) {
            found.files.push(Listed { path, held_out: false });
        } else {
            let why = format!("not read: its name ends in none of {}", endings.join(", "));
            found.others.push(other(why));
        }
    }
    Ok(())
}

/// Returns whether a name is that of a compressed file of one of the endings, as `a.tar.gz` is:
/// such a file is one of those that are wanted, and its reader refuses it.
fn is_compressed(path: &Path, endings: &[&str]) -> bool {
    const TARS: [&str; 5] = ["tgz", "tbz", "tbz2", "txz", "tzst"];
    const PACKED: [&str; 6] = ["gz", "bz2", "xz", "zst", "lz4", "br"];
    let last = ending(path);
    let is_packed =
        PACKED.contains(&&*last) && endings.contains(&&*ending(&path.with_extension("")));
    is_packed || TARS.contains(&&*last) && endings.contains(&"tar")
}

/// Names the compression of a file by its first bytes.
pub(crate) fn compression(first: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 5] = [
        (b"\x1F\x8B", "gzip"),
        (b"\x28\xB5\x2F\xFD", "Zstandard"),
        (b"\xFD7zXZ\0", "xz"),
        (b"BZh", "bzip2"),
        (b"\x04\x22\x4D\x18", "LZ4"),
    ];
    known.iter().find(|(start, _)| first.starts_with(start)).map(|(_, name)| *name)
}

/// Returns what is in a folder, sorted; what is hidden, as `._a.tar` of macOS is, is passed over.
pub(crate) fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if !is_hidden(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Returns what is behind the last dot of a name, in small letters.
pub(crate) fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Says whether a name is that of an image file: it ends in one of [`EXTENSIONS`], in any case, and
/// is not hidden.
///
/// ```
/// use std::path::Path;
///
/// use mm_data::is_image;
///
/// assert!(is_image(Path::new("photos/a.JPG")));
/// assert!(!is_image(Path::new("photos/._a.jpg")) && !is_image(Path::new("photos/a.txt")));
/// ```
pub fn is_image(path: &Path) -> bool {
    EXTENSIONS.contains(&&*ending(path)) && !is_hidden(path)
}

/// Returns the image files in a folder and below it, sorted in each folder. Hidden files and links
/// to folders are passed over.
pub fn image_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Named::default();
    inside(folder, EXTENSIONS, &mut found)?;
    Ok(found.files.into_iter().map(|file| file.path).collect())
}

/// Returns the names of the folders in a folder; nothing if it is none.
pub(crate) fn folders_in(folder: &Path) -> Vec<String> {
    let found = sorted(folder).unwrap_or_default().into_iter().filter(|path| path.is_dir());
    let names = found.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    names.collect()
}

/// Returns what a pattern names, and what is in and below its folders; nothing if nothing is there.
/// What is hidden is passed over.
pub(crate) fn all_in(pattern: &str) -> Vec<PathBuf> {
    let (_, paths) = matching(pattern).unwrap_or_default();
    paths.into_iter().flat_map(|path| below(&path)).collect()
}

fn below(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        let inside = sorted(path).unwrap_or_default().into_iter();
        inside
            .filter(|path| !path.is_dir() || !path.is_symlink())
            .flat_map(|one| below(&one))
            .collect()
    } else {
        path.exists().then(|| path.to_owned()).into_iter().collect()
    }
}

/// The most shards of one pattern: more is a slip of the pen.
const MOST_SHARDS: u64 = 1_000_000;

/// Writes out the ranges `{from..to}` of a pattern. Numbers are as wide
/// as `from` is written.
fn braces(pattern: &str) -> Result<Vec<String>, &'static str> {
    let Some((before, rest)) = pattern.split_once('{') else { return Ok(vec![pattern.to_owned()]) };
    let wrong = || "wanted a range such as {000..099} in braces";
    let (range, after) = rest.split_once('}').ok_or_else(wrong)?;
    let (from, to) = range.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let (first, last) = (number(from)?, number(to)?);
    if last < first || last - first >= MOST_SHARDS {
        return Err(wrong());
    }
    let tails = braces(after)?;
    let width = from.len();
    Ok((first..=last)
        .flat_map(|at| tails.iter().map(move |tail| format!("{before}{at:0width$}{tail}")))
        .collect())
}

/// Reads the bytes of a range; fewer than it says are an error.
pub(crate) fn read(path: &Path, span: Span) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let found = open_at(path, span.at)?.take(span.bytes).read_to_end(&mut bytes)? as u64;
    if found < span.bytes {
        let why =
            format!("wanted {} bytes at {}, the file ends after {found}", span.bytes, span.at);
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    Ok(bytes)
}

/// The bytes of a window of [`content_hash`], and how many windows there are.
const WINDOW: u64 = 16 << 10;
const WINDOWS: u64 = 4;
/// The first bytes of BMP and TIFF files.
const PLAIN: [&[u8]; 5] = [b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];

/// Returns a hash of the bytes of a range, which decides on the split of an image: equal images
/// have equal hashes wherever they lie. Of a long range its length enters, and four windows of 16
/// KiB that are spread from its beginning to its end; all of a BMP or TIFF file, whose pixels need
/// not be compressed, so that two images may differ between windows alone.
pub(crate) fn content_hash(file: &mut (impl Read + Seek), span: Span) -> io::Result<u64> {
    let mut bytes = span.bytes.to_le_bytes().to_vec();
    let is_short = span.bytes <= WINDOW * WINDOWS;
    let windows = if is_short || may_be_plain(file, span.at)? { 1 } else { WINDOWS };
    let length = if windows == 1 { span.bytes } else { WINDOW };
    for window in 0..windows {
        let between = u128::from(span.bytes - length) * u128::from(window);
        let start = (between / u128::from(WINDOWS - 1)) as u64;
        file.seek(SeekFrom::Start(span.at + start))?;
        file.take(length).read_to_end(&mut bytes)?;
    }
    Ok(hash_bytes(&bytes))
}

/// Returns whether an image begins at a place whose pixels need not be compressed.
fn may_be_plain(file: &mut (impl Read + Seek), at: u64) -> io::Result<bool> {
    let mut first = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(4).read_to_end(&mut first)?;
    Ok(PLAIN.iter().any(|start| first.starts_with(start)))
}

/// Returns [`content_hash`] of a whole file.
pub(crate) fn content_of_file(path: &Path) -> io::Result<u64> {
    let bytes = length(path)?;
    content_hash(&mut fs_err::File::open(path)?, Span { at: 0, bytes })
}

/// Returns [`content_hash`] of a file that is in memory.
pub(crate) fn content_of(bytes: &[u8]) -> u64 {
    let span = Span { at: 0, bytes: bytes.len() as u64 };
    content_hash(&mut Cursor::new(bytes), span).expect("memory can be read")
}

/// Opens a file from a place on.
pub(crate) fn open_at(path: &Path, at: u64) -> io::Result<Opened> {
    let mut file = fs_err::File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(BufReader::new(file))
}

/// Returns how many bytes a regular file has; another, such as a pipe, may never end, or never
/// begin.
pub(crate) fn length(path: &Path) -> io::Result<u64> {
    let cannot = |why: io::Error| {
        io::Error::new(why.kind(), format!("cannot read `{}`: {why}", path.display()))
    };
    let found = path.metadata().map_err(cannot)?;
    if found.is_file() {
        Ok(found.len())
    } else {
        Err(unfit(format!("`{}` is no regular file", path.display())))
    }
}

fn unfit(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads a whole regular file, if it is no longer than `most`, also if it grows meanwhile.
pub(crate) fn read_all(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let too_long = |found: String| {
        unfit(format!("`{}` has {found} bytes, at most {most} are read", path.display()))
    };
    let bytes = length(path)?;
    if bytes > most {
        return Err(too_long(bytes.to_string()));
    }
    let mut found = Vec::new();
    fs_err::File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut found)?;
    if found.len() as u64 > most { Err(too_long(format!("more than {most}"))) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_braces_are_written_out_with_their_zeros() {
        assert_eq!(braces("a-{08..10}.tar").unwrap(), ["a-08.tar", "a-09.tar", "a-10.tar"]);
        assert_eq!(braces("{1..2}/{3..4}").unwrap(), ["1/3", "1/4", "2/3", "2/4"]);
        for wrong in ["{3..1}", "{a..b}", "{1,2}", "{1..2", "{0..99999999999}", "{..}"] {
            let error = braces(wrong).unwrap_err();
            assert!(error.contains("wanted a range"), "{error}");
        }
    }

    #[test]
    fn patterns_and_folders_name_files_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.tar", "a.tar", "c.txt"] {
            fs_err::write(folder.path().join(name), "x").unwrap();
        }
        let text = |name: &str| folder.path().join(name).display().to_string();
        let names = |patterns: &[String]| -> Vec<String> {
            let found = expand(patterns, &["tar"]).unwrap();
            found
                .files
                .iter()
                .map(|file| file.path.file_name().unwrap().to_string_lossy().into())
                .collect()
        };
        assert_eq!(names(&[text("b.tar"), text("*.tar")]), ["b.tar", "a.tar"]);
        assert_eq!(names(&[text("")]), ["a.tar", "b.tar"]);
        assert_eq!(names(&[text("gone-{1..2}.tar")]), ["gone-1.tar", "gone-2.tar"]);
        let error = expand(&[text("no-*.tar")], &["tar"]).unwrap_err().to_string();
        assert!(error.ends_with("it names no file ending in tar"), "{error}");
    }

    #[test]
    fn folders_are_searched_without_what_is_hidden_and_names_say_held_out_from_there_on() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("test");
        for name in ["a.tar", "._a.tar", ".hidden/b.tar", "data/train-0.tar", "data/val-0.tar"] {
            let path = root.join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "x").unwrap();
        }
        let found = |pattern: &str| -> Vec<(String, bool)> {
            let pattern = root.join(pattern).display().to_string();
            let found = expand(&[pattern], &["tar"]).unwrap();
            let name = |file: &Listed| file.path.strip_prefix(&root).unwrap().display().to_string();
            found.files.iter().map(|file| (name(file), file.held_out)).collect()
        };
        let file = |name: &str, held_out| (name.to_owned(), held_out);
        let all =
            [file("a.tar", false), file("data/train-0.tar", false), file("data/val-0.tar", true)];
        assert_eq!(found(""), all);
        assert_eq!(found("*.tar"), [all[0].clone()]);
        assert_eq!(found("data/*.tar"), all[1..]);
        fs_err::create_dir_all(root.join("parts/validation")).unwrap();
        fs_err::write(root.join("parts/validation/0.tar"), "x").unwrap();
        let deep = [file("parts/validation/0.tar", true)];
        for pattern in ["parts/*/*.tar", "parts/*", "parts/**/*.tar", "parts"] {
            assert_eq!(found(pattern), deep, "{pattern}");
        }
    }

    #[test]
    fn what_is_there_by_its_name_is_no_pattern() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a [1]/x.tar", "b{2}/x.tar", "b{2}/y.tar"] {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "x").unwrap();
        }
        let count = |pattern: &str| {
            let pattern = folder.path().join(pattern).display().to_string();
            expand(&[pattern], &["tar"]).map(|found| found.files.len()).unwrap_or(0)
        };
        assert_eq!((count("a [1]"), count("a [1]/x.tar"), count("a [1]/*.tar")), (1, 1, 1));
        assert_eq!((count("b{2}"), count("b{2}/*"), count("c{2}/*")), (2, 2, 0));
    }

    #[test]
    fn what_is_left_in_a_folder_is_named_and_what_is_compressed_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.tar", "b.tar.gz", "c.TGZ", "d.tar.part", "README.md", "e.zst"] {
            fs_err::write(folder.path().join(name), "x").unwrap();
        }
        let found = expand(&[folder.path().display().to_string()], &["tar"]).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let files: Vec<String> = found.files.iter().map(|file| name(&file.path)).collect();
        let others: Vec<String> = found.others.iter().map(|other| name(&other.path)).collect();
        assert_eq!(files, ["a.tar", "b.tar.gz", "c.TGZ"]);
        assert_eq!(others, ["README.md", "d.tar.part", "e.zst"]);
        assert_eq!(compression(b"\x1F\x8B\x08"), Some("gzip"));
        assert_eq!(compression(b"ustar"), None);
    }

    #[test]
    fn the_hash_of_a_long_range_sees_its_length_and_its_windows() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let hash = content_of(&bytes);
        let changed = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            content_of(&bytes) != hash
        };
        assert!([0, 99_000, 190_000, 299_999].into_iter().all(changed) && !changed(50_000));
        let flat = |at: usize| {
            let mut bytes = [b"BM", &[7; 200_000][..]].concat();
            bytes[at] ^= 1;
            content_of(&bytes)
        };
        assert!(flat(50_000) != flat(60_000), "pixels between windows");
        assert!(content_of(&bytes[..299_999]) != hash);
        let mut inside = Cursor::new([&[7; 9], &bytes[..]].concat());
        let span = Span { at: 9, bytes: 300_000 };
        assert_eq!(content_hash(&mut inside, span).unwrap(), hash);
        assert!((0..100).all(|at| content_of(&bytes[..100]) != content_of(&bytes[..at])));
    }

    #[test]
    fn a_range_beyond_the_end_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs_err::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, Span { at: 3, bytes: 4 }).unwrap(), b"3456");
        assert!(read(&path, Span { at: 8, bytes: 4 }).is_err());
        assert!(read(&path, Span { at: u64::MAX / 2, bytes: u64::MAX }).is_err());
        assert!(read_all(&path, 9).unwrap_err().to_string().contains("at most 9"));
        assert_eq!(read_all(&path, 10).unwrap(), b"0123456789");
        assert_eq!(read_all(&path, u64::MAX).unwrap(), b"0123456789");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_before_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let why = read_all(folder.path(), 9).unwrap_err().to_string();
        assert!(why.ends_with("` is no regular file"), "{why}");
        #[cfg(unix)]
        assert!(
            read_all(Path::new("/dev/zero"), 9).is_err() && length(Path::new("/dev/zero")).is_err()
        );
    }
}
