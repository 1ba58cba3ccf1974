//! A recipe: everything that decides a training run, as one TOML file.
//!
//! Flags choose the recipe, the device, the seed and the output folder; the rest is here. Every run
//! folder holds a copy.

mod check;
mod model;
mod optimizer;
mod parse;
mod renamed;
mod run;
mod set;
mod sizes;
mod table;
mod validate;

use std::path::PathBuf;

use mm_backbone::Precision;
use mm_data::{DataConfig, ImageSettings};
use mm_diffusion::{ForwardProcess, Guidance, LossWeight, Sampler, TimestepSampling};
use mm_model::{
    ADVERSARIAL_LOSS, DISCRIMINATOR_LOSS, GenerationConfig, IMAGE_LOSS, LATENT_LOSS, ModelConfig,
    Order, TEXT_LOSS,
};
use serde::{Deserialize, Serialize};

use crate::RecipeError;

pub use mm_data::MixConfig;
pub use mm_model::Reduction;
pub use model::ModelSettings;
pub use optimizer::{EmaStart, LoraConfig, OptimizerConfig, OptimizerKind};
pub use run::{BestBy, LOG_EVERY, PrecisionChoice, RunConfig};
pub use table::Represent;

/// A whole training run.
///
/// ```
/// let text = include_str!("../../mm-cli/recipes/glyphs.toml");
/// let recipe = mm_train::Recipe::from_toml(text).unwrap().with("optimizer.lr", "1e-3").unwrap();
/// assert_eq!(recipe.optimizer.lr, 1e-3);
/// // A wrong key is refused by name.
/// let said = recipe.with("optimizer.momentum", "0.9").unwrap_err().to_string();
/// assert_eq!(said, "the recipe has no key `optimizer.momentum`");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "table::RecipeTable", into = "table::RecipeTable")]
pub struct Recipe {
    /// The seed of the first weights, of the order of documents, and of all noise.
    pub seed: u64,
    /// Says where records come from.
    pub data: DataConfig,
    /// The size of every image.
    pub image: ImageSettings,
    /// Says what an image is to the network; the key is `image.represent`.
    pub represent: Represent,
    /// The model folder of the codec that makes codes or latents of images; the key is
    /// `image.codec`. Where the recipe stands in a run folder, `model.codec` has the codec's sizes.
    pub codec: Option<PathBuf>,
    /// The order in which the patches of an image are written, where they are codes or bytes; the
    /// key is `image.order`.
    pub order: Order,
    /// Says which documents are made of the records.
    pub mix: MixConfig,
    /// The number of token ids, special tokens included; the tokenizer is trained on the captions.
    /// With 0 a document is the patches of one image, captions are not read, and `mix` only draws.
    pub vocab: usize,
    /// The network.
    pub model: ModelSettings,
    /// Says what is minimized.
    pub loss: LossConfig,
    /// Says how it is minimized.
    pub optimizer: OptimizerConfig,
    /// The length of the run, and what it writes on the way.
    pub run: RunConfig,
    /// Says how samples are drawn, during the run and in evaluation.
    pub sample: SampleConfig,
}

/// Holds the table `[loss]`: the loss terms and their weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// The weight of the mean cross-entropy of text.
    pub text: f64,
    /// The weight of the weighted squared error of patches.
    pub image: f64,
    /// The weight of what is minimized of a codec's latents: the divergence of Gaussian latents in
    /// nats a value of the image, or the commitment to a codebook. 0 for every other network.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub latent: f64,
    /// The weight of what a codec's decoder minimizes to be taken for real, times its adaptive
    /// weight. 0 for every other network.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub adversarial: f64,
    /// The first step at which the decoder and its discriminator learn from each other.
    #[serde(default, skip_serializing_if = "is_first")]
    pub adversarial_start: u64,
    /// Says over what the squared error is a mean.
    #[serde(default)]
    pub reduction: Reduction,
    /// The weight of a noise level.
    pub weight: LossWeight,
    /// Says how timesteps are drawn.
    pub timesteps: TimestepSampling,
}

/// Says whether a step is the first.
fn is_first(step: &u64) -> bool {
    *step == 0
}

/// Says whether a weight is absent.
fn is_zero(weight: &f64) -> bool {
    *weight == 0.0
}

impl LossConfig {
    /// Returns the weight of a loss term by its name; 0 for a term that the recipe does not know.
    pub fn weight_of(&self, name: &str) -> f64 {
        match name {
            TEXT_LOSS => self.text,
            IMAGE_LOSS => self.image,
            LATENT_LOSS => self.latent,
            ADVERSARIAL_LOSS => self.adversarial,
            DISCRIMINATOR_LOSS if self.adversarial > 0.0 => 1.0,
            _ => 0.0,
        }
    }
}

/// Holds the table `[sample]`: how samples are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// Says how an image is denoised.
    pub sampler: Sampler,
    /// The number of denoising steps.
    pub steps: usize,
    /// Says how much an image is drawn towards its caption.
    pub guidance: Guidance,
    /// The number of images in a grid, and of captions read.
    pub count: usize,
}

impl Recipe {
    /// Reads and checks the text of a recipe. All that is wrong is said at once: first keys, words
    /// and types, and where those are right, values that are out of range.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let recipe = Self::parse(text)?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Returns the settings that are written beside the weights of a model.
    pub fn generation_config(&self) -> GenerationConfig {
        GenerationConfig {
            width: self.image.width,
            height: self.image.height,
            sampler: self.sample.sampler,
            steps: self.sample.steps,
            guidance: self.sample.guidance,
            precision: Precision::F32,
        }
    }

    /// Returns how training images are noised.
    pub fn forward_process(&self) -> ForwardProcess {
        ForwardProcess {
            schedule: self.model.schedule,
            timesteps: self.loss.timesteps,
            weight: self.loss.weight,
        }
    }

    /// Returns the configuration of the model for a tokenizer of `vocab` ids.
    pub fn model_config(&self, vocab: usize) -> ModelConfig {
        let ModelSettings { init: _, time, schedule, prediction, network } = self.model.clone();
        let vocab = if self.vocab == 0 { 0 } else { vocab };
        let patch = self.image.patch / network.factor(); // which divides it, by `validate`
        ModelConfig { patch, vocab, time, schedule, prediction, network }
    }
}
