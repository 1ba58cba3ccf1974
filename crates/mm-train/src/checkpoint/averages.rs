//! Further averages of the weights: each is part of a checkpoint, and a model folder of its own.

use std::path::{Path, PathBuf};

use mm_model::Model;
use mm_model::folder::{load_weights, save_weights};
use mm_model::parameters::{weights_of, with_weights};

use super::RunFolder;
use crate::TrainError;
use crate::optim::Ema;
use crate::recipe::OptimizerConfig;
use crate::training::Training;

fn file(folder: &Path, decay: f64) -> PathBuf {
    folder.join(format!("average-{decay}.safetensors"))
}

/// Writes the averages of `optimizer.emas` into a checkpoint.
pub(super) fn write(training: &Training, folder: &Path) -> Result<(), TrainError> {
    for ema in &training.emas {
        save_weights(&file(folder, ema.decay()), &weights_of(&ema.model(&training.model)))?;
    }
    Ok(())
}

/// Reads the averages of `optimizer.emas` from a checkpoint.
pub(super) fn read(
    config: &OptimizerConfig,
    model: &Model,
    folder: &Path,
) -> Result<Vec<Ema>, TrainError> {
    let read = |&decay: &f64| {
        let weights = load_weights(&file(folder, decay), model)?;
        Ok(Ema::with_decay(decay, config.ema_start, &with_weights(model.clone(), &weights)))
    };
    config.emas.iter().map(read).collect()
}

impl RunFolder {
    /// Returns the folder of the model of one of `optimizer.emas`.
    pub fn model_of(&self, decay: f64) -> PathBuf {
        self.path.join(format!("model-ema-{decay}"))
    }

    /// Writes a model folder for each of `optimizer.emas`.
    pub(super) fn save_averages(&self, training: &Training) -> Result<(), TrainError> {
        for ema in &training.emas {
            let folder = self.model_of(ema.decay());
            training.average(ema).save(&folder)?;
            fs_err::copy(self.recipe_path(), folder.join("recipe.toml"))?;
        }
        Ok(())
    }
}
