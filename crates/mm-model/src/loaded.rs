//! A model ready for use: configuration, tokenizer, weights and settings of generation, from a
//! folder or from bytes.

use std::io::Cursor;

use burn::prelude::*;
use mm_patch::{Fit, Grid};
use mm_text::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::parameters::FORMAT;
use crate::stored::{Shard, Stored};
use crate::{
    DocumentError, FileError, FolderError, GenerateError, GenerateOptions, GenerationConfig, Model,
    ModelConfig, Sequencer,
};

/// The file of the configuration.
pub const CONFIG: &str = "config.json";
/// The file of the tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// The file of the settings of generation.
pub const GENERATION: &str = "generation_config.json";
/// The file of the weights.
pub const WEIGHTS: &str = "model.safetensors";

/// Weights, configuration, tokenizer and settings: all that generation needs.
#[derive(Debug)]
pub struct LoadedModel {
    /// The shapes and their meaning.
    pub config: ModelConfig,
    /// The tokenizer; an image-only model has one too and never asks it.
    pub tokenizer: Tokenizer,
    /// The weights.
    pub model: Model,
    /// The size of images and how they are drawn.
    pub generation: GenerationConfig,
}

/// The files of a model folder as bytes, for places without a file system.
#[derive(Debug, Clone, Copy)]
pub struct ModelParts<'a> {
    /// The contents of `config.json`.
    pub config: &'a [u8],
    /// The contents of `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// The contents of `generation_config.json`.
    pub generation: &'a [u8],
    /// The contents of `model.safetensors`.
    pub weights: &'a [u8],
}

/// The contents of `config.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    format: u32,
    model: ModelConfig,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: Option<serde_json::Value>,
}

impl LoadedModel {
    /// Makes a model from the contents of its four files.
    ///
    /// An error names the file, what was found in it and what was wanted. The weights are counted
    /// before any memory is taken for them.
    pub fn from_parts(parts: ModelParts<'_>, device: &Device) -> Result<Self, FolderError> {
        let config = config_from_bytes(parts.config).map_err(|why| why.in_file(CONFIG))?;
        let tokenizer =
            tokenizer_from_bytes(parts.tokenizer, &config).map_err(|why| why.in_file(TOKENIZER))?;
        let generation =
            generation_from_bytes(parts.generation).map_err(|why| why.in_file(GENERATION))?;
        let weights =
            Shard::open(Cursor::new(parts.weights)).map_err(|why| why.in_file(WEIGHTS))?;
        let weights = Stored::new(WEIGHTS.into(), vec![(WEIGHTS.into(), weights)])?;
        let model = weights.model(&config, device, &mut |_| ())?;
        Ok(Self { config, tokenizer, model, generation })
    }

    /// Returns the rules that turn documents into sequences of this model.
    pub fn sequencer(&self) -> Sequencer<'_> {
        Sequencer {
            tokenizer: &self.tokenizer,
            patch: self.config.patch_pixels(),
            positions: self.config.network.positions(),
            layout: self.config.network.layout(),
            encoder: self.model.encoder(),
        }
    }

    /// Returns how images of any size are brought into the form that the model knows: those of Fuyu
    /// keep their aspect, others are cropped to the size that the model was trained on.
    pub fn fit(&self) -> Fit {
        let GenerationConfig { width, height, .. } = self.generation;
        if self.tokenizer.special().by_rows.is_some() {
            // Fuyu's processor fills up with 1 of 255.
            return Fit::ShrinkAndFill { width, height, background: [1; 3] };
        }
        Fit::CenterCrop { width, height }
    }

    /// Returns the patches of an image of the size that the model was trained on.
    pub fn grid(&self) -> Result<Grid, DocumentError> {
        self.config
            .grid(self.generation.width, self.generation.height)
            .map_err(|source| DocumentError::Image { index: 1, source })
    }

    /// Checks settings of generation, and that the tokenizer belongs to the model.
    pub(crate) fn check(&self, options: &GenerateOptions) -> Result<(), GenerateError> {
        options.tokens.validate()?;
        options.sampler.validate()?;
        options.guidance.validate()?;
        let (found, wanted) = (self.tokenizer.vocab(), self.config.vocab);
        if found == wanted || !self.config.has_text() {
            return Ok(());
        }
        Err(GenerateError::Vocab { found, wanted })
    }

    /// Returns the model's own settings of generation, with greedy text.
    pub fn options(&self, seed: u64) -> GenerateOptions {
        self.generation.options(seed)
    }
}

/// Reads a tokenizer, which must have as many ids as the model.
pub(crate) fn tokenizer_from_bytes(
    bytes: &[u8],
    config: &ModelConfig,
) -> Result<Tokenizer, FileError> {
    let tokenizer =
        Tokenizer::from_json(bytes).map_err(|why| FileError::malformed(TOKENIZER, &why))?;
    let (found, wanted) = (tokenizer.vocab(), config.vocab);
    if config.has_text() && found != wanted {
        return Err(FileError::Vocab { found, wanted });
    }
    Ok(tokenizer)
}

/// Writes the contents of `config.json`.
pub fn config_to_bytes(config: &ModelConfig) -> Vec<u8> {
    let file = ConfigFile { format: FORMAT, model: config.clone() };
    serde_json::to_vec_pretty(&file).expect("a configuration is plain data")
}

/// Reads and checks the contents of `config.json`; a file of another format is refused with both
/// numbers.
pub fn config_from_bytes(bytes: &[u8]) -> Result<ModelConfig, FileError> {
    let malformed = |why: serde_json::Error| FileError::malformed(CONFIG, &why);
    let format: FormatOnly = serde_json::from_slice(bytes).map_err(malformed)?;
    let found = match format.format {
        Some(serde_json::Value::Number(number)) => number.to_string(),
        Some(serde_json::Value::String(name)) => name.trim_start_matches("mm-").to_owned(),
        Some(other) => other.to_string(),
        None => "none".to_owned(),
    };
    if found != FORMAT.to_string() {
        return Err(FileError::Format { found, wanted: FORMAT });
    }
    let file: ConfigFile = serde_json::from_slice(bytes).map_err(malformed)?;
    file.model.validate()?;
    Ok(file.model)
}

/// Reads and checks the contents of `generation_config.json`.
pub fn generation_from_bytes(bytes: &[u8]) -> Result<GenerationConfig, FileError> {
    let found: GenerationConfig =
        serde_json::from_slice(bytes).map_err(|why| FileError::malformed(GENERATION, &why))?;
    found.validate()?;
    Ok(found)
}
