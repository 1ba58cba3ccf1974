//! The files of one checkpoint.

use std::path::Path;
use std::sync::Arc;

use burn::prelude::*;
use burn::store::ModuleRecord;
use mm_backbone::Init;
use mm_model::Model;
use mm_model::folder::{load_weights, save_weights, write_atomic};
use mm_model::parameters::{weights_of, with_weights};
use mm_text::Tokenizer;

use super::{Seen, averages, seal};
use crate::ema::Ema;
use crate::lora::adapted;
use crate::optimizer::optimizer;
use crate::ranks::ProcessGroup;
use crate::recipe::Recipe;
use crate::step::{Progress, Training};
use crate::validate::check_held_out;
use crate::workers::Workers;
use crate::{RecipeError, TrainError, freeze};
use mm_data::DataSet;

/// Writes all of them into a folder, which is emptied before.
pub fn write(training: &Training, folder: &Path) -> Result<(), TrainError> {
    if folder.exists() {
        fs_err::remove_dir_all(folder)?;
    }
    fs_err::create_dir_all(folder)?;
    let path = folder.join("model.bpk");
    training.model.clone().into_record().save(&path).map_err(|why| failed(&path, &why))?;
    let path = folder.join("optimizer.bpk");
    training.optimizer.save(&path).map_err(|why| failed(&path, &why))?;
    save_weights(
        &folder.join("average.safetensors"),
        &weights_of(&training.ema.model(&training.model)),
    )?;
    averages::write(training, folder)?;
    write_atomic(&folder.join("tokenizer.json"), training.tokenizer.to_json().as_bytes())?;
    let recipe = toml::to_string_pretty(&training.recipe).expect("a recipe is plain data");
    write_atomic(&folder.join("recipe.toml"), recipe.as_bytes())?;
    let progress = Progress { data: Some(Seen::of(&training.data)), ..training.progress };
    let progress = serde_json::to_string_pretty(&progress).expect("counters are plain data");
    write_atomic(&folder.join("progress.json"), progress.as_bytes())?;
    seal::put(folder)
}

/// Reads them again, for a recipe that fits them and its data. What is wrong with the recipe is a [`TrainError::Recipe`].
pub fn read(
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
    let path = folder.join("optimizer.bpk");
    let optimizer = optimizer(&recipe.optimizer).load(&path).map_err(|why| failed(&path, &why))?;
    let averages = load_weights(&folder.join("average.safetensors"), &model)?;
    let ema = Ema::new(&recipe.optimizer, &with_weights(model.clone(), &averages));
    let emas = averages::read(&recipe.optimizer, &model, folder)?;
    let (device, workers) = (device.clone(), Workers::new(recipe.run.shards)?);
    let training = Training {
        recipe,
        config,
        tokenizer,
        data,
        device,
        model,
        optimizer,
        ema,
        emas,
        progress,
        workers,
        ranks: ProcessGroup::single(),
        added: None,
    };
    check_held_out(&training)?;
    Ok(training)
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> TrainError {
    TrainError::State { path: path.into(), why: why.to_string() }
}
