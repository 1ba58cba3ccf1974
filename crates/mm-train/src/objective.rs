//! What a training step minimizes: an open list of named loss terms, `Σ weight · value`.
//!
//! A recipe minimizes [`RecipeObjective`]. A program may bring terms of its own: see
//! `examples/own_objective.rs`.

use std::fmt;

use mm_diffusion::Prediction;
use mm_model::{
    ADVERSARIAL_LOSS, Batch, DISCRIMINATOR_LOSS, HostBatch, IMAGE_LOSS, LATENT_LOSS, Losses, Model,
    Reduction, TEXT_LOSS,
};

use crate::recipe::{LossConfig, Recipe};

/// One term of an objective, before any batch is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TermConfig {
    /// The name of the [`LossTerm`](mm_model::LossTerm)s, which is also its key in `metrics.jsonl`.
    pub name: &'static str,
    /// The weight in the total loss.
    pub weight: f64,
    /// Says over what the term is a mean; [`Reduction::Sum`] is only for terms whose items are
    /// target patches.
    pub reduction: Reduction,
}

/// What a training step minimizes.
///
/// A batch is computed in micro-batches and on several ranks, and means are over all of it. So the
/// number of items of each term is asked for before the network computes anything.
pub trait Objective: fmt::Debug + Send + Sync {
    /// Lists the terms in the order in which they are added up; it is the same at every step.
    fn terms(&self) -> Vec<TermConfig>;

    /// Lists the terms with the weights of one step, counted from 0; weights may change on the way.
    fn terms_at(&self, _step: u64) -> Vec<TermConfig> {
        self.terms()
    }

    /// Counts the items of each term in a micro-batch, in the order of [`terms`](Self::terms).
    fn counts(&self, batch: &HostBatch) -> Vec<usize>;

    /// Computes the terms of a micro-batch, each a mean over as many items as `counts` says, in the
    /// order of [`terms`](Self::terms). A term without items may be left out.
    fn losses(&self, model: &Model, batch: &Batch) -> Losses;
}

/// The objective of a recipe: cross-entropy of text and weighted squared error of patches; of a
/// codec, squared error of decoded images and what is minimized of its latents.
#[derive(Debug, Clone)]
pub struct RecipeObjective {
    loss: LossConfig,
    prediction: Prediction,
    /// Whether the network is a codec.
    encodes: bool,
    /// Whether that has a discriminator.
    judged: bool,
}

impl RecipeObjective {
    /// Returns the objective of the table `[loss]`.
    pub fn new(recipe: &Recipe) -> Self {
        Self {
            loss: recipe.loss.clone(),
            prediction: recipe.model.prediction,
            encodes: recipe.model.network.codec().is_some(),
            judged: recipe.loss.adversarial > 0.0,
        }
    }
}

impl Objective for RecipeObjective {
    fn terms(&self) -> Vec<TermConfig> {
        let LossConfig { text, image, latent, reduction, .. } = self.loss;
        let mean = |name, weight| TermConfig { name, weight, reduction: Reduction::Mean };
        let image = TermConfig { name: IMAGE_LOSS, weight: image, reduction };
        if !self.encodes {
            return vec![mean(TEXT_LOSS, text), image];
        }
        let mut terms = vec![image, mean(LATENT_LOSS, latent)];
        if self.judged {
            for name in [ADVERSARIAL_LOSS, DISCRIMINATOR_LOSS] {
                terms.push(mean(name, self.loss.weight_of(name)));
            }
        }
        terms
    }

    fn terms_at(&self, step: u64) -> Vec<TermConfig> {
        let mut terms = self.terms();
        if step < self.loss.adversarial_start {
            let judged = |term: &&mut TermConfig| {
                [ADVERSARIAL_LOSS, DISCRIMINATOR_LOSS].contains(&term.name)
            };
            terms.iter_mut().filter(judged).for_each(|term| term.weight = 0.0);
        }
        terms
    }

    fn counts(&self, batch: &HostBatch) -> Vec<usize> {
        let [text, image] = batch.target_counts();
        if self.encodes { vec![image; self.terms().len()] } else { vec![text, image] }
    }

    fn losses(&self, model: &Model, batch: &Batch) -> Losses {
        model.losses(batch, self.prediction)
    }
}
