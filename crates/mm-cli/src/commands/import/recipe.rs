//! The recipe by which an imported network is trained on: one that draws whole, one that reads by
//! adapters.

use mm_data::{Captions, DataConfig, ImageSettings};
use mm_diffusion::{LossWeight, Prediction, TimestepSampling};
use mm_import::published::Imported;
use mm_model::{NetworkConfig, Reduction, VitConfig};
use mm_train::recipe::{EmaStart, OptimizerKind};
use mm_train::{LoraConfig, Recipe};

use crate::recipes;
use crate::terminal::Failure;

/// The recipe whose other values are taken: images alone, in a folder.
const BASE: &str = "su2024-64";
/// The recipe of images with captions.
const WITH_CAPTIONS: &str = "glyphs";

/// Makes the recipe; nothing for networks that are not trained here.
pub fn recipe_of(imported: &Imported) -> Result<Option<Recipe>, Failure> {
    let config = &imported.config;
    let vit = match &config.network {
        NetworkConfig::Vit(vit) => vit,
        NetworkConfig::Unified(_) => return adapters(imported),
        _ => return Ok(None),
    };
    let (generation, classes) = (&imported.generation, vit.classes());
    let mut recipe = Recipe { vocab: 0, ..recipes::find(BASE)? };
    let (width, height) = (generation.width, generation.height);
    recipe.image = ImageSettings { width, height, patch: config.patch_pixels() };
    if let DataConfig::Folder(folder) = &mut recipe.data {
        // Folders are named by the numbers or the names of their classes.
        folder.captions = if classes.count > 0 { Captions::Folders } else { Captions::None };
        folder.path = "images".into();
    }
    recipe.mix.caption_drop = match (classes.count, classes.none) {
        (0, _) => 1.0,
        (_, true) => 0.1,
        (_, false) => 0.0,
    };
    recipe.model.time = config.time.clone();
    recipe.model.schedule = config.schedule;
    recipe.model.prediction = config.prediction;
    recipe.model.network = config.network.clone();
    recipe.loss.reduction = Reduction::Mean;
    if config.prediction == Prediction::Clean {
        let min_noise = vit.min_noise().max(1e-3);
        recipe.loss.weight = LossWeight::Velocity { min_noise };
        recipe.loss.timesteps = TimestepSampling::LogitNormal { mean: -0.8, std: 0.8 };
    }
    let optimizer = &mut recipe.optimizer;
    (optimizer.kind, optimizer.lr, optimizer.final_lr) = (OptimizerKind::Adamw, 5e-5, 1.0);
    (optimizer.warmup_steps, optimizer.points, optimizer.clip) = (100, vec![], 1.0);
    (optimizer.ema, optimizer.ema_start) = (0.999, EmaStart::default());
    optimizer.betas = match vit {
        VitConfig::Jit(_) => [0.9, 0.95],
        VitConfig::Uvit(_) => [0.99, 0.99],
        _ => [0.9, 0.999],
    };
    let run = &mut recipe.run;
    (run.steps, run.batch, run.raw_samples) = (1000, 16, false);
    (run.checkpoint_every, run.sample_every) = (500, 500);
    recipe.sample.sampler = generation.sampler;
    recipe.sample.steps = generation.steps;
    recipe.sample.guidance = generation.guidance;
    recipe.sample.count = 4;
    recipe.validate()?;
    Ok(Some(recipe))
}

/// Makes the recipe that tunes a joined transformer by adapters; nothing for one of sizes that
/// recipes do not have. Data and length are to be set by hand.
fn adapters(imported: &Imported) -> Result<Option<Recipe>, Failure> {
    let Imported { config, generation, .. } = imported;
    let mut recipe = recipes::find(WITH_CAPTIONS)?;
    let (width, height) = (generation.width, generation.height);
    recipe.image = ImageSettings { width, height, patch: config.patch };
    recipe.vocab = config.vocab;
    recipe.model.time = config.time.clone();
    recipe.model.schedule = config.schedule;
    recipe.model.prediction = config.prediction;
    recipe.model.network = config.network.clone();
    recipe.optimizer.lora = LoraConfig { rank: 8, alpha: 16.0 };
    if !config.draws() {
        recipe.mix.draw = [0.0; 2];
        recipe.mix.read = [1.0; 2];
        recipe.mix.finished = 0.0;
    }
    Ok(recipe.validate().is_ok().then_some(recipe))
}
