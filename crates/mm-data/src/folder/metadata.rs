//! Files that hold the captions of many images of a folder: `metadata.jsonl` and `metadata.csv`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::bad_records::BadRecords;
use crate::caption::{caption, json_object, keys, kind, of_field, slashes};
use crate::error::DataError;
use crate::files;
use crate::image::chain;

/// The names of such files.
pub(super) const NAMES: &[&str] = &["metadata.jsonl", "metadata.csv"];
/// What else Hugging Face's imagefolder may have in their place.
pub(super) const UNREAD: &[&str] = &["metadata.parquet"];
/// The keys of the name of an image, the first that is there.
const FILE_NAMES: &[&str] = &["file_name", "image_file_name"];

/// What files of metadata say of images, by path.
pub(super) type Captioned = HashMap<PathBuf, Written>;

/// What all lines say of one image.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) captions: Vec<String>,
    pub(super) faults: Vec<Fault>,
}

/// A line that names an image and has no caption for it.
#[derive(Debug)]
pub(super) struct Fault {
    /// The file of metadata.
    pub(super) path: PathBuf,
    /// The line, and what is wrong with it.
    pub(super) why: String,
}

/// Adds the captions in the field `field` of a file of metadata; an image may have several lines.
/// A line that cannot be read is broken; what is wrong with one that names an image is kept with
/// that image. A file that is no UTF-8 is an error: it would take the captions of any number of
/// images with it.
pub(super) fn read(
    path: &Path,
    field: &str,
    listed: &mut Captioned,
    bad: &BadRecords,
) -> Result<(), DataError> {
    let wrong = |why| DataError::Metadata { path: path.to_owned(), why };
    let text = read_text(path).map_err(wrong)?;
    let mut add = |number: usize, found: Result<Line, String>| match found {
        Ok(Line { name, captions }) => {
            let held = listed.entry(path.with_file_name(slashes(&name))).or_default();
            match captions {
                Err(why) => held
                    .faults
                    .push(Fault { path: path.to_owned(), why: format!("line {number}: {why}") }),
                Ok(captions) => {
                    for caption in captions {
                        if !held.captions.contains(&caption) {
                            held.captions.push(caption);
                        }
                    }
                }
            }
        }
        Err(why) => bad.broken(path, format!("line {number}: {why}")),
    };
    if path.extension().is_some_and(|ending| ending == "csv") {
        return rows(&text, field, &mut add).map_err(wrong);
    }
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        add(number + 1, json_line(line, field));
    }
    Ok(())
}

/// What a line says.
struct Line {
    name: String,
    /// The captions, or what is wrong with them.
    captions: Result<Vec<String>, String>,
}

const SET: &str = " (named by the setting `caption`)";

fn json_line(line: &str, field: &str) -> Result<Line, String> {
    let found = json_object(line.as_bytes())?;
    let name = file_name(&found)?;
    let captions = of_field(&found, field, SET);
    Ok(Line { name, captions })
}

fn file_name(found: &Map<String, Value>) -> Result<String, String> {
    match FILE_NAMES.iter().find_map(|name| found.get(*name).map(|value| (name, value))) {
        Some((_, Value::String(name))) => Ok(name.clone()),
        Some((name, other)) => Err(format!("its `{name}` is {}, wanted a text", kind(other))),
        None => Err(format!("it has no `file_name`, it has {}", keys(found))),
    }
}

/// Reads the rows of a table of comma-separated values (RFC 4180) whose first line has the names of
/// its columns.
fn rows(
    text: &str,
    field: &str,
    add: &mut dyn FnMut(usize, Result<Line, String>),
) -> Result<(), String> {
    if let Some(line) = open_quote(text) {
        return Err(format!("line {line}: a quote opens here and is not closed"));
    }
    let table =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut table = table.into_records().map(|row| row.map_err(|why| why.to_string()));
    let Some(head) = table.next().transpose()? else { return Ok(()) };
    let column = |wanted: &str| head.iter().position(|name| name.trim() == wanted);
    let lacks = |name: &str, set: &str| {
        let names: Vec<String> = head.iter().map(|name| format!("`{name}`")).collect();
        format!("it has no column `{name}`{set}, it has {}", names.join(", "))
    };
    let name = FILE_NAMES.iter().find_map(|name| column(name));
    let name = name.ok_or_else(|| lacks("file_name", ""))?;
    let words = column(field).ok_or_else(|| lacks(field, SET))?;
    for cells in table {
        let cells = cells?;
        let line = cells.position().map_or(0, csv::Position::line) as usize;
        let found = match (cells.get(name), cells.get(words)) {
            (Some(name), Some(words)) if cells.len() == head.len() => {
                let text = caption(words.as_bytes().to_vec());
                let captions = text
                    .map(|text| Some(text).filter(|text| !text.is_empty()).into_iter().collect());
                Ok(Line { name: name.trim().to_owned(), captions })
            }
            _ => Err(format!("it has {} cells, wanted {}", cells.len(), head.len())),
        };
        add(line, found);
    }
    Ok(())
}

/// Returns the line of a quoted cell that goes on to the end of a table. A quote within a cell that
/// does not begin with one is a sign as any other.
fn open_quote(table: &str) -> Option<usize> {
    let (mut line, mut opened, mut at_start) = (1, None, true);
    for sign in table.bytes() {
        let mut closes = false;
        match (sign, opened) {
            (b'"', Some(_)) => (opened, closes) = (None, true), // the second of two opens again
            (b'"', None) if at_start => opened = Some(line),
            _ => {}
        }
        at_start = opened.is_none() && (closes || matches!(sign, b',' | b'\n' | b'\r'));
        line += usize::from(sign == b'\n');
    }
    opened
}

/// Reads a UTF-8 file, without a byte-order mark, or says which line is none.
fn read_text(path: &Path) -> Result<String, String> {
    let bytes = files::read_all(path, u64::MAX).map_err(|error| chain(&error))?;
    let text = String::from_utf8(bytes).map_err(|why| {
        let before = &why.as_bytes()[..why.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8, wanted the file to be saved as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
