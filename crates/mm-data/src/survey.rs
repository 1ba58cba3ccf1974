//! A first look at a path: which source it most likely is, with settings under which it can be
//! read, how many records it holds and how large its images are. `mm init` writes a recipe from it.

use std::path::Path;

use mm_model::random::{Purpose, stream};

use crate::DataConfig;
use crate::check::Summary;
use crate::error::DataError;
use crate::files;
use crate::folder::{Captions, FolderConfig};
use crate::image::{ImageFit, ImageSettings, chain};
use crate::parquet::{IMAGE_NAMES, ParquetConfig};
use crate::record::Record;
use crate::shards::WebdatasetConfig;
use crate::source::DataSet;
use crate::split::{Split, says_held_out};

/// The records that are looked at.
const MOST_LOOKED_AT: u64 = 64;
/// Images are looked at in this size at most, in steps of the patch.
const LOOK: ImageSettings = ImageSettings { width: 512, height: 512, patch: 8 };

const CAPTION_NAMES: &[&str] = &["text", "caption", "captions", "prompt", "description", "txt"];

/// What was found at a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// The source.
    pub data: DataConfig,
    /// Its training records.
    pub train: u64,
    /// Its held-out records.
    pub held_out: u64,
    /// Whether images have captions, or documents text.
    pub has_text: bool,
    /// Bytes of text of the records that were looked at.
    pub text_bytes: Summary,
    /// Widths of the images that were looked at, in pixels, at most about 512 on a side.
    pub widths: Summary,
    /// Their heights.
    pub heights: Summary,
    /// Whether their shapes differ by more than a fifth.
    pub shapes_differ: bool,
    /// The number of items that were left out.
    pub left_out: usize,
    /// The first of them with the reason, if there is one.
    pub first_left_out: Option<String>,
    /// Why captions that seem to be there are not used.
    pub unread_captions: Option<String>,
}

/// Looks at a folder, shards, tables or documents.
pub fn survey(path: &str) -> Result<Survey, DataError> {
    let mut first = None;
    // Whether there are captions by all appearances: then it is told why they are not used.
    let is_captioned = ["metadata.csv", "metadata.jsonl", "parquet"];
    let is_captioned = files::all_in(path)
        .iter()
        .any(|file| is_captioned.iter().any(|name| file.to_string_lossy().ends_with(name)));
    for config in candidates(&DataConfig::of_path(path)?) {
        let looked = DataSet::open(&config.with_max_bad(1.0).with_fit(ImageFit::Aspect), LOOK)
            .map(|data| look(config, &data));
        match looked {
            Ok(found) if found.is_likely() => {
                let why = first.filter(|_| is_captioned && !found.has_text);
                return Ok(Survey { unread_captions: why.map(|why| chain(&why)), ..found });
            }
            Ok(_) => {}
            Err(why) => {
                first.get_or_insert(why);
            }
        }
    }
    Err(first.unwrap_or_else(|| DataError::Pattern {
        pattern: path.to_owned(),
        why: "nothing in it can be read as images, captions or text".into(),
    }))
}

impl Survey {
    /// Returns whether most of the source can be read this way, and whether names of folders that
    /// are captions tell images apart.
    fn is_likely(&self) -> bool {
        (self.train + self.held_out) as usize >= self.left_out && self.train > 0
    }
}

/// Returns the ways in which a source may be read, the most telling first.
fn candidates(config: &DataConfig) -> Vec<DataConfig> {
    match config {
        DataConfig::Folder(folder) => {
            let written = CAPTION_NAMES.iter().map(|name| FolderConfig {
                captions: Captions::Written,
                caption: (*name).to_owned(),
                ..folder.clone()
            });
            let with = |captions| FolderConfig { captions, ..folder.clone() };
            let words = (folder.captions == Captions::Written).then_some(written);
            let classes = has_classes(&folder.path).then(|| with(Captions::Folders));
            let all = words.into_iter().flatten().chain(classes).chain([with(Captions::None)]);
            all.map(DataConfig::Folder).collect()
        }
        DataConfig::Webdataset(shards) => {
            let fields = [shards.caption.as_str()].into_iter().chain(CAPTION_NAMES.iter().copied());
            let with = |caption: &str| {
                DataConfig::Webdataset(WebdatasetConfig {
                    caption: caption.into(),
                    ..shards.clone()
                })
            };
            fields.chain([""]).map(with).collect()
        }
        DataConfig::Parquet(table) => IMAGE_NAMES
            .iter()
            .flat_map(|image| {
                CAPTION_NAMES.iter().chain(&[""]).map(|caption| {
                    DataConfig::Parquet(ParquetConfig {
                        image: (*image).to_owned(),
                        caption: (*caption).to_owned(),
                        ..table.clone()
                    })
                })
            })
            .collect(),
        other => vec![other.clone()],
    }
}

/// Returns whether a folder has several sub-folders whose names could be captions.
fn has_classes(folder: &Path) -> bool {
    let names = files::folders_in(folder);
    let is_split = |name: &String| {
        let name = name.to_lowercase();
        says_held_out(&name) || ["train", "training", "images", "data"].contains(&name.as_str())
    };
    names.len() > 1 && !names.iter().any(is_split)
}

fn look(data: DataConfig, set: &DataSet) -> Survey {
    let lens = Split::ALL.map(|split| set.len(split).unwrap_or(0));
    let (mut widths, mut heights, mut texts) = (vec![], vec![], vec![]);
    let step = lens[0].div_ceil(MOST_LOOKED_AT).max(1);
    for at in (0..lens[0]).step_by(step as usize) {
        let rng = &mut stream(0, Purpose::Example, 0, at);
        let Ok(Some(record)) = set.exact(Split::Train, at, rng) else { continue };
        texts.push(record.text().trim().len());
        if let Record::Captioned(example) = record {
            widths.push(example.image.width());
            heights.push(example.image.height());
        }
    }
    let mut shapes: Vec<f64> =
        widths.iter().zip(&heights).map(|(width, height)| *width as f64 / *height as f64).collect();
    shapes.sort_by(f64::total_cmp);
    let spread = |share: usize| shapes.get(shapes.len() * share / 10).copied().unwrap_or(1.0);
    let skipped = set.skipped();
    Survey {
        data,
        train: lens[0],
        held_out: lens[1],
        has_text: texts.iter().any(|bytes| *bytes > 0),
        text_bytes: Summary::of(texts),
        widths: Summary::of(widths),
        heights: Summary::of(heights),
        shapes_differ: spread(9) > 1.2 * spread(1),
        left_out: skipped.len(),
        first_left_out: skipped.first().map(|one| format!("`{}`: {}", one.path.display(), one.why)),
        unread_captions: None,
    }
}

impl DataConfig {
    /// Returns this source with another way to make images fit, where it has one.
    pub fn with_fit(&self, fit: ImageFit) -> Self {
        let mut config = self.clone();
        match &mut config {
            Self::Glyphs(_)
            | Self::Emoji(_)
            | Self::Dialogue(_)
            | Self::Words(_)
            | Self::Pairs(_)
            | Self::Mixture(_) => {}
            Self::Folder(config) => config.fit = fit,
            Self::Webdataset(config) => config.fit = fit,
            Self::Parquet(config) => config.fit = fit,
            Self::Documents(config) => config.fit = fit,
        }
        config
    }

    /// Returns this source with its paths taken from a folder on, such as that of the recipe that
    /// names them; absolute ones stay as they are.
    pub fn within(&self, folder: &Path) -> Self {
        let path = |path: &Path| folder.join(path);
        let patterns = |patterns: &mut Vec<String>| {
            for pattern in patterns.iter_mut().filter(|one| !Path::new(one).is_absolute()) {
                *pattern = format!("{}/{pattern}", folder.display());
            }
        };
        let mut config = self.clone();
        match &mut config {
            Self::Glyphs(_)
            | Self::Emoji(_)
            | Self::Dialogue(_)
            | Self::Words(_)
            | Self::Pairs(_) => {}
            Self::Folder(config) => {
                if !config.path.as_os_str().is_empty() {
                    config.path = path(&config.path);
                }
                config.cache = config.cache.as_deref().map(path);
            }
            Self::Webdataset(config) => patterns(&mut config.files),
            Self::Parquet(config) => patterns(&mut config.files),
            Self::Documents(config) => patterns(&mut config.files),
            Self::Mixture(mixture) => {
                for part in &mut mixture.parts {
                    part.data = part.data.within(folder);
                }
            }
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use mm_patch::Image;

    use super::*;

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        let path = folder.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }

    fn image(at: u8, width: usize) -> Vec<u8> {
        Image::filled(width, 64, [at; 3]).encode_png()
    }

    #[test]
    fn a_folder_is_read_with_the_captions_that_it_has() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        for at in 0..20 {
            write(root.path(), &format!("beside/{at}.png"), &image(at, 64));
            write(root.path(), &format!("beside/{at}.caption"), b"a thing");
            write(root.path(), &format!("bare/{at}.png"), &image(at, 128));
            write(
                root.path(),
                &format!("classes/{}/{at}.png", at % 3),
                &image(at, 64 + 8 * at as usize),
            );
            write(root.path(), &format!("split/train/{at}.png"), &image(at, 64));
        }
        write(root.path(), "split/test/0.png", &image(77, 64));
        let lines =
            (0..20).map(|at| format!("{{\"file_name\": \"{at}.png\", \"caption\": \"{at}\"}}\n"));
        write(root.path(), "bare/metadata.jsonl", lines.collect::<String>().as_bytes());
        let captions = |name: &str| {
            let found = survey(&path(name)).unwrap();
            let DataConfig::Folder(folder) = &found.data else { panic!("{found:?}") };
            (folder.captions, folder.caption.clone(), found)
        };
        let (kind, _, beside) = captions("beside");
        assert_eq!((kind, beside.train + beside.held_out), (Captions::Written, 20));
        assert_eq!((beside.widths.median, beside.text_bytes.median), (64, 7));
        assert!(beside.has_text && !beside.shapes_differ && beside.left_out == 0);
        let (kind, field, bare) = captions("bare");
        assert_eq!((kind, field.as_str(), bare.widths.median), (Captions::Written, "caption", 128));
        let (kind, _, classes) = captions("classes");
        assert_eq!((kind, classes.shapes_differ), (Captions::Folders, true));
        let (kind, _, split) = captions("split");
        assert_eq!((kind, split.train, split.held_out), (Captions::None, 20, 1));
        assert!(!split.has_text);
        assert!(survey(&path("nowhere")).is_err());
    }

    #[test]
    fn relative_paths_are_taken_from_a_folder_on_and_absolute_ones_stay() {
        let parse = |text: &str| toml::from_str::<DataConfig>(text).unwrap();
        let text = "source = 'mixture'\nparts = [\
            { weight = 1.0, data = { source = 'folder', path = 'images', cache = 'a.cache' } }, \
            { weight = 1.0, data = { source = 'parquet', files = ['*.parquet', '/x/y.parquet'] } }, \
            { weight = 1.0, data = { source = 'emoji' } }]";
        let wanted = "source = 'mixture'\nparts = [\
            { weight = 1.0, data = { source = 'folder', path = '/r[1]/images', cache = '/r[1]/a.cache' } }, \
            { weight = 1.0, data = { source = 'parquet', files = ['/r[1]/*.parquet', '/x/y.parquet'] } }, \
            { weight = 1.0, data = { source = 'emoji' } }]";
        assert_eq!(parse(text).within(Path::new("/r[1]")), parse(wanted));
    }
}
