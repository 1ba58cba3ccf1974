//! Parquet in Hugging Face's form: an image column that is a struct of `bytes` and `path`, and a
//! caption column, by name, of texts or of lists of texts.
//!
//! When the source is opened the columns of images and captions of every file are read once, on all
//! cores and row by row: an image decides on the split of its row by its bytes, so that
//! several rows with the same image stand on one side, and each caption of a list is a record.
//! Later a row is read by skipping to it in its group: pages before it are passed by their headers,
//! one page is unpacked. An image without bytes is read from the file at its path.

mod pages;

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::pages::Checked;
use crate::bad_records::{BadRecords, Skipped, check_max_bad, one_percent};
use crate::caption::{caption, slashes};
use crate::error::DataError;
use crate::files::{self, Listed, Named, Span};
use crate::fingerprint::Fingerprint;
use crate::image::{Frame, ImageFit, ImageSettings, chain, most_pixels, white};
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::{Division, EQUALS_HELD_OUT, Split, SplitKey, Splits, hash_bytes};

/// The most captions that a tokenizer is trained on; fewer than of other sources, since a row costs
/// a page.
const MOST_CAPTIONS: usize = 2000;

/// The most rows that a file may claim to have for each of its bytes.
const MOST_ROWS_A_BYTE: u64 = 256;

/// The names of columns in which images usually are.
pub(crate) const IMAGE_NAMES: &[&str] = &["image", "img", "jpg", "png", "photo", "jpeg", "webp"];

/// What is wrong with a cell that is null.
const EMPTY: &str = "the cell is empty";

/// Settings of [`ParquetSet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParquetConfig {
    /// The files: names with `*`, `?` and `{00000..00009}`, or folders of `.parquet` files.
    pub files: Vec<String>,
    /// The column of images: a struct of `bytes` and `path`, or plain bytes.
    #[serde(default = "image_column")]
    pub image: String,
    /// The column of captions; an empty name for images without captions.
    #[serde(default = "caption_column")]
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
    /// The share of the rows, and of the files, that may be broken.
    #[serde(default = "one_percent")]
    pub max_bad: f64,
}

fn image_column() -> String {
    "image".into()
}

fn caption_column() -> String {
    "text".into()
}

impl ParquetConfig {
    /// Takes files with the defaults.
    pub fn of(files: Vec<String>) -> Self {
        Self {
            files,
            image: image_column(),
            caption: caption_column(),
            fit: ImageFit::default(),
            background: white(),
            max_pixels: most_pixels(),
            max_bad: one_percent(),
        }
    }

    /// Checks what the types do not; touches no file.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.files.is_empty() {
            let (found, wanted) = ("[]".into(), "at least one .parquet file");
            return Err(DataError::Setting { field: "files", found, wanted });
        }
        check_max_bad(self.max_bad)
    }
}

/// The rows of some files.
pub struct ParquetSet {
    tables: Vec<Table<OnDisk>>,
    frame: Frame,
    entries: Splits<Entry>,
    bad: BadRecords,
}

/// A record: a row with one of its captions.
#[derive(Debug, Clone, Copy)]
struct Entry {
    table: u32,
    which: u32,
    row: u64,
    /// A hash of its image.
    content: u64,
}

impl std::fmt::Debug for ParquetSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetSet").field("bad", &self.bad).finish_non_exhaustive()
    }
}

/// One open file.
struct Table<R: ChunkReader> {
    name: PathBuf,
    reader: SerializedFileReader<R>,
    /// Leaf column of images.
    image: usize,
    /// Leaf column of the images' paths, for those without bytes.
    path: Option<usize>,
    /// Leaf column of captions, if there are any.
    caption: Option<usize>,
    /// The first row of every group, and where the last one ends.
    starts: Vec<u64>,
}

impl ParquetSet {
    /// Reads the columns of images and captions of every file once.
    ///
    /// Where the name of a file says "held out", as `test-00000-of-00001.parquet` does, its rows
    /// are held out and all others are trained on, but for those whose image equals a held-out one.
    /// Otherwise a tenth of the images is held out, with all their rows, by a hash of their bytes.
    pub fn open(config: &ParquetConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, config.max_pixels, image)?;
        let Named { files, others } = files::expand(&config.files, &["parquet"])?;
        let bad = BadRecords::of_files("parquet", config.max_bad, files.len());
        bad.pass_over_all(others, |path| !files::is_image(path)); // rows name their images
        let read = |Listed { path, .. }: &Listed| -> Result<(Table<OnDisk>, Vec<Keyed>), String> {
            let file = OnDisk::open(path).map_err(|why| chain(&why))?;
            let table = Table::open(path, file, &config.image, &config.caption)?;
            let keyed = table.keyed(&bad);
            Ok((table, keyed))
        };
        let all: Vec<_> = files.par_iter().map(read).collect();
        let (mut tables, mut found) = (Vec::new(), Vec::new());
        for (Listed { path, held_out }, read) in files.iter().zip(all) {
            match read {
                Ok((table, keyed)) => {
                    let number = tables.len() as u32;
                    found.extend(keyed.into_iter().map(|Keyed { row, content, captions }| {
                        let key = SplitKey { content, held_out: *held_out };
                        (Entry { table: number, which: captions, row, content }, key)
                    }));
                    tables.push(table);
                }
                Err(why) => bad.broken_file(path, why, 1.0),
            }
        }
        let division = Division::of(found.iter().map(|(_, key)| *key));
        let mut entries = Splits::default();
        for (Entry { table, which: captions, row, content }, key) in found {
            match division.split(key) {
                Some(split) => {
                    for which in 0..captions {
                        entries.push(split, Entry { table, which, row, content });
                    }
                }
                None if captions == 0 => {}
                None => {
                    let why = format!("row {row}: {EQUALS_HELD_OUT}");
                    bad.pass_over(&tables[table as usize].name, why);
                }
            }
        }
        let bad = bad.opened_with_some(entries.iter().count())?;
        Ok(Self { tables, frame, entries, bad })
    }

    fn caption(&self, entry: &Entry) -> Result<String, String> {
        let captions = self.tables[entry.table as usize].captions(entry.row)?;
        captions.into_iter().nth(entry.which as usize).ok_or_else(|| "the file has changed".into())
    }
}

impl DataSource for ParquetSet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn len(&self, split: Split) -> Option<u64> {
        self.entries.len(split)
    }

    fn load(&self, split: Split, at: u64, _: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let entry = self.entries.at(split, at);
        let (table, row) = (&self.tables[entry.table as usize], entry.row);
        let named = |why| Skipped::new(&table.name, format!("row {row}: {why}"));
        let image = table.image(row, self.frame.most_bytes()).map_err(named)?;
        let caption = self.caption(entry).map_err(named)?;
        let image = self.frame.image(&image).map_err(named)?;
        Ok(Record::Captioned(Example { image, caption }))
    }

    fn held_out_contents(&self) -> Vec<u64> {
        self.entries.of(Split::HeldOut).iter().map(|entry| entry.content).collect()
    }

    fn leave_out(&mut self, held_out: &HashSet<u64>) {
        for entry in self.entries.take_out(|entry| held_out.contains(&entry.content)) {
            let why = format!("row {}: {EQUALS_HELD_OUT}", entry.row);
            self.bad.pass_over(&self.tables[entry.table as usize].name, why);
        }
    }

    fn bad_records(&self) -> Vec<&BadRecords> {
        vec![&self.bad]
    }

    fn captions(&self) -> Vec<String> {
        self.entries.spread(MOST_CAPTIONS).filter_map(|entry| self.caption(entry).ok()).collect()
    }

    /// Adds the files' names and sizes, and where their groups of rows begin.
    fn describe(&self, sum: &mut Fingerprint) {
        for table in &self.tables {
            sum.add_name(&table.name);
            sum.add_number(files::length(&table.name).unwrap_or(0));
            for start in &table.starts {
                sum.add_number(*start);
            }
        }
    }
}

/// A row and what decides on its split.
struct Keyed {
    row: u64,
    content: u64,
    captions: u32,
}

impl<R: ChunkReader + 'static> Table<R> {
    /// Reads a file's footer and finds the columns of images and captions.
    fn open(name: &Path, file: R, image: &str, caption: &str) -> Result<Self, String> {
        let bytes = file.len();
        let reader = guarded(|| SerializedFileReader::new(file))?;
        let metadata = reader.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let [inside, path] = ["bytes", "path"].map(|part| format!("{image}.{part}"));
        let path = column(schema, &path).ok();
        let has = |name: &str| schema.columns().iter().any(|one| one.path().string() == name);
        let image = if has(image) { column(schema, image) } else { column(schema, &inside) }?;
        let caption = match caption {
            "" => None,
            name => Some(column(schema, name).or_else(|why| list(schema, name).ok_or(why))?),
        };
        let mut starts = vec![0_u64];
        for group in metadata.row_groups() {
            if [Some(image), path, caption]
                .into_iter()
                .flatten()
                .any(|at| at >= group.columns().len())
            {
                return Err("a group without all columns".into());
            }
            let rows = u64::try_from(group.num_rows()).map_err(|_| "a negative number of rows")?;
            let end = starts[starts.len() - 1].checked_add(rows);
            // A run of equal values takes few bytes, but not none.
            let most = bytes.saturating_mul(MOST_ROWS_A_BYTE);
            starts.push(end.filter(|end| *end <= most).ok_or("more rows than its bytes can hold")?);
        }
        Ok(Self { name: name.to_owned(), reader, image, path, caption, starts })
    }

    fn end(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    /// Reads every row once; `bad` hears of rows without an image or a caption, and of groups that
    /// cannot be read to their end.
    fn keyed(&self, bad: &BadRecords) -> Vec<Keyed> {
        let groups = 0..self.starts.len() - 1;
        let groups: Vec<Group> =
            groups.into_par_iter().map(|group| self.read_group(group, bad)).collect();
        let read: u64 = groups.iter().map(|group| group.read).sum();
        if let Some(why) = groups.iter().find_map(|group| group.stopped.as_ref()) {
            let lost = (self.end() - read) as f64 / self.end().max(1) as f64;
            bad.broken_file(&self.name, why.clone(), lost);
        }
        groups.into_iter().flat_map(|group| group.found).collect()
    }

    fn read_group(&self, group: usize, bad: &BadRecords) -> Group {
        let mut found = Group { found: vec![], read: 0, stopped: None };
        let (first, end) = (self.starts[group], self.starts[group + 1]);
        let columns = [Some(self.image), self.path, self.caption];
        let columns = columns.map(|leaf| leaf.map(|leaf| self.column(group, leaf)).transpose());
        let [Ok(Some(mut images)), Ok(mut paths), Ok(mut captions)] = columns else {
            let why = columns.into_iter().find_map(Result::err);
            return Group { stopped: Some(why.unwrap_or_else(|| EMPTY.into())), ..found };
        };
        while first + found.read < end {
            let row = first + found.read;
            let cell =
                |column: &mut Option<Column>| column.as_mut().map_or(Ok(vec![]), Column::next);
            let cells = images
                .next()
                .and_then(|image| Ok([image, cell(&mut paths)?, cell(&mut captions)?]));
            let [image, path, texts] = match cells {
                Ok(cells) => cells,
                Err(why) => {
                    found.stopped = Some(format!("row {row}: {why}"));
                    return found;
                }
            };
            found.read += 1;
            let broken = |why: String| bad.broken(&self.name, format!("row {row}: {why}"));
            match self.content(&image, &path) {
                Ok(content) => {
                    let captions = self.count_captions(texts).unwrap_or_else(|why| {
                        broken(why);
                        0 // its image still decides on the split of its equals
                    });
                    found.found.push(Keyed { row, content, captions });
                }
                Err(why) => broken(why),
            }
        }
        found
    }

    /// Returns the content hash of an image: of its bytes, or of the file at its path.
    fn content(&self, image: &[ByteArray], path: &[ByteArray]) -> Result<u64, String> {
        match (image.first().filter(|bytes| !bytes.is_empty()), path.first()) {
            (Some(bytes), _) => Ok(files::content_of(bytes.data())),
            (None, Some(path)) => {
                let file = self.at_path(path.data())?;
                Ok(files::content_of_file(&file).unwrap_or_else(|_| hash_bytes(path.data())))
            }
            (None, None) => Err(EMPTY.into()),
        }
    }

    fn count_captions(&self, texts: Vec<ByteArray>) -> Result<u32, String> {
        match self.words(texts)?.len() {
            0 => Err("its caption is empty".into()),
            captions => Ok(captions as u32),
        }
    }

    /// Returns the captions of a row; one that is empty where no captions are wanted.
    fn captions(&self, row: u64) -> Result<Vec<String>, String> {
        match self.caption {
            Some(leaf) => self.words(self.values(leaf, row)?),
            None => self.words(vec![]),
        }
    }

    fn words(&self, texts: Vec<ByteArray>) -> Result<Vec<String>, String> {
        if self.caption.is_none() {
            return Ok(vec![String::new()]);
        }
        let mut found = Vec::new();
        for text in texts {
            let text = caption(text.data().to_vec())?;
            if !text.is_empty() && !found.contains(&text) {
                found.push(text);
            }
        }
        Ok(found)
    }

    /// Returns the file at the path of a row, which begins at the table's folder.
    fn at_path(&self, path: &[u8]) -> Result<PathBuf, String> {
        let path = std::str::from_utf8(path).map_err(|_| "its path is not UTF-8")?;
        Ok(self.name.parent().unwrap_or(Path::new("")).join(slashes(path)))
    }

    /// Returns the image file of a row: its bytes, or what lies at its path.
    fn image(&self, row: u64, most_bytes: u64) -> Result<Vec<u8>, String> {
        if let Some(bytes) = self.values(self.image, row)?.first().filter(|one| !one.is_empty()) {
            return Ok(bytes.data().to_vec());
        }
        let path = self.path.map(|leaf| self.values(leaf, row)).transpose()?.unwrap_or_default();
        let path = path.first().ok_or(EMPTY)?;
        files::read_all(&self.at_path(path.data())?, most_bytes)
            .map_err(|error| format!("it has no bytes, and at its path: {}", chain(&error)))
    }

    /// Returns the values in a leaf column of a row.
    fn values(&self, leaf: usize, row: u64) -> Result<Vec<ByteArray>, String> {
        let group = self.starts.partition_point(|start| *start <= row) - 1;
        let mut column = self.column(group, leaf)?;
        column.skip((row - self.starts[group]) as usize)?;
        column.next()
    }

    fn column(&self, group: usize, leaf: usize) -> Result<Column, String> {
        guarded(|| {
            let group = self.reader.get_row_group(group)?;
            let kind = group.metadata().schema_descr().column(leaf);
            let (repeats, nulls) = (kind.max_rep_level() > 0, kind.max_def_level() > 0);
            let pages = Checked { pages: group.get_column_page_reader(leaf)?, repeats, nulls };
            Ok(Column(ColumnReaderImpl::new(kind, Box::new(pages))))
        })
    }
}

/// What was read of a group of rows.
struct Group {
    found: Vec<Keyed>,
    read: u64,
    /// Why it was not read to its end.
    stopped: Option<String>,
}

/// A leaf column of a group, read from its beginning on.
struct Column(ColumnReaderImpl<ByteArrayType>);

impl Column {
    /// Passes over some rows.
    fn skip(&mut self, rows: usize) -> Result<(), String> {
        guarded(|| self.0.skip_records(rows).map(|_| ()))
    }

    /// Returns the values of the next row: none where it is null or an empty list.
    fn next(&mut self) -> Result<Vec<ByteArray>, String> {
        let (mut defined, mut repeated, mut values) = (vec![], vec![], vec![]);
        let (rows, _, _) = guarded(|| {
            let reader = &mut self.0;
            reader.read_records(1, Some(&mut defined), Some(&mut repeated), &mut values)
        })?;
        if rows == 1 { Ok(values) } else { Err("a column has fewer rows than its group".into()) }
    }
}

/// Returns the leaf column of a list of texts of a name: what lies below it.
fn list(schema: &SchemaDescriptor, wanted: &str) -> Option<usize> {
    let below = format!("{wanted}.");
    let of = |path: String| path == wanted || path.starts_with(&below);
    let mut found = (0..schema.num_columns()).filter(|at| of(schema.column(*at).path().string()));
    let at = found.next()?;
    let kind = schema.column(at);
    let bytes = kind.physical_type() == parquet::basic::Type::BYTE_ARRAY;
    (bytes && kind.max_rep_level() == 1 && found.next().is_none()).then_some(at)
}

/// Returns the leaf column of a name, which must hold one string of bytes a row.
fn column(schema: &SchemaDescriptor, wanted: &str) -> Result<usize, String> {
    let columns = schema.columns();
    let named = columns.iter().position(|column| column.path().string() == wanted);
    let Some(at) = named else {
        let names: Vec<String> =
            columns.iter().map(|column| format!("`{}`", column.path().string())).collect();
        return Err(format!("there is no column `{wanted}`, there are {}", names.join(", ")));
    };
    let found = columns[at].physical_type();
    if found == parquet::basic::Type::BYTE_ARRAY && columns[at].max_rep_level() == 0 {
        Ok(at)
    } else {
        let list = if columns[at].max_rep_level() > 0 { "lists of " } else { "" };
        Err(format!("the column `{wanted}` holds {list}{found}, wanted one text or bytes a row"))
    }
}

/// Returns whether a file is a table with one of the columns in which images usually are.
pub(crate) fn has_images(path: &Path) -> bool {
    let has = |reader: SerializedFileReader<OnDisk>| {
        let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
        let is_image = |name: &str| {
            let name = name.strip_suffix(".bytes").unwrap_or(name);
            IMAGE_NAMES.contains(&name)
        };
        columns.iter().any(|column| is_image(&column.path().string()))
    };
    OnDisk::open(path).is_ok_and(|file| guarded(|| SerializedFileReader::new(file)).is_ok_and(has))
}

/// Runs what parses outside bytes in another's code: its panic is an error of the item, as its own
/// errors are.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match mm_patch::guarded(work) {
        Ok(found) => found.map_err(|why| chain(&why)),
        Err(_) => Err("the file is damaged where the parser did not expect it".into()),
    }
}

/// A file that is opened anew for every read, so that any number of threads may read it at once.
struct OnDisk {
    path: PathBuf,
    bytes: u64,
}

impl OnDisk {
    fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), bytes: files::length(path)? })
    }
}

impl Length for OnDisk {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for OnDisk {
    type T = Ending;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(Ending(files::open_at(&self.path, start)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let span = Span { at: start, bytes: length as u64 };
        Ok(files::read(&self.path, span)?.into())
    }
}

/// A file that fails where it is read beyond its end. The crate `parquet` (60.1.0) skips the
/// numbers of a list one by one without noticing the end, so a false count would keep it busy.
struct Ending(files::Opened);

impl Read for Ending {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.0.read(to)? {
            0 if !to.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests;
