//! Parquet in Hugging Face's form: an image column that is a struct of `bytes` and `path`, and a
//! caption column, by name.
//!
//! When the source is opened the footer of every file is read: how many rows each group has, and
//! which columns there are. A row is read by skipping to it in its group: pages before it are
//! passed by their headers, one page is unpacked. Snappy and uncompressed files are read, which is
//! what `datasets` writes. An image without bytes is read from the file at its path.

mod pages;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use parquet::basic::CompressionCodec;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::ByteArrayType;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::pages::Checked;
use crate::bad_records::{BadRecords, Skipped, check_max_bad, one_percent};
use crate::error::DataError;
use crate::files::{self, Span};
use crate::fingerprint::Fingerprint;
use crate::guard;
use crate::image::{Frame, ImageFit, ImageSettings, caption, chain, most_pixels, white};
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::Split;

/// The most captions that a tokenizer is trained on; fewer than of other sources, since a row costs
/// a page.
const MOST_CAPTIONS: u64 = 2000;

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
    /// The rows of each split: as many as all files have together, less those of the other split.
    lens: [u64; 2],
    bad: BadRecords,
}

impl std::fmt::Debug for ParquetSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetSet").field("lens", &self.lens).finish_non_exhaustive()
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
    /// The first row of every group, counted over all files, and where the last one ends.
    starts: Vec<u64>,
}

/// Rows whose number is 9 modulo 10 are held out: the order of a table is fixed, so this is as good
/// as a hash and needs no list.
const HELD_OUT_EVERY: u64 = 10;

impl ParquetSet {
    /// Reads the footer of every file. Every tenth row is held out.
    pub fn open(config: &ParquetConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let frame = Frame::new(config.fit, config.background, config.max_pixels, image)?;
        let paths = files::expand(&config.files, &["parquet"])?;
        let bad = BadRecords::of_files("parquet", config.max_bad, paths.len());
        let (mut tables, mut rows) = (Vec::new(), 0);
        for path in &paths {
            let table = OnDisk::open(path)
                .map_err(|why| chain(&why))
                .and_then(|file| Table::open(path, file, &config.image, &config.caption, rows));
            match table {
                Ok(table) => {
                    rows = table.end();
                    tables.push(table);
                }
                Err(why) => bad.broken_file(path, why, 1.0),
            }
        }
        let bad = bad.opened_with_some(rows as usize)?;
        let held_out = rows / HELD_OUT_EVERY;
        Ok(Self { tables, frame, lens: [rows - held_out, held_out], bad })
    }

    /// Returns the table of the record `at` of a split, and its row counted over all tables.
    fn row(&self, split: Split, at: u64) -> (&Table<OnDisk>, u64) {
        let row = match split {
            Split::Train => at + at / (HELD_OUT_EVERY - 1),
            Split::HeldOut => at * HELD_OUT_EVERY + HELD_OUT_EVERY - 1,
        };
        let table = self.tables.partition_point(|table| table.end() <= row);
        (&self.tables[table], row)
    }
}

impl DataSource for ParquetSet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn len(&self, split: Split) -> Option<u64> {
        Some(self.lens[split as usize])
    }

    fn load(&self, split: Split, at: u64, _: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        let (table, row) = self.row(split, at);
        let named =
            |why| Skipped::new(&table.name, format!("row {}: {why}", row - table.starts[0]));
        let image = table.image(row, self.frame.most_bytes()).map_err(named)?;
        let caption = table.caption(row).map_err(named)?;
        let image = self.frame.image(&image).map_err(named)?;
        Ok(Record::Captioned(Example { image, caption }))
    }

    fn bad_records(&self) -> Vec<&BadRecords> {
        vec![&self.bad]
    }

    fn captions(&self) -> Vec<String> {
        let of = self.lens[Split::Train as usize];
        let step = of.div_ceil(MOST_CAPTIONS).max(1) as usize;
        let text = |at| {
            let (table, row) = self.row(Split::Train, at);
            table.caption(row).ok()
        };
        (0..of).step_by(step).filter_map(text).collect()
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

impl<R: ChunkReader + 'static> Table<R> {
    /// Reads a file's footer and finds the columns of images and captions.
    fn open(name: &Path, file: R, image: &str, caption: &str, first: u64) -> Result<Self, String> {
        let bytes = file.len();
        let reader = guarded(|| SerializedFileReader::new(file))?;
        let metadata = reader.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let [inside, path] = ["bytes", "path"].map(|part| format!("{image}.{part}"));
        let path = column(schema, &path).ok();
        let image =
            column(schema, &inside).or_else(|why| column(schema, image).map_err(|_| why))?;
        let caption = match caption {
            "" => None,
            name => Some(column(schema, name)?),
        };
        let mut starts = vec![first];
        for group in metadata.row_groups() {
            for leaf in [Some(image), caption].into_iter().flatten() {
                let chunk = group.columns().get(leaf).ok_or("a group without all columns")?;
                unpackable(chunk.compression_codec(), &chunk.column_path().string())?;
            }
            let rows = u64::try_from(group.num_rows()).map_err(|_| "a negative number of rows")?;
            let end = starts[starts.len() - 1].checked_add(rows);
            starts.push(end.filter(|end| end - first <= bytes).ok_or("more rows than bytes")?);
        }
        Ok(Self { name: name.to_owned(), reader, image, path, caption, starts })
    }

    fn end(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    fn caption(&self, row: u64) -> Result<String, String> {
        match self.caption {
            Some(leaf) => self.cell(leaf, row).and_then(caption),
            None => Ok(String::new()),
        }
    }

    /// Returns the image file of a row: its bytes, or what lies at its path, which begins at the
    /// table's folder.
    fn image(&self, row: u64, most_bytes: u64) -> Result<Vec<u8>, String> {
        let (leaf, folder) = match (self.value(self.image, row)?, self.path) {
            (Some(bytes), _) => return Ok(bytes),
            (None, None) => return Err(EMPTY.into()),
            (None, Some(leaf)) => (leaf, self.name.parent().unwrap_or(Path::new(""))),
        };
        let path = self.value(leaf, row)?.ok_or("its bytes and its path are null")?;
        let path = String::from_utf8(path).map_err(|_| "its path is not UTF-8")?;
        files::read_all(&folder.join(path), most_bytes)
            .map_err(|error| format!("its bytes are null, and at its path: {}", chain(&error)))
    }

    /// Returns the bytes in a leaf column of a row.
    fn cell(&self, leaf: usize, row: u64) -> Result<Vec<u8>, String> {
        self.value(leaf, row)?.ok_or_else(|| EMPTY.to_owned())
    }

    /// Returns the bytes in a leaf column of a row, if they are not null.
    fn value(&self, leaf: usize, row: u64) -> Result<Option<Vec<u8>>, String> {
        let group = self.starts.partition_point(|start| *start <= row) - 1;
        let within = (row - self.starts[group]) as usize;
        guarded(|| {
            let group = self.reader.get_row_group(group)?;
            let pages = Checked(group.get_column_page_reader(leaf)?);
            let kind = group.metadata().schema_descr().column(leaf);
            let mut column = ColumnReaderImpl::<ByteArrayType>::new(kind, Box::new(pages));
            column.skip_records(within)?;
            let (mut levels, mut values) = (vec![], vec![]);
            column.read_records(1, Some(&mut levels), None, &mut values)?;
            Ok(values.first().map(|value| value.data().to_vec()))
        })
    }
}

/// Returns whether a column can be read, by what compressed it.
fn unpackable(codec: CompressionCodec, column: &str) -> Result<(), String> {
    match codec {
        CompressionCodec::UNCOMPRESSED | CompressionCodec::SNAPPY => Ok(()),
        _ => Err(format!("the column `{column}` is compressed by {codec}, wanted SNAPPY or none")),
    }
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
    let bytes = columns[at].physical_type() == parquet::basic::Type::BYTE_ARRAY;
    if bytes && columns[at].max_rep_level() == 0 {
        Ok(at)
    } else {
        Err(format!("the column `{wanted}` holds no single text or bytes a row"))
    }
}

/// Runs what parses outside bytes in another's code: its panic is an error of the item, as its own
/// errors are.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match guard::guarded(work) {
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
    type T = files::Opened;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(files::open_at(&self.path, start)?)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let span = Span { at: start, bytes: length as u64 };
        Ok(files::read(&self.path, span)?.into())
    }
}

#[cfg(test)]
mod tests;
