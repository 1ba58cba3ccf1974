//! What a source holds, seen from outside: `mm data check` reads all of it once and says what a run
//! would meet.

use std::collections::BTreeMap;
use std::path::Path;

use mm_model::random::{Purpose, stream};
use mm_model::{Document, PositionScheme, Segment, Sequencer};
use mm_text::Tokenizer;
use rayon::prelude::*;
use serde::Serialize;

use crate::DataConfig;
use crate::bad_records::Skipped;
use crate::documents::DocumentsConfig;
use crate::error::DataError;
use crate::files;
use crate::folder::{Captions, FolderConfig};
use crate::image::{EXTENSIONS, ImageSettings, UNREAD_EXTENSIONS};
use crate::parquet::ParquetConfig;
use crate::record::Record;
use crate::shards::WebdatasetConfig;
use crate::source::DataSet;
use crate::split::Split;
use crate::task::Task;

/// Records that are looked at where a source has no end.
const OF_ENDLESS: u64 = 1000;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataReport {
    /// Training records; absent if there is no end of them.
    pub train: Option<u64>,
    /// Held-out records; absent if there is no end of them.
    pub held_out: Option<u64>,
    /// Records that could be read.
    pub read: usize,
    /// Images by their size in pixels after fitting, as `WxH`.
    pub sizes: BTreeMap<String, usize>,
    /// Bytes of caption of images that have one, or of text of whole documents.
    pub text_bytes: Summary,
    /// Images without words, and documents without text.
    pub without_text: usize,
    /// Tokens of a document, patches included.
    pub tokens: Summary,
    /// Broken items.
    pub bad: usize,
    /// How many may be broken.
    pub allowed: usize,
    /// Files of a source whose files hold many items; 0 of others.
    pub files: usize,
    /// Broken files.
    pub bad_files: usize,
    /// What of them cannot be read, in files.
    pub lost_files: f64,
    /// How much of the files may be lost, in files.
    pub allowed_files: f64,
    /// Whether a run with the source's `max_bad` would refuse what is broken.
    pub too_bad: bool,
    /// Everything left out, as (file, reason).
    pub left_out: Vec<(String, String)>,
}

/// A few numbers that stand for many.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Summary {
    /// How many there are.
    pub count: usize,
    /// The smallest.
    pub least: usize,
    /// Half of them are no larger.
    pub median: usize,
    /// Their sum over their count.
    pub mean: f64,
    /// The largest.
    pub most: usize,
}

impl Summary {
    pub(crate) fn of(mut numbers: Vec<usize>) -> Self {
        numbers.sort_unstable();
        let (Some(&least), Some(&most)) = (numbers.first(), numbers.last()) else {
            return Self::default();
        };
        let count = numbers.len();
        let mean = numbers.iter().sum::<usize>() as f64 / count as f64;
        Self { count, least, median: numbers[(count - 1) / 2], mean, most }
    }
}

/// One record, measured.
struct Measured {
    sizes: Vec<[usize; 2]>,
    text_bytes: usize,
    tokens: usize,
}

/// Reads every record of a source once, or a thousand where there is no end, on all cores. Broken
/// items are counted to the end, whatever the source's `max_bad` says.
pub fn check(
    config: &DataConfig,
    image: ImageSettings,
    vocab: usize,
) -> Result<DataReport, DataError> {
    let data = DataSet::open(&config.with_max_bad(1.0), image)?;
    let tokenizer = match vocab {
        0 => mm_model::image_only::tokenizer(),
        _ => Tokenizer::train(data.captions().into_iter(), vocab)?,
    };
    let sequencer = Sequencer::of_patches(&tokenizer, image.patch, PositionScheme::RopeTv);
    let measure = |(split, index): (Split, u64)| -> Result<Option<Measured>, DataError> {
        let rng = &mut stream(0, Purpose::Example, 0, index);
        let document = match data.exact(split, index, rng)? {
            Some(Record::Captioned(example)) => Task::Read.document(example),
            Some(Record::Whole(document)) => document,
            None => return Ok(None),
        };
        measured(&document, &sequencer).map(Some)
    };
    let lens = Split::ALL.map(|split| data.len(split));
    let indices: Vec<(Split, u64)> = Split::ALL
        .into_iter()
        .zip(lens)
        .flat_map(|(split, len)| (0..len.unwrap_or(OF_ENDLESS)).map(move |index| (split, index)))
        .collect();
    let found: Vec<Option<Measured>> =
        indices.into_par_iter().map(measure).collect::<Result<_, DataError>>()?;
    let found: Vec<Measured> = found.into_iter().flatten().collect();
    let mut sizes = BTreeMap::new();
    for [width, height] in found.iter().flat_map(|one| &one.sizes) {
        *sizes.entry(format!("{width}x{height}")).or_insert(0) += 1;
    }
    let texts: Vec<usize> = found.iter().map(|one| one.text_bytes).filter(|n| *n > 0).collect();
    let (tally, max_bad) = (data.tally(), config.max_bad());
    Ok(DataReport {
        train: lens[0],
        held_out: lens[1],
        read: found.len(),
        sizes,
        without_text: found.len() - texts.len(),
        text_bytes: Summary::of(texts),
        tokens: Summary::of(found.iter().map(|one| one.tokens).collect()),
        bad: tally.bad,
        allowed: tally.allowed(max_bad),
        files: tally.files,
        bad_files: tally.bad_files,
        lost_files: tally.lost_files,
        allowed_files: tally.allowed_files(max_bad),
        too_bad: tally.exceeds(max_bad),
        left_out: data.skipped().into_iter().map(named).collect(),
    })
}

fn measured(document: &Document, sequencer: &Sequencer<'_>) -> Result<Measured, DataError> {
    let mut found = Measured { sizes: vec![], text_bytes: 0, tokens: 0 };
    for segment in &document.segments {
        match segment {
            Segment::Text { text, .. } => found.text_bytes += text.len(),
            Segment::Image { image, .. } => found.sizes.push([image.width(), image.height()]),
        }
    }
    found.tokens = sequencer.complete(document)?.len();
    Ok(found)
}

fn named(skipped: Skipped) -> (String, String) {
    (skipped.path.display().to_string(), skipped.why)
}

impl DataConfig {
    /// The share of items that may be broken; 0 for what is drawn in code, and for a mixture, whose
    /// sources each have one.
    pub fn max_bad(&self) -> f64 {
        match self {
            Self::Glyphs(_)
            | Self::Emoji(_)
            | Self::Dialogue(_)
            | Self::Words(_)
            | Self::Pairs(_)
            | Self::Mixture(_) => 0.0,
            Self::Folder(config) => config.max_bad,
            Self::Webdataset(config) => config.max_bad,
            Self::Parquet(config) => config.max_bad,
            Self::Documents(config) => config.max_bad,
        }
    }

    /// Whether it has a `max_bad`, or is a mixture with such a source: what is drawn in code or
    /// comes with the program is never broken.
    pub fn has_max_bad(&self) -> bool {
        match self {
            Self::Glyphs(_)
            | Self::Emoji(_)
            | Self::Dialogue(_)
            | Self::Words(_)
            | Self::Pairs(_) => false,
            Self::Folder(_) | Self::Webdataset(_) | Self::Parquet(_) | Self::Documents(_) => true,
            Self::Mixture(mixture) => mixture.parts.iter().any(|part| part.data.has_max_bad()),
        }
    }

    /// Returns this source with another share of items that may be broken.
    pub fn with_max_bad(&self, max_bad: f64) -> Self {
        let mut config = self.clone();
        match &mut config {
            Self::Glyphs(_)
            | Self::Emoji(_)
            | Self::Dialogue(_)
            | Self::Words(_)
            | Self::Pairs(_) => {}
            Self::Folder(config) => config.max_bad = max_bad,
            Self::Webdataset(config) => config.max_bad = max_bad,
            Self::Parquet(config) => config.max_bad = max_bad,
            Self::Documents(config) => config.max_bad = max_bad,
            Self::Mixture(mixture) => {
                for part in &mut mixture.parts {
                    part.data = part.data.with_max_bad(max_bad);
                }
            }
        }
        config
    }

    /// The source that a path or a pattern most likely is, with its defaults: shards, tables and
    /// documents by their endings, a folder by what most of its files are, or what is in it where
    /// there are no images. Images beside a table with a column of images, or beside lines that
    /// name images, belong to these. A folder of images without a word beside them has no captions.
    pub fn of_path(path: &str) -> Result<Self, DataError> {
        let names = files::all_in(path);
        let count = |endings: &[&str]| names.iter().filter(|name| ends(name, endings)).count();
        let unread = count(UNREAD_EXTENSIONS);
        // Some such file, as a logo is, makes no folder of images of a folder of texts.
        let unread = if unread > count(&["jsonl", "txt", "caption"]) / 2 { unread } else { 0 };
        let images = count(EXTENSIONS) + unread;
        let is = |endings: &[&str]| {
            if names.is_empty() {
                ends(Path::new(path), endings)
            } else {
                let found = count(endings);
                found > 0 && (2 * found > names.len() || images == 0)
            }
        };
        let has = |endings: &[&str], shows: fn(&Path) -> bool| {
            names
                .iter()
                .find(|name| ends(name, endings) && !is_metadata(name))
                .is_some_and(|name| shows(name))
        };
        let files = || vec![path.to_owned()];
        if is(&["tar"]) {
            Ok(Self::Webdataset(WebdatasetConfig::of(files())))
        } else if is(&["parquet"]) || has(&["parquet"], crate::parquet::has_images) {
            Ok(Self::Parquet(ParquetConfig::of(files())))
        } else if is(&["jsonl", "txt"]) && images == 0
            || has(&["jsonl"], crate::documents::has_images)
        {
            Ok(Self::Documents(DocumentsConfig::of(files())))
        } else if names.is_empty() || !Path::new(path).is_dir() {
            let why = if Path::new(path).is_dir() {
                "the folder holds no files"
            } else {
                "it is no folder, and ends in none of tar, parquet, jsonl, txt"
            };
            Err(DataError::Pattern { pattern: path.to_owned(), why: why.into() })
        } else {
            let written = count(&["txt", "caption", "json", "jsonl", "csv"]) > 0;
            let captions = if written { Captions::Written } else { Captions::None };
            Ok(Self::Folder(FolderConfig { captions, ..FolderConfig::of(path) }))
        }
    }
}

fn ends(name: &Path, endings: &[&str]) -> bool {
    endings.contains(&&*files::ending(name))
}

/// Returns whether a file belongs to a folder of images, whose captions it may hold.
fn is_metadata(name: &Path) -> bool {
    name.file_stem().is_some_and(|stem| stem == "metadata")
}

#[cfg(test)]
mod tests {
    use mm_patch::Image;

    use super::*;

    const IMAGE: ImageSettings = ImageSettings { width: 16, height: 16, patch: 8 };

    #[test]
    fn a_report_counts_everything_and_names_what_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        for at in 0..12 {
            let image = Image::filled(40, 40, [at; 3]).encode_png();
            let end = if at == 5 { image.len() / 2 } else { image.len() };
            fs_err::write(folder.path().join(format!("{at:02}.png")), &image[..end]).unwrap();
            fs_err::write(folder.path().join(format!("{at:02}.txt")), "x".repeat(3 + at as usize))
                .unwrap();
        }
        let config = DataConfig::of_path(&folder.path().display().to_string()).unwrap();
        let report = check(&config, IMAGE, 389).unwrap();
        assert_eq!(report.train.unwrap() + report.held_out.unwrap(), 12);
        assert_eq!(report.read, 11);
        assert_eq!(report.sizes, BTreeMap::from([("16x16".into(), 11)]));
        assert_eq!((report.text_bytes.least, report.text_bytes.most), (3, 14));
        assert_eq!(report.tokens.least, 3 + 4 + 6);
        assert_eq!((report.bad, report.allowed), (1, 1));
        assert!(report.left_out[0].0.ends_with("05.png"));
    }

    #[test]
    fn a_part_of_nothing_but_broken_items_is_reported_and_not_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for part in ["train", "valid"] {
            fs_err::create_dir(folder.path().join(part)).unwrap();
        }
        for at in 0..12 {
            let image = Image::filled(16, 16, [at; 3]).encode_png();
            fs_err::write(folder.path().join(format!("train/{at}.png")), image).unwrap();
        }
        fs_err::write(folder.path().join("valid/13.png"), "no image").unwrap();
        let config = DataConfig::of_path(&folder.path().display().to_string()).unwrap();
        let report = check(&config, IMAGE, 389).unwrap();
        assert_eq!((report.train, report.held_out, report.read), (Some(12), Some(1), 12));
        assert_eq!((report.bad, report.allowed), (1, 1));
        assert!(report.left_out[0].0.ends_with("13.png"));
    }

    #[test]
    fn a_source_that_a_run_refuses_for_its_files_is_too_bad() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs_err::write(path("0.jsonl"), "{\"text\": \"some words\"}\n".repeat(300)).unwrap();
        let config = |max_bad| {
            DataConfig::Documents(DocumentsConfig {
                max_bad,
                ..DocumentsConfig::of(vec![path("{0..2}.jsonl")])
            })
        };
        for (max_bad, too_bad) in [(0.01, true), (0.6, true), (0.7, false)] {
            let report = check(&config(max_bad), IMAGE, 389).unwrap();
            assert_eq!((report.read, report.bad, report.files, report.bad_files), (300, 2, 3, 2));
            assert!(report.bad <= report.allowed, "the items alone would do");
            assert_eq!((report.too_bad, report.lost_files), (too_bad, 2.0));
            assert_eq!(DataSet::open(&config(max_bad), IMAGE).is_err(), too_bad);
        }
    }

    #[test]
    fn a_mixture_hands_max_bad_on_to_its_sources_that_have_one() {
        let parts = "parts = [{ weight = 1.0, data = { source = 'emoji' } }, \
                     { weight = 1.0, data = { source = 'folder', path = 'x' } }]";
        let config: DataConfig = toml::from_str(&format!("source = 'mixture'\n{parts}")).unwrap();
        let DataConfig::Mixture(mixture) = config.with_max_bad(0.5) else { unreachable!() };
        assert!(config.has_max_bad() && !mixture.parts[0].data.has_max_bad());
        let shares: Vec<f64> = mixture.parts.iter().map(|part| part.data.max_bad()).collect();
        assert_eq!(shares, [0.0, 0.5]);
    }

    #[test]
    fn a_path_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let kind = |path: &str| match DataConfig::of_path(path) {
            Ok(DataConfig::Webdataset(_)) => "webdataset".into(),
            Ok(DataConfig::Parquet(_)) => "parquet".into(),
            Ok(DataConfig::Documents(_)) => "documents".into(),
            Ok(DataConfig::Folder(config)) => format!("folder, {:?}", config.captions),
            other => format!("{other:?}"),
        };
        assert_eq!(kind("a/b-{00..10}.tar"), "webdataset");
        assert_eq!(kind("a/*.parquet"), "parquet");
        assert_eq!(kind("texts.jsonl"), "documents");
        assert!(kind("nowhere").contains("it is no folder"));
        assert!(kind(&path("")).contains("the folder holds no files"));
        for name in ["README.md", "dataset_infos.json", "data/train-0.parquet", ".a.png"] {
            fs_err::create_dir_all(folder.path().join("hub/data")).unwrap();
            fs_err::write(folder.path().join("hub").join(name), "").unwrap();
        }
        assert_eq!(kind(&path("hub")), "parquet");
        fs_err::remove_dir_all(folder.path().join("hub")).unwrap();
        fs_err::write(path("1.png"), "").unwrap();
        assert_eq!(kind(&path("")), "folder, None");
        fs_err::write(path("metadata.jsonl"), "").unwrap();
        assert_eq!(kind(&path("")), "folder, Written");
        fs_err::write(path("0.jsonl"), r#"{"image": "1.png", "text": "a cat"}"#).unwrap();
        assert_eq!(kind(&path("")), "documents");
        assert_eq!(kind(&path("0.json*")), "documents");
        assert!(kind(&path("*.png")).contains("it is no folder"));
        for name in ["1.heic", "2.heic", "1.txt", "2.txt"] {
            fs_err::create_dir_all(folder.path().join("phone")).unwrap();
            fs_err::write(folder.path().join("phone").join(name), "").unwrap();
        }
        assert_eq!(kind(&path("phone")), "folder, Written");
    }
}
