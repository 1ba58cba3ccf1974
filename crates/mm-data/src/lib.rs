//! Data sources: pictures with captions and the documents made of them, or whole documents.
//!
//! A [`DataSet`] is opened from a [`DataConfig`] and gives a [`Record`] for any index in any order. What it gives is
//! a pure function of the arguments, so a resumed run sees what an uninterrupted one would have seen. Order and epochs
//! are the caller's; so are shuffling and batches. [`Direction`] and its neighbours turn examples into documents.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod check;
mod checksum;
mod document;
mod documents;
mod emoji;
mod error;
mod files;
mod folder;
mod glyphs;
mod halves;
mod ledger;
mod line;
mod mix;
mod mixture;
mod parquet;
mod permutation;
mod picture;
mod sampler;
mod shards;
mod split;
mod trainable;

use mm_model::Document;
use mm_patch::Image;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use self::parquet::{ParquetConfig, ParquetSet};
pub use document::{
    Direction, Likeness, Place, draw, finished, read, same_or_different, which_one_is,
    which_question,
};
pub use documents::{DocumentSet, DocumentsConfig};
pub use emoji::{CREDIT as EMOJI_CREDIT, EmojiConfig, EmojiGroup, EmojiSet};
pub use error::DataError;
pub use folder::{Captions, FolderConfig, FolderSet};
pub use glyphs::{Background, CHARACTERS, Combination, FACE_NAMES, GlyphSet, GlyphsConfig, Ink};
pub use glyphs::{Faces, Mask};
pub use ledger::{Skipped, Tally};
pub use mix::{MixConfig, Task};
pub use mixture::{MixtureConfig, MixtureSet, PartConfig};
pub use picture::{EXTENSIONS, PictureFit};
pub use sampler::{DocumentSampler, Numbered, SamplerConfig};
pub use shards::{ShardSet, WebdatasetConfig};
pub use split::{Split, split_hash};

/// Most texts that a vocabulary is learnt from, spread over the training part of a source.
const MOST_CORPUS: usize = 20_000;

/// A picture and what it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The pixels, of exactly the size that was asked for unless the source keeps the aspect.
    pub image: Image,
    /// The words.
    pub caption: String,
}

/// What a source gives for an index.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A picture with a caption, of which documents of several kinds can be made.
    Captioned(Example),
    /// A document that is taken as it is.
    Whole(Document),
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
/// use mm_data::DataConfig;
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
    /// Tar shards in the manner of WebDataset.
    Webdataset(WebdatasetConfig),
    /// Parquet tables in Hugging Face's form.
    Parquet(ParquetConfig),
    /// Whole documents: interleaved JSONL, and plain text.
    Documents(DocumentsConfig),
    /// Several of these, each with its weight.
    Mixture(MixtureConfig),
}

impl DataConfig {
    /// Checks what the types do not, by field name; touches no file.
    pub fn validate(&self) -> Result<(), DataError> {
        match self {
            Self::Glyphs(config) => config.validate(),
            Self::Emoji(config) => config.validate(),
            Self::Folder(config) => config.validate(),
            Self::Webdataset(config) => config.validate(),
            Self::Parquet(config) => config.validate(),
            Self::Documents(config) => config.validate(),
            Self::Mixture(config) => config.validate(),
        }
    }

    /// Whether every picture has exactly the size that was asked for; not where one is told from the files alone.
    pub fn has_one_size(&self) -> bool {
        match self {
            Self::Glyphs(_) | Self::Emoji(_) => true,
            Self::Folder(FolderConfig { fit, .. })
            | Self::Webdataset(WebdatasetConfig { fit, .. })
            | Self::Parquet(ParquetConfig { fit, .. }) => *fit != PictureFit::Aspect,
            Self::Documents(_) => false,
            Self::Mixture(mixture) => mixture.parts.iter().all(|part| part.data.has_one_size()),
        }
    }
}

/// An open source.
#[derive(Debug)]
pub enum DataSet {
    /// Characters drawn in code.
    Glyphs(GlyphSet),
    /// The embedded Twemoji pictures.
    Emoji(EmojiSet),
    /// A folder of image files with captions.
    Folder(FolderSet),
    /// Tar shards.
    Webdataset(ShardSet),
    /// Parquet tables.
    Parquet(ParquetSet),
    /// Whole documents.
    Documents(DocumentSet),
    /// Several of these.
    Mixture(MixtureSet),
}

impl DataSet {
    /// Opens a source whose pictures all come out at the size of `image`, or within its number of patches.
    pub fn open(config: &DataConfig, image: ImageSettings) -> Result<Self, DataError> {
        Ok(match config {
            DataConfig::Glyphs(config) => Self::Glyphs(GlyphSet::open(config, image)?),
            DataConfig::Emoji(config) => Self::Emoji(EmojiSet::open(config, image)?),
            DataConfig::Folder(config) => Self::Folder(FolderSet::open(config, image)?),
            DataConfig::Webdataset(config) => Self::Webdataset(ShardSet::open(config, image)?),
            DataConfig::Parquet(config) => Self::Parquet(ParquetSet::open(config, image)?),
            DataConfig::Documents(config) => Self::Documents(DocumentSet::open(config, image)?),
            DataConfig::Mixture(config) => Self::Mixture(MixtureSet::open(config, image)?),
        })
    }

    /// How many records the part has before it repeats; `None` is an endless source, such as one whose examples are drawn
    /// from the random generator alone.
    pub fn len(&self, split: Split) -> Option<u64> {
        match self {
            Self::Glyphs(glyphs) => glyphs.len(split),
            Self::Emoji(emoji) => Some(emoji.len(split)),
            Self::Folder(folder) => Some(folder.len(split)),
            Self::Webdataset(shards) => Some(shards.len(split)),
            Self::Parquet(table) => Some(table.len(split)),
            Self::Documents(documents) => Some(documents.len(split)),
            Self::Mixture(mixture) => mixture.len(split),
        }
    }

    /// The record of an index, which wraps around at [`Self::len`]; a pure function of the arguments, and of the files.
    ///
    /// An empty part is an error, and so are more broken items than the source's `max_bad` allows.
    pub fn record(
        &self,
        split: Split,
        index: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Record, DataError> {
        Ok(Record::Captioned(match self {
            Self::Glyphs(glyphs) => glyphs.example(split, index, rng),
            Self::Emoji(emoji) => emoji.example(split, index)?,
            Self::Folder(folder) => folder.example(split, index)?,
            Self::Webdataset(shards) => shards.example(split, index)?,
            Self::Parquet(table) => table.example(split, index)?,
            Self::Documents(documents) => {
                return Ok(Record::Whole(documents.document(split, index)?));
            }
            Self::Mixture(mixture) => return mixture.record(split, index, rng),
        }))
    }

    /// The record of an index, as [`Self::record`], but nothing in place of a broken one, and no limit: such a record is named
    /// in [`Self::skipped`] and counted in [`Self::bad`]. An empty part is an error.
    pub fn exact(
        &self,
        split: Split,
        index: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<Record>, DataError> {
        let found = match self {
            _ if self.len(split) == Some(0) => return self.record(split, index, rng).map(Some),
            Self::Glyphs(_) | Self::Emoji(_) => return self.record(split, index, rng).map(Some),
            Self::Mixture(mixture) => return mixture.exact(split, index, rng),
            Self::Documents(documents) => {
                return Ok(documents.exact(split, index).map(Record::Whole));
            }
            Self::Folder(folder) => folder.exact(split, index),
            Self::Webdataset(shards) => shards.exact(split, index),
            Self::Parquet(table) => table.exact(split, index),
        };
        Ok(found.map(Record::Captioned))
    }

    /// The picture and caption of an index, as [`Self::record`]; `None` where a whole document stands.
    pub fn example(
        &self,
        split: Split,
        index: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<Example>, DataError> {
        Ok(match self.record(split, index, rng)? {
            Record::Captioned(example) => Some(example),
            Record::Whole(_) => None,
        })
    }

    /// Captions and texts of the training part, for a tokenizer; always the same for the same source.
    pub fn captions(&self) -> Vec<String> {
        match self {
            Self::Glyphs(glyphs) => glyphs.captions(),
            Self::Emoji(emoji) => emoji.captions(),
            Self::Folder(folder) => folder.captions(),
            Self::Webdataset(shards) => shards.captions(),
            Self::Parquet(table) => table.captions(),
            Self::Documents(documents) => documents.texts(),
            Self::Mixture(mixture) => mixture.captions(),
        }
    }

    /// What was left out so far, and why, broken items first; only files are ever left out.
    pub fn skipped(&self) -> Vec<Skipped> {
        match self {
            Self::Glyphs(_) | Self::Emoji(_) => Vec::new(),
            Self::Folder(folder) => folder.skipped(),
            Self::Webdataset(shards) => shards.skipped(),
            Self::Parquet(table) => table.skipped(),
            Self::Documents(documents) => documents.skipped(),
            Self::Mixture(mixture) => mixture.skipped(),
        }
    }

    /// How many of those left out are broken items.
    pub fn bad(&self) -> usize {
        match self {
            Self::Glyphs(_) | Self::Emoji(_) => 0,
            Self::Folder(folder) => folder.bad(),
            Self::Webdataset(shards) => shards.bad(),
            Self::Parquet(table) => table.bad(),
            Self::Documents(documents) => documents.bad(),
            Self::Mixture(mixture) => mixture.bad(),
        }
    }

    /// How much is broken so far, and how much there is; nothing of either where no file is read.
    pub fn tally(&self) -> Tally {
        match self {
            Self::Glyphs(_) | Self::Emoji(_) => Tally::default(),
            Self::Folder(folder) => folder.tally(),
            Self::Webdataset(shards) => shards.tally(),
            Self::Parquet(table) => table.tally(),
            Self::Documents(documents) => documents.tally(),
            Self::Mixture(mixture) => mixture.tally(),
        }
    }
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
                        let mut rng = ChaCha8Rng::seed_from_u64(index);
                        data.example(split, index, &mut rng).unwrap().unwrap()
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
