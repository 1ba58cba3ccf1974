//! Tests of Parquet tables.

use std::sync::Arc;

use mm_patch::Image;
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
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
    let properties = WriterProperties::builder().set_compression(compression);
    table_with(first, rows, properties)
}

/// A table of shades that is encoded as a writer of version 2 does it.
fn delta(rows: u8, encoding: Encoding, compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_dictionary_enabled(false)
        .set_encoding(encoding);
    table_with(0, rows, properties)
}

fn table_with(first: u8, rows: u8, properties: WriterPropertiesBuilder) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = properties.set_data_page_row_count_limit(2).set_write_batch_size(1).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let shades: Vec<u8> = (first..first + rows).collect();
    for group in shades.chunks(3) {
        let mut rows = writer.next_row_group().unwrap();
        let mut column = 0;
        while let Some(mut open) = rows.next_column().unwrap() {
            if column == 3 {
                let tags = |shade: &u8| [format!("tag {shade} a"), format!("tag {shade} b")];
                let tags: Vec<ByteArray> = group
                    .iter()
                    .flat_map(tags)
                    .map(|tag| ByteArray::from(tag.into_bytes()))
                    .collect();
                let (full, repeats) = (vec![1; tags.len()], [0, 1].repeat(group.len()));
                open.typed::<ByteArrayType>()
                    .write_batch(&tags, Some(&full), Some(&repeats))
                    .unwrap();
                open.close().unwrap();
                break;
            }
            let cells = group.iter().map(|&shade| match column {
                0 if shade == first + 4 => None,
                0 => Some(png(shade)),
                1 => Some(format!("{shade}.png").into()),
                _ => Some(format!("shade {shade}").into_bytes()),
            });
            let cells: Vec<Option<Vec<u8>>> = cells.collect();
            let most = if column < 2 { 2 } else { 1 };
            let levels: Vec<i16> =
                cells.iter().map(|cell| if cell.is_some() { most } else { 0 }).collect();
            let values: Vec<ByteArray> = cells.into_iter().flatten().map(Into::into).collect();
            open.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
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
    let codecs = [
        Compression::SNAPPY,
        Compression::UNCOMPRESSED,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::GZIP(GzipLevel::default()),
    ];
    for compression in codecs {
        let files = [table(0, 11, compression), table(100, 14, compression)];
        let folder = folder(&[("data/0.parquet", &files[0]), ("data/1.parquet", &files[1])]);
        let set = ParquetSet::open(&config(&folder), SETTINGS).unwrap();
        assert_eq!(set.entries.iter().count(), 25);
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
            whys[0].starts_with("row 4: it has no bytes") && whys[0].contains("4.png"),
            "{whys:?}"
        );
        assert_eq!(Some(set.captions().len() as u64), set.len(Split::Train));
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
    let error = named("tags", "text");
    assert!(error.contains("the column `tags` holds lists of BYTE_ARRAY, wanted one"), "{error}");
    assert!(ParquetSet::open(&config(&folder), SETTINGS).is_err());
    let half = ParquetConfig { max_bad: 0.5, ..config(&folder) };
    assert!(ParquetSet::open(&half, SETTINGS).is_ok());
    let bare = ParquetConfig { caption: String::new(), ..half };
    let set = ParquetSet::open(&bare, SETTINGS).unwrap();
    assert_eq!(example(&set, Split::Train, 3).unwrap().caption, "");
}

/// The captions of all records with the shade of their image, sorted.
fn all(set: &ParquetSet) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    for split in Split::ALL {
        for at in 0..set.len(split).unwrap() {
            let Example { image, caption } = example(set, split, at).unwrap();
            found.push((image.pixel(3, 3)[0], caption));
        }
    }
    found.sort();
    found
}

#[test]
fn a_row_without_bytes_is_read_from_the_file_at_its_path_beside_the_table() {
    let folder = folder(&[("0.parquet", &table(0, 6, Compression::SNAPPY)), ("4.png", &png(4))]);
    let set = ParquetSet::open(&config(&folder), SETTINGS).unwrap();
    assert!(all(&set).contains(&(4, "shade 4".to_owned())));
    assert!(set.skipped().is_empty());
}

#[test]
fn delta_encodings_are_read_and_each_text_of_a_list_is_a_caption() {
    let wanted: Vec<(u8, String)> =
        (0..11).flat_map(|at| ["a", "b"].map(|tag| (at, format!("tag {at} {tag}")))).collect();
    for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY, Encoding::PLAIN]
    {
        for codec in [Compression::UNCOMPRESSED, Compression::ZSTD(ZstdLevel::default())] {
            let bytes = delta(11, encoding, codec);
            let folder = folder(&[("0.parquet", &bytes), ("4.png", &png(4))]);
            let config = ParquetConfig { caption: "tags".into(), ..config(&folder) };
            let set = ParquetSet::open(&config, SETTINGS).unwrap();
            assert_eq!(all(&set), wanted, "{encoding} {codec:?}");
        }
    }
}

#[test]
fn rows_with_the_same_image_stand_on_one_side_and_a_file_of_a_held_out_split_is_held_out() {
    let one = table(0, 120, Compression::SNAPPY);
    let shades = |folder: &TempDir| {
        let set = ParquetSet::open(&ParquetConfig { max_bad: 1.0, ..config(folder) }, SETTINGS);
        let set = set.unwrap();
        let shades = Split::ALL.map(|split| -> std::collections::BTreeSet<u8> {
            let all = 0..set.len(split).unwrap();
            let all = all.filter_map(|at| example(&set, split, at).ok());
            all.map(|found| found.image.pixel(3, 3)[0]).collect()
        });
        (shades, set.entries.iter().count())
    };
    let ([train, held_out], _) = shades(&folder(&[("0.parquet", &one), ("1.parquet", &one)]));
    assert!(train.is_disjoint(&held_out) && train.len() + held_out.len() == 119);
    assert!((4..24).contains(&held_out.len()), "{held_out:?}");
    let ten = table(20, 10, Compression::SNAPPY);
    let hub = [("data/train-00000-of-00001.parquet", &one[..]), ("data/test-0.parquet", &ten)];
    let ([train, held_out], records) = shades(&folder(&hub));
    assert!(train.is_disjoint(&held_out));
    assert_eq!((train.len(), held_out.len(), records), (110, 9, 121));
}

#[test]
fn a_count_of_lengths_that_its_bytes_cannot_hold_is_refused() {
    use parquet::column::page::{Page, PageMetadata, PageReader};
    use parquet::errors::Result;
    let checked = |values: Vec<u8>| {
        struct One(Option<Page>);
        impl Iterator for One {
            type Item = Result<Page>;
            fn next(&mut self) -> Option<Self::Item> {
                self.get_next_page().transpose()
            }
        }
        impl PageReader for One {
            fn get_next_page(&mut self) -> Result<Option<Page>> {
                Ok(self.0.take())
            }
            fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
                Ok(None)
            }
            fn skip_next_page(&mut self) -> Result<()> {
                Ok(())
            }
        }
        let page = Page::DataPage {
            buf: Bytes::from(values),
            num_values: 3,
            encoding: Encoding::DELTA_LENGTH_BYTE_ARRAY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let pages = Box::new(One(Some(page)));
        let mut pages = Checked { pages, repeats: false, nulls: false };
        pages.get_next_page().map_err(|why| why.to_string())
    };
    // 128 values a block in 4 parts, 2^28 lengths, the first of which is 0.
    let why = checked(vec![0x80, 1, 4, 0x80, 0x80, 0x80, 0x80, 1, 0]).unwrap_err();
    assert!(why.contains("cannot hold 268435456 lengths"), "{why}");
    let good = checked(vec![0x80, 1, 4, 3, 4, 0, 0, 0, 0, 0]);
    assert!(matches!(good, Ok(Some(_))), "{good:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_a_table_or_an_error(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let name = Path::new("x.parquet");
        let _ = Table::open(name, Bytes::from(noise), "image", "text");
        for mut bytes in [
            table(0, 6, Compression::SNAPPY),
            delta(6, Encoding::DELTA_BYTE_ARRAY, Compression::UNCOMPRESSED),
        ] {
            for (at, value) in &flips {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            for caption in ["text", "tags"] {
                let table = Table::open(name, Bytes::from(bytes.clone()), "image", caption);
                let Ok(table) = table else { continue };
                let keyed = table.keyed(&BadRecords::new("test", 1.0));
                for row in keyed.iter().map(|keyed| keyed.row) {
                    let _ = (table.values(table.image, row), table.captions(row));
                }
            }
        }
    }
}
