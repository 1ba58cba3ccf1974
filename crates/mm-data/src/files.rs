//! Where the streamed sources touch files: names to lists of files, and ranges of bytes out of
//! them.
//!
//! Nothing is held open: a range is read by opening its file anew, which costs microseconds, works
//! with any number of shards and threads, and needs no order.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// An open file, read from some place on.
pub(crate) type Opened = BufReader<fs_err::File>;

/// A range of bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
}

/// Returns the files that patterns name, each once, sorted within a pattern. A pattern may have
/// `*`, `?`, `[a-z]` and ranges of numbers such as `{000..099}`; a folder stands for the files in
/// it that end in one of `endings`. A pattern that names nothing is an error; a plain name, also
/// one out of a range, is a file whether it is there or not, so that a missing one is missed.
pub(crate) fn expand(patterns: &[String], endings: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for pattern in patterns {
        let before = files.len();
        for plain in braces(pattern)? {
            for path in named(&plain).map_err(|why| bad_pattern(pattern, why.to_string()))? {
                if path.is_dir() {
                    files.extend(inside(&path, endings)?);
                } else {
                    files.push(path);
                }
            }
        }
        if files.len() == before {
            let why = format!("it names no file ending in {}", endings.join(", "));
            return Err(bad_pattern(pattern, why));
        }
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|path| seen.insert(path.clone()));
    Ok(files)
}

/// Returns what a pattern without braces names: itself, or what is there that it fits.
fn named(plain: &str) -> Result<Vec<PathBuf>, glob::PatternError> {
    if plain.contains(['*', '?', '[']) {
        Ok(glob::glob(plain)?.filter_map(Result::ok).collect())
    } else {
        Ok(vec![plain.into()])
    }
}

fn bad_pattern(pattern: &str, why: String) -> DataError {
    DataError::Pattern { pattern: pattern.to_owned(), why }
}

fn inside(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).map_err(DataError::Read)? {
        let path = entry.map_err(DataError::Read)?.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if endings.contains(&ending.as_str()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the names of what is in a folder, of its sub-folders with what is in them; nothing if it
/// is none.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return vec![] };
    let mut names = vec![];
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(names_in(&entry.path()));
        } else {
            names.push(entry.path().display().to_string());
        }
    }
    names
}

/// The most shards of one pattern: more is a slip of the pen.
const MOST_SHARDS: u64 = 1_000_000;

/// Writes out the ranges `{from..to}` of a pattern. Numbers are as wide
/// as `from` is written.
fn braces(pattern: &str) -> Result<Vec<String>, DataError> {
    let Some((before, rest)) = pattern.split_once('{') else { return Ok(vec![pattern.to_owned()]) };
    let wrong = || bad_pattern(pattern, "wanted a range such as {000..099} in braces".into());
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

/// Opens a file from a place on.
pub(crate) fn open_at(path: &Path, at: u64) -> io::Result<Opened> {
    let mut file = fs_err::File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(BufReader::new(file))
}

/// Returns how many bytes a regular file has; another, such as a pipe, may never end, or never
/// begin.
pub(crate) fn length(path: &Path) -> io::Result<u64> {
    let found = fs_err::metadata(path)?;
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
            let error = braces(wrong).unwrap_err().to_string();
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
            let files = expand(patterns, &["tar"]).unwrap();
            files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into()).collect()
        };
        assert_eq!(names(&[text("b.tar"), text("*.tar")]), ["b.tar", "a.tar"]);
        assert_eq!(names(&[text("")]), ["a.tar", "b.tar"]);
        assert_eq!(names(&[text("gone-{1..2}.tar")]), ["gone-1.tar", "gone-2.tar"]);
        let error = expand(&[text("no-*.tar")], &["tar"]).unwrap_err().to_string();
        assert!(error.ends_with("it names no file ending in tar"), "{error}");
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
