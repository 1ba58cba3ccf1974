//! The best model so far, beside the latest.

use std::path::PathBuf;

use super::RunFolder;
use crate::TrainError;
use crate::step::Training;

impl RunFolder {
    /// The model that measured best on held-out documents.
    pub fn best_model(&self) -> PathBuf {
        self.path.join("model-best")
    }

    /// Writes the averaged weights as the best model.
    pub fn save_best(&self, training: &Training) -> Result<(), TrainError> {
        training.averaged().save(&self.best_model())?;
        fs_err::copy(self.recipe_path(), self.best_model().join("recipe.toml"))?;
        Ok(())
    }
}
