//! Measuring a run on held-out documents.

use serde::Serialize;

use crate::batch::collator;
use crate::recipe::LossConfig;
use crate::step::Training;
use crate::watch::BestBy;
use crate::{RecipeError, TrainError};
use mm_data::{DataError, Split};
use mm_eval::{HeldOutLosses, held_out_losses};

/// Losses of the averaged weights on held-out documents, the same documents and noise every time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// The step after which it was taken.
    #[serde(skip)]
    pub step: u64,
    /// The terms that there are, with the recipe's factors; not finite if there is none, or if the model has diverged.
    pub loss: f64,
    /// The terms themselves.
    #[serde(flatten)]
    pub terms: HeldOutLosses,
}

impl Validation {
    /// The number that `run.best` names, if there is one; the loss for [`BestBy::None`].
    pub fn number(&self, by: BestBy) -> Option<f64> {
        match by {
            BestBy::Text => self.terms.text,
            BestBy::Image => self.terms.image,
            BestBy::Loss | BestBy::None => Some(self.loss),
        }
    }
}

/// Measures the averaged weights on `run.validate_count` held-out examples, which must have what `run.best` goes by.
pub fn validate(training: &Training) -> Result<Validation, TrainError> {
    let (recipe, data) = (&training.recipe, &training.data);
    let count = recipe.run.validate_count;
    let model = training.averaged();
    let collator = collator(recipe, &model.config, &model.tokenizer);
    let reduction = recipe.loss.reduction;
    let terms = held_out_losses(&model, &collator, reduction, data, Split::HeldOut, count)?;
    let measured = Validation {
        step: training.progress.step,
        loss: total(&recipe.loss, terms.text, terms.image),
        terms,
    };
    if measured.number(recipe.run.best).is_none() {
        let (field, wanted) = ("run.best", "a term that the held-out documents have, or `loss`");
        return Err(recipe.refused(field, wanted).into());
    }
    Ok(measured)
}

/// The terms that are there, each with its factor; no number if there is none.
fn total(factors: &LossConfig, text: Option<f64>, image: Option<f64>) -> f64 {
    let terms = [text.map(|loss| factors.text * loss), image.map(|loss| factors.image * loss)];
    terms.into_iter().flatten().reduce(|sum, term| sum + term).unwrap_or(f64::NAN)
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

#[cfg(test)]
mod tests {
    use mm_diffusion::{LossWeight, TimestepSampling};

    use super::*;
    use crate::recipe::Reduction;

    #[test]
    fn the_loss_is_over_the_terms_that_there_are_and_a_diverged_model_has_none() {
        let factors = LossConfig {
            text: 2.0,
            image: 3.0,
            reduction: Reduction::Mean,
            weight: LossWeight::Velocity { min_noise: 0.05 },
            timesteps: TimestepSampling::LogitNormal { mean: 0.0, std: 1.0 },
        };
        let total = |text, image| total(&factors, text, image);
        assert_eq!(total(Some(1.0), Some(10.0)), 32.0);
        assert_eq!(total(Some(1.0), None), 2.0);
        assert_eq!(total(None, Some(10.0)), 30.0);
        assert!(total(None, None).is_nan(), "nothing is not the best of all");
        assert!(total(Some(f64::NAN), None).is_nan() && total(Some(1.0), Some(f64::NAN)).is_nan());
    }
}
