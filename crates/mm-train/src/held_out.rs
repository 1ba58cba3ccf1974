//! Measuring a run on held-out documents.

use mm_data::Split;
use mm_eval::{HeldOutLosses, held_out_losses};
use mm_model::{IMAGE_LOSS, TEXT_LOSS, weighted_sum};
use serde::Serialize;

use crate::TrainError;
use crate::batch::collator;
use crate::recipe::{BestBy, LossConfig};
use crate::training::Training;

/// Losses of the averaged weights on held-out documents, with the same documents and noise every
/// time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// The step after which it was taken.
    #[serde(skip)]
    pub step: u64,
    /// The weighted sum of the losses that there are; not finite if there is none, or if the model
    /// has diverged.
    pub loss: f64,
    /// The losses themselves.
    #[serde(flatten)]
    pub losses: HeldOutLosses,
}

impl Validation {
    /// Returns the number that `run.best` names, if there is one; the loss for [`BestBy::None`].
    pub fn number(&self, by: BestBy) -> Option<f64> {
        match by {
            BestBy::Text => self.losses.text,
            BestBy::Image => self.losses.image,
            BestBy::Loss | BestBy::None => Some(self.loss),
        }
    }
}

/// Measures the averaged weights on `run.validate_count` held-out records, which must have the loss
/// that `run.best` names.
pub fn evaluate_held_out(training: &Training) -> Result<Validation, TrainError> {
    let (recipe, data) = (&training.recipe, &training.data);
    let count = recipe.run.validate_count;
    let model = training.averaged();
    let collator = collator(recipe, &model.config, &model.tokenizer);
    let reduction = recipe.loss.reduction;
    let losses = held_out_losses(&model, &collator, reduction, data, Split::HeldOut, count)?;
    let measured = Validation {
        step: training.progress.step,
        loss: total(&recipe.loss, losses.text, losses.image),
        losses,
    };
    if measured.number(recipe.run.best).is_none() {
        let (field, wanted) = ("run.best", "a term that the held-out documents have, or `loss`");
        return Err(recipe.refused(field, wanted).into());
    }
    Ok(measured)
}

/// Returns the weighted sum of the losses that there are; no number if there is none.
fn total(config: &LossConfig, text: Option<f64>, image: Option<f64>) -> f64 {
    let losses = [(TEXT_LOSS, text), (IMAGE_LOSS, image)];
    let present = losses.into_iter().filter_map(|(name, loss)| Some((name, loss?)));
    weighted_sum(present.map(|(name, loss)| (config.weight_of(name), loss))).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use mm_diffusion::{LossWeight, TimestepSampling};

    use super::*;
    use crate::recipe::Reduction;

    #[test]
    fn the_loss_is_over_the_terms_that_there_are_and_a_diverged_model_has_none() {
        let config = LossConfig {
            text: 2.0,
            image: 3.0,
            reduction: Reduction::Mean,
            weight: LossWeight::Velocity { min_noise: 0.05 },
            timesteps: TimestepSampling::LogitNormal { mean: 0.0, std: 1.0 },
        };
        let total = |text, image| total(&config, text, image);
        assert_eq!(total(Some(1.0), Some(10.0)), 32.0);
        assert_eq!(total(Some(1.0), None), 2.0);
        assert_eq!(total(None, Some(10.0)), 30.0);
        assert!(total(None, None).is_nan(), "nothing is not the best of all");
        assert!(total(Some(f64::NAN), None).is_nan() && total(Some(1.0), Some(f64::NAN)).is_nan());
    }
}
