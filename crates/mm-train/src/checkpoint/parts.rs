//! The files of one checkpoint.

use std::path::Path;
use std::sync::Arc;

use burn::prelude::*;
use burn::store::ModuleRecord;
use mm_backbone::Init;
use mm_data::DataSet;
use mm_model::Model;
use mm_model::folder::{load_weights, save_weights, write_atomic};
use mm_model::parameters::{weights_of, with_weights};
use mm_text::Tokenizer;

use super::seen::Seen;
use super::{averages, instructions, manifest};
use crate::optim::lora::adapted;
use crate::optim::{Ema, freeze};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::training::Training;
use crate::{RecipeError, TrainError};

/// Writes all files into a folder, which is emptied before.
pub(super) fn write(training: &Training, folder: &Path) -> Result<(), TrainError> {
    if folder.exists() {
        fs_err::remove_dir_all(folder)?;
    }
    fs_err::create_dir_all(folder)?;
    let path = folder.join("model.bpk");
    training.model.clone().into_record().save(&path).map_err(|why| failed(&path, &why))?;
    let path = folder.join("optimizer.bpk");
    training.optimizer.save(&path).map_err(|why| failed(&path, &why))?;
    let average = weights_of(&training.ema.model(&training.model));
    save_weights(&folder.join("average.safetensors"), &average)?;
    averages::write(training, folder)?;
    write_atomic(&folder.join("tokenizer.json"), training.tokenizer.to_json().as_bytes())?;
    let recipe = toml::to_string_pretty(&training.recipe).expect("a recipe is plain data");
    write_atomic(&folder.join("recipe.toml"), recipe.as_bytes())?;
    let progress = Progress {
        data: Some(Seen::of(&training.data)),
        instructions: instructions::of(&training.device),
        ..training.progress
    };
    let progress = serde_json::to_string_pretty(&progress).expect("counters are plain data");
    write_atomic(&folder.join("progress.json"), progress.as_bytes())?;
    manifest::write(folder)
}

/// Reads all files, for a recipe that fits them, and its data. What is wrong with the recipe is a
/// [`TrainError::Recipe`].
pub(super) fn read(
    folder: &Path,
    recipe: Recipe,
    data: Arc<DataSet>,
    device: &Device,
) -> Result<Training, TrainError> {
    let path = folder.join("progress.json");
    let progress: Progress =
        serde_json::from_slice(&fs_err::read(&path)?).map_err(|why| failed(&path, &why))?;
    let path = folder.join("tokenizer.json");
    let tokenizer = Tokenizer::from_json(&fs_err::read(&path)?)?;
    let config = recipe.model_config(tokenizer.vocab());
    let tracked = device.clone().autodiff();
    let fresh = Model::drawn(&config, &mut Init::blank(&tracked)).map_err(RecipeError::from)?;
    let fresh = adapted(fresh, recipe.optimizer.lora, recipe.seed);
    freeze::check(&fresh, &recipe.optimizer.freeze)?;
    let path = folder.join("model.bpk");
    let record = ModuleRecord::load(&path).map_err(|why| failed(&path, &why))?;
    let model = fresh.try_load_record(record).map_err(|why| failed(&path, &why))?;

    let mut training = Training::assemble(recipe, tokenizer, data, model, device)?;
    let (model, config) = (&training.model, &training.recipe.optimizer);
    let average = load_weights(&folder.join("average.safetensors"), model)?;
    let ema = Ema::new(config, &with_weights(model.clone(), &average));
    training.emas = averages::read(config, model, folder)?;
    training.ema = ema;
    let path = folder.join("optimizer.bpk");
    training.optimizer = training.optimizer.load(&path).map_err(|why| failed(&path, &why))?;
    training.progress = progress;
    Ok(training)
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> TrainError {
    TrainError::State { path: path.into(), why: why.to_string() }
}
