//! Tests of Parquet tables.

use std::sync::Arc;

use mm_patch::Image;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::testing::{example, folder};

const SETTINGS: ImageSettings = ImageSettings { width: 16, height: 8, patch: 4 };

/// What Hugging Face's `datasets` writes for `Image()` and a string.
const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (STRING); }
    optional binary text (STRING);
    repeated binary tags (STRING);
}";

fn png(shade: u8) -> Vec<u8> {
    Image::filled(20, 10, [shade; 3]).encode_png()
}

/// A table of shades from `first` on, in groups of three rows; row 4 of the table has no image.
fn table(first: u8, rows: u8, compression: Compression) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_data_page_row_count_limit(2)
        .set_write_batch_size(1)
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let shades: Vec<u8> = (first..first + rows).collect();
    for group in shades.chunks(3) {
        let mut rows = writer.next_row_group().unwrap();
        let mut column = 0;
        while let Some(mut open) = rows.next_column().unwrap() {
            let cells = group.iter().map(|&shade| match column {
                0 if shade == first + 4 => None,
                0 => Some(png(shade)),
                1 => Some(format!("{shade}.png").into()),
                2 => Some(format!("shade {shade}").into_bytes()),
                _ => None,
            });
            let cells: Vec<Option<Vec<u8>>> = cells.collect();
            let most = if column < 2 { 2 } else { 1 };
            let levels: Vec<i16> =
                cells.iter().map(|cell| if cell.is_some() { most } else { 0 }).collect();
            let values: Vec<ByteArray> = cells.into_iter().flatten().map(Into::into).collect();
            let repeats = vec![0; group.len()];
            let repeats = (column == 3).then_some(repeats.as_slice());
            open.typed::<ByteArrayType>().write_batch(&values, Some(&levels), repeats).unwrap();
            open.close().unwrap();
            column += 1;
        }
        rows.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn config(folder: &TempDir) -> ParquetConfig {
    ParquetConfig { max_bad: 0.1, ..ParquetConfig::of(vec![folder.path().display().to_string()]) }
}

#[test]
fn every_row_of_every_file_comes_with_its_own_caption() {
    for compression in [Compression::SNAPPY, Compression::UNCOMPRESSED] {
        let files = [table(0, 11, compression), table(100, 14, compression)];
        let folder = folder(&[("0.parquet", &files[0]), ("1.parquet", &files[1])]);
        let set = ParquetSet::open(&config(&folder), SETTINGS).unwrap();
        assert_eq!((set.len(Split::Train), set.len(Split::HeldOut)), (Some(23), Some(2)));
        let mut shades: Vec<u8> = Split::ALL
            .into_iter()
            .flat_map(|split| {
                let set = &set;
                (0..set.len(split).unwrap()).rev().map(move |index| {
                    let Example { image, caption } = example(set, split, index).unwrap();
                    let shade = image.pixel(3, 3)[0];
                    assert_eq!(caption, format!("shade {shade}"));
                    shade
                })
            })
            .collect();
        shades.sort_unstable();
        shades.dedup();
        let wanted: Vec<u8> = (0..11).chain(100..114).filter(|row| row % 100 != 4).collect();
        assert_eq!(shades, wanted);
        let whys: Vec<String> = set.skipped().into_iter().map(|skipped| skipped.why).collect();
        assert_eq!(whys.len(), 2);
        assert!(
            whys[0].starts_with("row 4: its bytes are null") && whys[0].contains("4.png"),
            "{whys:?}"
        );
        assert_eq!(set.captions().len(), 23);
    }
}

#[test]
fn wrong_columns_and_broken_files_are_named_with_the_columns_there_are() {
    let whole = table(0, 6, Compression::SNAPPY);
    let folder = folder(&[("0.parquet", &whole), ("1.parquet", &whole[..whole.len() / 2])]);
    let error = ParquetSet::open(&ParquetConfig { max_bad: 0.0, ..config(&folder) }, SETTINGS);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("1 of 2 files of the parquet data set are broken"), "{error}");
    let named = |image: &str, text: &str| {
        let config = ParquetConfig { image: image.into(), caption: text.into(), ..config(&folder) };
        ParquetSet::open(&config, SETTINGS).unwrap_err().to_string()
    };
    let error = named("photo", "text");
    assert!(
        error.contains("there is no column `photo.bytes`, there are `image.bytes`, `image.path`, `text`, `tags`"),
        "{error}"
    );
    assert!(named("image", "tags").contains("`tags` holds no single text or bytes a row"));
    assert!(ParquetSet::open(&config(&folder), SETTINGS).is_err());
    let half = ParquetConfig { max_bad: 0.5, ..config(&folder) };
    assert!(ParquetSet::open(&half, SETTINGS).is_ok());
    let bare = ParquetConfig { caption: String::new(), ..half };
    let set = ParquetSet::open(&bare, SETTINGS).unwrap();
    assert_eq!(example(&set, Split::Train, 3).unwrap().caption, "");
}

#[test]
fn a_row_without_bytes_is_read_from_the_file_at_its_path_beside_the_table() {
    let folder = folder(&[("0.parquet", &table(0, 6, Compression::SNAPPY)), ("4.png", &png(4))]);
    let set = ParquetSet::open(&config(&folder), SETTINGS).unwrap();
    let Example { image, caption } = example(&set, Split::Train, 4).unwrap();
    assert_eq!((image.pixel(3, 3), caption.as_str()), ([4; 3], "shade 4"));
    assert!(set.skipped().is_empty());
}

#[test]
fn a_column_compressed_otherwise_is_named_with_what_compressed_it() {
    use CompressionCodec::{SNAPPY, UNCOMPRESSED, ZSTD};
    assert!([SNAPPY, UNCOMPRESSED].iter().all(|codec| unpackable(*codec, "text").is_ok()));
    assert_eq!(
        unpackable(ZSTD, "image.bytes").unwrap_err(),
        "the column `image.bytes` is compressed by ZSTD, wanted SNAPPY or none"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_a_table_or_an_error(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let name = Path::new("x.parquet");
        let _ = Table::open(name, Bytes::from(noise), "image", "text", 0);
        let mut bytes = table(0, 6, Compression::SNAPPY);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(table) = Table::open(name, Bytes::from(bytes), "image", "text", 0) {
            for row in 0..table.end().min(6) {
                let _ = (table.cell(table.image, row), table.caption(row));
            }
        }
    }
}
