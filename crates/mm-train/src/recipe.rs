//! A recipe: everything that decides a training run, as one TOML file.
//!
//! Flags choose the recipe, the device, the seed and the output folder; the rest is here. A copy stands in every run folder.

use mm_backbone::{BackboneConfig, InitLaw, Precision};
use mm_diffusion::{Guidance, LossWeight, Prediction, Sampler, Schedule, TimeDistribution};
use mm_model::{ModelConfig, TimeConfig, UnetConfig, is_no_backbone, no_backbone};
use serde::{Deserialize, Serialize};

use crate::RecipeError;
use crate::data::{DataConfig, ImageSettings};
use crate::watch::BestBy;

mod optimizer;
mod run;

pub use optimizer::{EmaStart, OptimizerConfig, OptimizerKind};
pub use run::RunConfig;

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

/// Shares of the kinds of documents; they need not add up to one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixConfig {
    /// Caption, then image: share at the first and at the last step, changing linearly.
    pub draw: [f64; 2],
    /// Image, then caption: share at the first and at the last step.
    pub read: [f64; 2],
    /// Caption, then the clean image, then the end: teaches that nothing follows a finished drawing.
    #[serde(default)]
    pub finished: f64,
    /// Two images, then `same` or `different` (glyphs alone).
    #[serde(default)]
    pub same_or_different: f64,
    /// A question, two images, then `first` or `second` (glyphs alone).
    #[serde(default)]
    pub which_one: f64,
    /// Share of drawn documents whose caption is left out, so that guidance has something to push away from.
    pub caption_drop: f64,
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
    pub times: TimeDistribution,
}

/// Over what the squared error of images is a mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Over every number of every learnt patch.
    #[default]
    Mean,
    /// Over the learnt images, each the sum over its rows, columns and colours, as in the seed.
    Sum,
}

impl Reduction {
    /// What the mean over the learnt numbers of some images is multiplied by.
    pub fn factor(self, numbers: usize, images: usize) -> f64 {
        match self {
            Self::Mean => 1.0,
            Self::Sum => numbers as f64 / images.max(1) as f64,
        }
    }
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

    /// The recipe with one value replaced: `key` is a dotted path such as `optimizer.rate`, `value` is TOML, or a bare word.
    pub fn with(&self, key: &str, value: &str) -> Result<Self, RecipeError> {
        let missing = || RecipeError::NoKey { key: key.to_owned() };
        let mut tree = toml::Value::try_from(self).expect("a recipe is plain data");
        let (parents, last) =
            key.rsplit_once('.').map_or((None, key), |(parents, last)| (Some(parents), last));
        let mut at = &mut tree;
        for part in parents.into_iter().flat_map(|parents| parents.split('.')) {
            at = at.get_mut(part).ok_or_else(missing)?;
        }
        let fields = at.as_table_mut().ok_or_else(missing)?;
        let mut new = toml::from_str::<toml::Table>(&format!("v = {value}"))
            .ok()
            .and_then(|mut table| table.remove("v"))
            .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        if let (toml::Value::Integer(number), true) = (&new, key_is_float(self, key)) {
            new = toml::Value::Float(*number as f64);
        }
        let known = fields.insert(last.to_owned(), new).is_some();
        let recipe: Self = tree.try_into().map_err(|why: toml::de::Error| match why.message() {
            words if !known && words.contains("unknown field") => missing(),
            words => RecipeError::Value { key: key.to_owned(), why: words.to_owned() },
        })?;
        if !known && value_at(&recipe, key).is_none() {
            return Err(missing()); // no field took it; one that is left out where it is empty, such as `data.cache`, does
        }
        recipe.validate()?;
        Ok(recipe)
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

    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.data.validate()?;
        self.image.validate()?;
        self.model_config(self.vocab).validate()?;
        self.loss.weight.validate().map_err(RecipeError::Diffusion)?;
        self.loss.times.validate().map_err(RecipeError::Diffusion)?;
        self.sample.sampler.validate().map_err(RecipeError::Diffusion)?;
        self.sample.guidance.validate().map_err(RecipeError::Diffusion)?;
        let (mix, optimizer) = (&self.mix, &self.optimizer);
        let shares = [
            mix.draw[0],
            mix.draw[1],
            mix.read[0],
            mix.read[1],
            mix.finished,
            mix.same_or_different,
            mix.which_one,
        ];
        let two = mix.same_or_different + mix.which_one;
        let rest = two + mix.finished;
        check(
            "mix",
            shares.iter().all(|share| (0.0..=1e6).contains(share)),
            "shares of at least 0",
        )?;
        check(
            "mix",
            mix.draw[0] + mix.read[0] + rest > 0.0,
            "some share above 0 at the first step",
        )?;
        check(
            "mix",
            mix.draw[1] + mix.read[1] + rest > 0.0,
            "some share above 0 at the last step",
        )?;
        let alone = mix.read == [0.0, 0.0] && rest == 0.0;
        check("mix", self.vocab > 0 || alone, "`draw` alone where `vocab` is 0")?;
        let glyphs = matches!(self.data, DataConfig::Glyphs(_));
        check("mix", glyphs || two == 0.0, "two-image documents with the source `glyphs` alone")?;
        check("mix.caption_drop", (0.0..=1.0).contains(&mix.caption_drop), "0 to 1")?;
        check("loss.text", self.loss.text >= 0.0, "at least 0")?;
        check("loss.image", self.loss.image >= 0.0, "at least 0")?;
        if self.model.unet.is_some() {
            self.validate_without_text()?;
        }
        optimizer.validate()?;
        self.run.validate()?;
        let writes = self.vocab > 0 && self.model.unet.is_none();
        let by_text = self.run.best == BestBy::Text;
        check("run.best", writes || !by_text, "`loss` or `image`, since the model writes no text")?;
        self.validate_recompute()?;
        check("sample.steps", self.sample.steps > 0, "at least 1")?;
        check("sample.count", self.sample.count > 0, "at least 1")
    }
}

impl Recipe {
    /// What the fused kernels compute can be computed again, and nothing else.
    fn validate_recompute(&self) -> Result<(), RecipeError> {
        let no = |which: bool| !(self.run.recompute && which);
        let (unet, dit) = (self.model.unet.is_some(), self.model.backbone.block.is_conditioned());
        check("run.recompute", no(unet), "false, since a `unet` has no blocks to compute again")?;
        check("run.recompute", no(dit), "false, since no kernel computes `dit` blocks")
    }

    /// A U-Net learns to draw and nothing else.
    fn validate_without_text(&self) -> Result<(), RecipeError> {
        let mix = &self.mix;
        let others = [mix.read[0], mix.read[1], mix.finished, mix.same_or_different, mix.which_one];
        check("mix", others == [0.0; 5], "shares of `draw` alone, since a `unet` reads nothing")?;
        check("mix.caption_drop", mix.caption_drop == 1.0, "1, since a `unet` reads no captions")?;
        let single = self.run.precision == Precision::F32;
        check("run.precision", single, "f32, since a `unet` computes in nothing else")?;
        check("loss.text", self.loss.text == 0.0, "0, since a `unet` writes no text")?;
        let scale = self.sample.guidance.scale;
        check("sample.guidance.scale", scale == 1.0, "1, since a `unet` knows no prompts")
    }
}

fn check(field: &'static str, holds: bool, wanted: &'static str) -> Result<(), RecipeError> {
    if holds { Ok(()) } else { Err(RecipeError::Field { field, wanted }) }
}

/// Whether the recipe holds a float at `key`, so that `--set optimizer.clip=1` may be written without a point.
fn key_is_float(recipe: &Recipe, key: &str) -> bool {
    value_at(recipe, key).is_some_and(|value| value.is_float())
}

/// What the recipe holds at a dotted path.
fn value_at(recipe: &Recipe, key: &str) -> Option<toml::Value> {
    let tree = toml::Value::try_from(recipe).expect("a recipe is plain data");
    key.split('.').try_fold(&tree, |at, part| at.get(part)).cloned()
}
