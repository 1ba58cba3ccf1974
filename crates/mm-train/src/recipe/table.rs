//! A recipe as it is written: what an image is to the network stands beside its size.

use std::path::PathBuf;

use mm_data::{DataConfig, ImageSettings, MixConfig};
use mm_model::Order;
use serde::{Deserialize, Serialize};

use super::{LossConfig, ModelSettings, OptimizerConfig, Recipe, RunConfig, SampleConfig};

/// What an image is to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Represent {
    /// Raw pixels in patches, which are denoised.
    #[default]
    Patches,
    /// Codes of a codec in an enlarged vocabulary, which are predicted one after another.
    Codes,
    /// Latents of a codec in patches, which are denoised.
    Latents,
    /// Bytes of pixels in an enlarged vocabulary, which are predicted one after another.
    Bytes,
}

/// The tables of a recipe.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipeTable {
    seed: u64,
    data: DataConfig,
    image: ImageTable,
    mix: MixConfig,
    vocab: usize,
    model: ModelSettings,
    loss: LossConfig,
    optimizer: OptimizerConfig,
    run: RunConfig,
    sample: SampleConfig,
}

/// The table `[image]`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageTable {
    width: usize,
    height: usize,
    patch: usize,
    #[serde(default, skip_serializing_if = "is_patches")]
    represent: Represent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codec: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Order::is_rows")]
    order: Order,
}

fn is_patches(represent: &Represent) -> bool {
    *represent == Represent::Patches
}

impl From<RecipeTable> for Recipe {
    fn from(table: RecipeTable) -> Self {
        let RecipeTable { seed, data, image, mix, vocab, model, loss, optimizer, run, sample } =
            table;
        let ImageTable { width, height, patch, represent, codec, order } = image;
        let image = ImageSettings { width, height, patch };
        Self {
            seed,
            data,
            image,
            represent,
            codec,
            order,
            mix,
            vocab,
            model,
            loss,
            optimizer,
            run,
            sample,
        }
    }
}

impl From<Recipe> for RecipeTable {
    fn from(recipe: Recipe) -> Self {
        let ImageSettings { width, height, patch } = recipe.image;
        let Recipe { represent, codec, order, .. } = recipe;
        Self {
            seed: recipe.seed,
            data: recipe.data,
            image: ImageTable { width, height, patch, represent, codec, order },
            mix: recipe.mix,
            vocab: recipe.vocab,
            model: recipe.model,
            loss: recipe.loss,
            optimizer: recipe.optimizer,
            run: recipe.run,
            sample: recipe.sample,
        }
    }
}
