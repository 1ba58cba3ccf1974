//! Data sources: a file among others, opened and read as a run does.

use std::path::Path;

use mm_data::{DataConfig, DataSet, ImageSettings, Record, Split};
use mm_model::Segment;
use mm_patch::Image;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::files;

const SIZE: ImageSettings = ImageSettings { width: 16, height: 8, patch: 8 };

/// The most records of a split that are read.
const MOST_RECORDS: u64 = 8;

/// `metadata.jsonl` beside two images.
pub fn metadata(bytes: &[u8]) {
    let folder = files::folder();
    files::write(&folder, "0.png", &Image::filled(8, 8, [255, 0, 0]).encode_png());
    files::write(&folder, "1.png", &Image::filled(9, 7, [0, 0, 255]).encode_png());
    files::write(&folder, "metadata.jsonl", bytes);
    read("folder", &format!("path = '{}'", folder.path().display()));
}

/// Interleaved documents, one a line.
pub fn jsonl(bytes: &[u8]) {
    let folder = files::folder();
    files::write(&folder, "0.png", &Image::filled(8, 8, [255, 0, 0]).encode_png());
    one_file(folder.path(), "documents", "a.jsonl", bytes);
}

/// Plain text.
pub fn text(bytes: &[u8]) {
    one_file(files::folder().path(), "documents", "a.txt", bytes);
}

/// A shard of a WebDataset.
pub fn tar(bytes: &[u8]) {
    one_file(files::folder().path(), "webdataset", "a.tar", bytes);
}

/// A Parquet table in the form of the Hub.
pub fn parquet(bytes: &[u8]) {
    one_file(files::folder().path(), "parquet", "a.parquet", bytes);
}

fn one_file(folder: &Path, source: &str, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs_err::write(&path, bytes).expect("a writable temporary folder");
    read(source, &format!("files = ['{}']", path.display()));
}

/// Opens a source and reads some of its records, bad ones among them.
///
/// Two openings find the same, an image has the wanted size, and what is bad is named.
fn read(source: &str, settings: &str) {
    let settings = format!("source = '{source}'\nmax_bad = 1.0\n{settings}");
    let config: DataConfig = toml::from_str(&settings).expect("settings of a source");
    let data = match DataSet::open(&config, SIZE) {
        Ok(data) => data,
        Err(why) => {
            assert!(!why.to_string().is_empty(), "an error without words");
            return;
        }
    };
    for split in Split::ALL {
        let of = data.len(split).expect("files have an end");
        for at in 0..of.min(MOST_RECORDS) {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            if let Ok(Some(record)) = data.exact(split, at, &mut rng) {
                check(&record, source);
            }
        }
    }
    data.captions();
    let bad = data.bad();
    assert!(bad == 0 || !data.skipped().is_empty(), "{bad} bad records that are not named");
    let again = DataSet::open(&config, SIZE).expect("the same files as before");
    assert_eq!(data.fingerprint(), again.fingerprint(), "two openings differ");
}

fn check(record: &Record, source: &str) {
    match record {
        Record::Captioned(example) => {
            let size = (example.image.width(), example.image.height());
            assert_eq!(size, (SIZE.width, SIZE.height), "an image of {source}");
        }
        Record::Whole(document) => {
            assert!(!document.segments.is_empty(), "a document without segments");
            for segment in &document.segments {
                if let Segment::Image { image, .. } = segment {
                    let patches = image.width() * image.height() / (SIZE.patch * SIZE.patch);
                    assert!((1..=2).contains(&patches), "an image of {patches} patches");
                }
            }
        }
    }
}
