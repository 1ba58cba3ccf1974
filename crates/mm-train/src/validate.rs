//! Measuring a run on held-out documents.

use serde::Serialize;

use crate::data::{DataError, Split};
use crate::eval::held_out_losses;
use crate::step::Training;
use crate::{RecipeError, TrainError};

/// Losses of the averaged weights on held-out documents, the same documents and noise every time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// The step after which it was taken.
    #[serde(skip)]
    pub step: u64,
    /// Both terms with the recipe's factors.
    pub loss: f64,
    /// Cross-entropy of captions after their pictures, nats a token.
    pub text: f64,
    /// The same in bits a byte of the captions.
    pub bits_per_byte: f64,
    /// Weighted squared error of pictures after their captions.
    pub image: f64,
    /// Documents of each kind.
    pub documents: usize,
}

/// Measures the averaged weights on `run.validate_count` held-out examples.
pub fn validate(training: &Training) -> Result<Validation, TrainError> {
    let (recipe, data) = (&training.recipe, &training.data);
    let count = recipe.run.validate_count;
    let found = held_out_losses(&training.averaged(), recipe, data, Split::HeldOut, count)?;
    Ok(Validation {
        step: training.progress.step,
        loss: recipe.loss.text * found.text + recipe.loss.image * found.image,
        text: found.text,
        bits_per_byte: found.bits_per_byte,
        image: found.image,
        documents: found.documents,
    })
}

/// A run that asks for measurements needs held-out examples.
pub(crate) fn check_held_out(training: &Training) -> Result<(), TrainError> {
    let asked = training.recipe.run.validate_every > 0;
    if asked && training.data.len(Split::HeldOut) == Some(0) {
        return Err(RecipeError::Data(DataError::Setting {
            field: "run.validate_every",
            found: training.recipe.run.validate_every.to_string(),
            wanted: "0, since the data hold no example out",
        })
        .into());
    }
    Ok(())
}
