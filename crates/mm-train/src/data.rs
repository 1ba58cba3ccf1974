//! Data sources: pictures with captions, and the documents made of them.
//!
//! A [`DataSet`] is opened from a [`DataConfig`] and gives an [`Example`] for any index in any order. What it gives is
//! a pure function of the arguments, so a resumed run sees what an uninterrupted one would have seen. Order and epochs
//! are the caller's; so are shuffling and batches. [`Direction`] and its neighbours turn examples into documents.

mod document;
mod emoji;
mod folder;
mod glyphs;
mod split;

use std::io;
use std::path::PathBuf;

use mm_patch::Image;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use document::{
    Direction, Likeness, Place, draw, finished, read, same_or_different, which_one_is,
    which_question,
};
pub use emoji::{CREDIT as EMOJI_CREDIT, EmojiConfig, EmojiGroup, EmojiSet};
pub use folder::{Captions, EXTENSIONS, FolderConfig, FolderFit, FolderSet, Skipped};
pub use glyphs::{Background, CHARACTERS, Combination, FACE_NAMES, GlyphSet, GlyphsConfig, Ink};
pub(crate) use glyphs::{Faces, Mask};
pub use split::{Split, split_hash};

/// A picture and what it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The pixels, of exactly the size that was asked for.
    pub image: Image,
    /// The words.
    pub caption: String,
}

/// The size of every picture of a data set, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSettings {
    /// Columns, a multiple of the patch.
    pub width: usize,
    /// Rows, a multiple of the patch.
    pub height: usize,
    /// Side of a square patch.
    pub patch: usize,
}

impl ImageSettings {
    /// Checks that both sides are multiples of the patch and none is 0.
    pub fn validate(&self) -> Result<(), DataError> {
        let Self { width, height, patch } = *self;
        let divides = |side: usize| side > 0 && patch > 0 && side.is_multiple_of(patch);
        if divides(width) && divides(height) {
            Ok(())
        } else {
            Err(DataError::Size { width, height, patch })
        }
    }
}

/// Where examples come from.
///
/// ```
/// use mm_train::data::DataConfig;
///
/// let config: DataConfig = toml::from_str("source = 'glyphs'\nletters = [1, 2]").unwrap();
/// config.validate().unwrap();
/// assert!(toml::from_str::<DataConfig>("source = 'glyphs'\nleters = [1, 2]").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataConfig {
    /// Characters drawn in code.
    Glyphs(GlyphsConfig),
    /// The embedded Twemoji pictures.
    Emoji(EmojiConfig),
    /// A folder of image files with captions.
    Folder(FolderConfig),
}

impl DataConfig {
    /// Checks what the types do not, by field name; touches no file.
    pub fn validate(&self) -> Result<(), DataError> {
        match self {
            Self::Glyphs(config) => config.validate(),
            Self::Emoji(config) => config.validate(),
            Self::Folder(config) => config.validate(),
        }
    }
}

/// An open source of examples.
#[derive(Debug)]
pub enum DataSet {
    /// Characters drawn in code.
    Glyphs(GlyphSet),
    /// The embedded Twemoji pictures.
    Emoji(EmojiSet),
    /// A folder of image files with captions.
    Folder(FolderSet),
}

impl DataSet {
    /// Opens a source whose pictures all come out at the size of `image`.
    pub fn open(config: &DataConfig, image: ImageSettings) -> Result<Self, DataError> {
        Ok(match config {
            DataConfig::Glyphs(config) => Self::Glyphs(GlyphSet::open(config, image)?),
            DataConfig::Emoji(config) => Self::Emoji(EmojiSet::open(config, image)?),
            DataConfig::Folder(config) => Self::Folder(FolderSet::open(config, image)?),
        })
    }

    /// How many examples the part has before it repeats; `None` is an endless source, whose examples are drawn from
    /// the random generator alone.
    pub fn len(&self, split: Split) -> Option<u64> {
        match self {
            Self::Glyphs(glyphs) => glyphs.len(split),
            Self::Emoji(emoji) => Some(emoji.len(split)),
            Self::Folder(folder) => Some(folder.len(split)),
        }
    }

    /// The example of an index, which wraps around at [`Self::len`]; a pure function of the arguments (and of the
    /// files, for a folder).
    ///
    /// An empty part is an error, and so is a folder none of whose pictures can be read any more.
    pub fn example(
        &self,
        split: Split,
        index: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Example, DataError> {
        match self {
            Self::Glyphs(glyphs) => Ok(glyphs.example(split, index, rng)),
            Self::Emoji(emoji) => emoji.example(split, index),
            Self::Folder(folder) => folder.example(split, index),
        }
    }

    /// Captions of the training part, for a tokenizer; always the same for the same source.
    pub fn captions(&self) -> Vec<String> {
        match self {
            Self::Glyphs(glyphs) => glyphs.captions(),
            Self::Emoji(emoji) => emoji.captions(),
            Self::Folder(folder) => folder.captions(),
        }
    }

    /// What was left out so far, and why; only folders leave anything out.
    pub fn skipped(&self) -> Vec<Skipped> {
        match self {
            Self::Folder(folder) => folder.skipped(),
            Self::Glyphs(_) | Self::Emoji(_) => Vec::new(),
        }
    }
}

/// Why a data set cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A setting has a value that means nothing.
    #[error("`{field}` is `{found}`, wanted {wanted}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        wanted: &'static str,
    },
    /// The picture size does not divide into patches.
    #[error("image size {width}x{height} is not made of whole patches of {patch}x{patch} pixels")]
    Size {
        /// Columns asked for.
        width: usize,
        /// Rows asked for.
        height: usize,
        /// Side of a patch.
        patch: usize,
    },
    /// A folder cannot be listed.
    #[error("cannot read the data folder")]
    Read(#[source] io::Error),
    /// A folder has no picture with a caption.
    #[error(
        "`{path}` holds no image with a caption; wanted files ending in {extensions}, skipped {skipped}{first}"
    )]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// The accepted file name endings.
        extensions: String,
        /// How many files were left out.
        skipped: usize,
        /// The first file that was left out, as words, or nothing.
        first: String,
    },
    /// The part asked for has no example.
    #[error("the {split} part of the {source_name} data set is empty")]
    EmptySplit {
        /// The part.
        split: &'static str,
        /// The kind of data set.
        source_name: &'static str,
    },
    /// Pictures were listed, but none can be decoded.
    #[error("none of the {files} images of `{path}` can be read; the first: {why}")]
    AllBroken {
        /// The folder.
        path: PathBuf,
        /// How many were tried.
        files: usize,
        /// What is wrong with the first of them.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const SETTINGS: ImageSettings = ImageSettings { width: 32, height: 16, patch: 8 };

    #[test]
    fn every_embedded_source_gives_the_wanted_size_and_repeats_itself() {
        for config in
            [DataConfig::Glyphs(GlyphsConfig::default()), DataConfig::Emoji(EmojiConfig::default())]
        {
            let data = DataSet::open(&config, SETTINGS).unwrap();
            for split in Split::ALL {
                for index in [0, 1, 77, u64::MAX] {
                    let example = || {
                        data.example(split, index, &mut ChaCha8Rng::seed_from_u64(index)).unwrap()
                    };
                    assert_eq!(example(), example());
                    assert_eq!((example().image.width(), example().image.height()), (32, 16));
                }
            }
            assert_eq!(data.captions(), DataSet::open(&config, SETTINGS).unwrap().captions());
            assert!(data.skipped().is_empty());
        }
    }

    #[test]
    fn sizes_that_are_not_whole_patches_are_refused() {
        let config = DataConfig::Glyphs(GlyphsConfig::default());
        let refusal = |settings| DataSet::open(&config, settings).unwrap_err().to_string();
        let wanted = "image size 32x16 is not made of whole patches of 5x5 pixels";
        assert_eq!(refusal(ImageSettings { patch: 5, ..SETTINGS }), wanted);
        assert!(refusal(ImageSettings { patch: 0, ..SETTINGS }).contains("0x0 pixels"));
        assert!(refusal(ImageSettings { width: 0, ..SETTINGS }).contains("size 0x16"));
    }

    #[test]
    fn a_config_survives_toml_and_a_misspelled_key_is_named() {
        let text = "source = \"folder\"\npath = \"pictures\"\ncaptions = \"folders\"\n";
        let config: DataConfig = toml::from_str(text).unwrap();
        assert_eq!(
            toml::from_str::<DataConfig>(&toml::to_string(&config).unwrap()).unwrap(),
            config
        );
        let refusal = |text: &str| toml::from_str::<DataConfig>(text).unwrap_err().to_string();
        assert!(refusal("source = 'emoji'\ngruops = []").contains("`gruops`"));
        assert!(refusal("source = 'fodler'").contains("`fodler`"));
        assert!(refusal("source = 'folder'").contains("`path`"));
    }
}
