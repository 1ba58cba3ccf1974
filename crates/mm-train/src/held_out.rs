//! Measuring a run on held-out documents.

use std::collections::BTreeMap;

use mm_data::Split;
use mm_eval::{HeldOutBatch, HeldOutLosses, held_out_batches, held_out_losses};
use mm_model::{Collator, IMAGE_LOSS, LoadedModel, TEXT_LOSS, weighted_sum};
use serde::Serialize;

use crate::TrainError;
use crate::batch::collator;
use crate::objective::TermConfig;
use crate::recipe::BestBy;
use crate::training::Training;

/// Losses of the averaged weights on held-out documents, with the same documents and noise every
/// time.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// The terms of an [`Objective`](crate::Objective) of one's own, by their names, of the same
    /// documents. `text` and `image` are those of the recipe, above.
    #[serde(flatten)]
    pub own: BTreeMap<&'static str, f64>,
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
    let collator = collator(recipe, &model.config, &model.tokenizer, model.model.encoder());
    let reduction = recipe.loss.reduction;
    let losses = held_out_losses(&model, &collator, reduction, data, Split::HeldOut, count)?;
    let terms = training.objective.terms();
    let own = own_terms(training, &model, &collator, &terms)?;
    let measured = Validation {
        step: training.progress.step,
        loss: total(&terms, &losses, &own),
        losses,
        own,
    };
    if measured.number(recipe.run.best).is_none() {
        let (field, wanted) = ("run.best", "a term that the held-out documents have, or `loss`");
        return Err(recipe.refused(field, wanted).into());
    }
    Ok(measured)
}

/// Measures the terms that the recipe does not know, each a mean over its items in all documents.
fn own_terms(
    training: &Training,
    model: &LoadedModel,
    collator: &Collator<'_>,
    terms: &[TermConfig],
) -> Result<BTreeMap<&'static str, f64>, TrainError> {
    let is_own = |term: &TermConfig| ![TEXT_LOSS, IMAGE_LOSS].contains(&term.name);
    if !terms.iter().any(is_own) {
        return Ok(BTreeMap::new());
    }
    let count = training.recipe.run.validate_count;
    let mut sums: BTreeMap<&'static str, (f64, usize)> = BTreeMap::new();
    let data = &training.data;
    held_out_batches(model, collator, data, Split::HeldOut, count, &mut |found| {
        let HeldOutBatch { host, tensors, .. } = found;
        let losses = training.objective.losses(&model.model, &tensors);
        for (term, items) in terms.iter().zip(training.objective.counts(&host)) {
            let value = losses.value(term.name).filter(|_| is_own(term) && items > 0);
            if let Some(value) = value {
                let scale = term.reduction.factor(host.target_numbers(), host.target_images());
                let (sum, all) = sums.entry(term.name).or_default();
                *sum += scale * f64::from(value.into_scalar::<f32>()) * items as f64;
                *all += items;
            }
        }
    })?;
    Ok(sums.into_iter().map(|(name, (sum, all))| (name, sum / all as f64)).collect())
}

/// Returns the weighted sum of the terms that there are; no number if there is none.
fn total(terms: &[TermConfig], losses: &HeldOutLosses, own: &BTreeMap<&'static str, f64>) -> f64 {
    let value = |name| match name {
        TEXT_LOSS => losses.text,
        IMAGE_LOSS => losses.image,
        other => own.get(other).copied(),
    };
    let present = terms.iter().filter_map(|term| Some((term.weight, value(term.name)?)));
    weighted_sum(present).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Reduction;

    #[test]
    fn the_loss_is_over_the_terms_that_there_are_and_a_diverged_model_has_none() {
        let term = |name, weight| TermConfig { name, weight, reduction: Reduction::Mean };
        let terms = [term(TEXT_LOSS, 2.0), term(IMAGE_LOSS, 3.0), term("own", 5.0)];
        let total = |text, image, own: &[f64]| {
            let losses = HeldOutLosses { text, image, bits_per_byte: None, documents: 1 };
            total(&terms, &losses, &own.iter().map(|value| ("own", *value)).collect())
        };
        assert_eq!(total(Some(1.0), Some(10.0), &[]), 32.0);
        assert_eq!(total(Some(1.0), None, &[]), 2.0);
        assert_eq!(total(None, Some(10.0), &[]), 30.0);
        assert_eq!(total(None, Some(10.0), &[2.0]), 40.0);
        assert!(total(None, None, &[]).is_nan(), "nothing is not the best of all");
        assert!(total(Some(f64::NAN), None, &[]).is_nan());
        assert!(total(Some(1.0), Some(f64::NAN), &[]).is_nan());
    }
}
