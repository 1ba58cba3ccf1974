//! Data sources, splits, mixtures, and the documents of a training step.
//!
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod bad_records;
mod caption;
pub mod check;
mod dialogue;
mod documents;
mod emoji;
mod error;
mod files;
mod fingerprint;
mod folder;
mod glyphs;
mod image;
mod mixture;
mod pairs;
mod parquet;
mod permutation;
mod record;
mod sampler;
mod shards;
mod source;
mod split;
pub mod survey;
mod task;
#[cfg(test)]
mod testing;
mod words;

use serde::{Deserialize, Serialize};

pub use bad_records::{BadRecords, Skipped, Tally};
pub use dialogue::{DialogueConfig, DialogueSet, Intent, Question};
pub use documents::{DocumentSet, DocumentsConfig};
pub use emoji::{CREDIT as EMOJI_CREDIT, EmojiConfig, EmojiGroup, EmojiSet};
pub use error::DataError;
pub use files::{image_files, is_image};
pub use fingerprint::Fingerprint;
pub use folder::{Captions, FolderConfig, FolderSet};
pub use glyphs::{
    Background, CHARACTERS, Combination, FACE_NAMES, Faces, GlyphSet, GlyphsConfig, Ink, Likeness,
    Mask, Place, which_question,
};
pub use image::{EXTENSIONS, ImageFit, ImageSettings};
pub use mixture::{MixtureConfig, MixtureSet, Part, PartConfig};
pub use pairs::{Asked, Difference, PairSet, PairsConfig};
pub use parquet::{ParquetConfig, ParquetSet};
pub use record::{Example, Record};
pub use sampler::{DocumentSampler, Numbered, SamplerConfig};
pub use shards::{ShardSet, WebdatasetConfig};
pub use source::{DataSet, DataSource};
pub use split::{Split, split_hash};
pub use task::{MixConfig, Task};
pub use words::{WordSet, WordsConfig};

/// Where records come from, as the table `[data]` of a recipe says it.
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
    /// The embedded Twemoji images.
    Emoji(EmojiConfig),
    /// Dialogues about glyphs and emoji, made in code.
    Dialogue(DialogueConfig),
    /// One to three words in an image, drawn in code.
    Words(WordsConfig),
    /// Two images that are the same or differ in one detail, drawn in code.
    Pairs(PairsConfig),
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
            Self::Dialogue(config) => config.validate(),
            Self::Words(config) => config.validate(),
            Self::Pairs(config) => config.validate(),
            Self::Folder(config) => config.validate(),
            Self::Webdataset(config) => config.validate(),
            Self::Parquet(config) => config.validate(),
            Self::Documents(config) => config.validate(),
            Self::Mixture(config) => config.validate(),
        }
    }

    /// Returns whether every image has exactly the size that was asked for; not where one is told
    /// from the files alone.
    pub fn has_one_size(&self) -> bool {
        match self {
            Self::Glyphs(_)
            | Self::Emoji(_)
            | Self::Dialogue(_)
            | Self::Words(_)
            | Self::Pairs(_) => true,
            Self::Folder(FolderConfig { fit, .. })
            | Self::Webdataset(WebdatasetConfig { fit, .. })
            | Self::Parquet(ParquetConfig { fit, .. }) => *fit != ImageFit::Aspect,
            Self::Documents(_) => false,
            Self::Mixture(mixture) => mixture.parts.iter().all(|part| part.data.has_one_size()),
        }
    }
}

impl DataSet {
    /// Opens a source whose images all come out at the size of `image`, or within its number of
    /// patches.
    pub fn open(config: &DataConfig, image: ImageSettings) -> Result<Self, DataError> {
        Ok(match config {
            DataConfig::Glyphs(config) => Self::from_source(GlyphSet::open(config, image)?),
            DataConfig::Emoji(config) => Self::from_source(EmojiSet::open(config, image)?),
            DataConfig::Dialogue(config) => Self::from_source(DialogueSet::open(config, image)?),
            DataConfig::Words(config) => Self::from_source(WordSet::open(config, image)?),
            DataConfig::Pairs(config) => Self::from_source(PairSet::open(config, image)?),
            DataConfig::Folder(config) => Self::from_source(FolderSet::open(config, image)?),
            DataConfig::Webdataset(config) => Self::from_source(ShardSet::open(config, image)?),
            DataConfig::Parquet(config) => Self::from_source(ParquetSet::open(config, image)?),
            DataConfig::Documents(config) => Self::from_source(DocumentSet::open(config, image)?),
            DataConfig::Mixture(config) => Self::from_source(MixtureSet::open(config, image)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

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
        let text = "source = \"folder\"\npath = \"images\"\ncaptions = \"folders\"\n";
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
