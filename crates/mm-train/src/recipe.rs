//! A recipe: everything that decides a training run, as one TOML file.
//!
//! Flags choose the recipe, the device, the seed and the output folder; the rest is here. A copy stands in every run folder.

use mm_backbone::{BackboneConfig, InitLaw};
use mm_diffusion::{Guidance, LossWeight, Prediction, Sampler, Schedule, TimestepSampling};
use mm_model::{
    GenerationConfig, ModelConfig, TimeConfig, UnetConfig, is_no_backbone, no_backbone,
};
use serde::{Deserialize, Serialize};

use crate::RecipeError;
pub use mm_data::MixConfig;
use mm_data::{DataConfig, ImageSettings};
pub use mm_model::Reduction;

mod optimizer;
mod run;
mod settings;
mod sizes;
mod validate;

pub use optimizer::{EmaStart, OptimizerConfig, OptimizerKind};
pub use run::RunConfig;
use validate::check;

/// A whole training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Seed of the first weights, the order, the noise: everything.
    pub seed: u64,
    /// Where examples come from.
    pub data: DataConfig,
    /// Size of every picture.
    pub image: ImageSettings,
    /// Which documents are made of the examples.
    pub mix: MixConfig,
    /// Number of token ids, special tokens included; the tokenizer is trained on the captions. 0 for images alone: documents are
    /// the patches of one image each, captions are not looked at, and `mix` is drawing and nothing else.
    pub vocab: usize,
    /// The network.
    pub model: NetworkConfig,
    /// What is minimised.
    pub loss: LossConfig,
    /// How.
    pub optimizer: OptimizerConfig,
    /// For how long, and what is written meanwhile.
    pub run: RunConfig,
    /// How samples are drawn during the run and in evaluation.
    pub sample: SampleConfig,
}

/// The network, as far as the data do not decide it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Whether the maps to and from patches have biases.
    pub patch_bias: bool,
    /// Rows and columns that have a learnt embedding added to their patches; 0 for none.
    pub patch_places: usize,
    /// Whether a 3x3 convolution over the pixels of each image follows the map to patches.
    #[serde(default)]
    pub patch_convolution: bool,
    /// How the weights of linear maps are drawn at first.
    #[serde(default)]
    pub init: InitLaw,
    /// How the network is told the noise level.
    pub time: TimeConfig,
    /// How images are noised.
    pub schedule: Schedule,
    /// What the network predicts at image places.
    pub prediction: Prediction,
    /// The transformer; absent where there is a U-Net.
    #[serde(default = "no_backbone", skip_serializing_if = "is_no_backbone")]
    pub backbone: BackboneConfig,
    /// A U-Net in place of the transformer, for images without captions alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unet: Option<UnetConfig>,
}

/// The terms of the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// Factor of the mean cross-entropy.
    pub text: f64,
    /// Factor of the weighted squared error.
    pub image: f64,
    /// Over what the squared error is a mean.
    #[serde(default)]
    pub reduction: Reduction,
    /// Weight of a noise level.
    pub weight: LossWeight,
    /// How noise levels are drawn.
    pub timesteps: TimestepSampling,
}

/// How samples are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// How an image is denoised.
    pub sampler: Sampler,
    /// Denoising steps.
    pub steps: usize,
    /// How much an image is drawn towards its caption.
    pub guidance: Guidance,
    /// Pictures in a grid, and captions read.
    pub count: usize,
}

impl Recipe {
    /// Reads and checks a recipe's text; a wrong or unknown key is named with its line.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|why| RecipeError::Toml(Box::new(why)))?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// The settings that are written beside a model's weights.
    pub fn generation_config(&self) -> GenerationConfig {
        GenerationConfig {
            width: self.image.width,
            height: self.image.height,
            sampler: self.sample.sampler,
            steps: self.sample.steps,
            guidance: self.sample.guidance,
        }
    }

    /// The model's configuration for a tokenizer of `vocab` ids.
    pub fn model_config(&self, vocab: usize) -> ModelConfig {
        let network = self.model.clone();
        ModelConfig {
            patch: self.image.patch,
            vocab: if self.vocab == 0 { 0 } else { vocab },
            patch_bias: network.patch_bias,
            patch_places: network.patch_places,
            patch_convolution: network.patch_convolution,
            time: network.time,
            schedule: network.schedule,
            prediction: network.prediction,
            backbone: network.backbone,
            unet: network.unet,
        }
    }
}
