//! One optimizer step: losses, backward, clip, update, average.

mod ahead;

use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use mm_backbone::{BlockOptions, Precision};
use mm_model::{HostBatch, LossTerm, Model, ModelConfig, weighted_sum};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::TrainError;
use crate::codebook;
use crate::levels::BINS;
use crate::objective::{Objective, TermConfig};
use crate::optim::{Clipped, clip, freeze, learning_rate};
use crate::progress::Outcome;
use crate::schedule::LOG_EVERY;
use crate::training::Training;
use crate::unread::{BatchCounts, PatchErrors, StepValues};

pub use ahead::ReadSteps;

/// What one step did: a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StepReport {
    /// The step, counted from 1.
    pub step: u64,
    /// The total loss, which is not finite if the step was skipped for that reason.
    pub loss: f64,
    /// The loss terms, each under its name.
    #[serde(flatten)]
    pub losses: LossValues,
    /// The norm of the gradient before clipping.
    pub gradient: f64,
    /// The learning rate.
    pub lr: f64,
    /// Whether the weights were left alone.
    pub skipped: bool,
    /// What the loss was multiplied by in the backward pass, in f16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// The number of tokens and patches of the batch, without padding.
    pub tokens: usize,
    /// The number of images of the batch.
    pub images: usize,
    /// The unweighted image loss by quarters of the factor of the noise, every tenth step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<[Option<f64>; BINS]>,
}

/// The values of named loss terms, over all ranks, in the order of the objective. A term without
/// items has none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LossValues(Vec<(&'static str, Option<f64>)>);

impl LossValues {
    /// Returns the value of a term, if the batch has it.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(other, _)| *other == name).and_then(|(_, value)| *value)
    }
}

impl<const N: usize> From<[(&'static str, Option<f64>); N]> for LossValues {
    fn from(values: [(&'static str, Option<f64>); N]) -> Self {
        Self(values.to_vec())
    }
}

impl Serialize for LossValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Training {
    /// Takes one step on the micro-batches of a batch, or of this rank's share of it, and reads
    /// what it did. A step whose loss or gradient is not finite, or whose loss is a spike, changes
    /// no weight and is counted; too many in a row are an error.
    ///
    /// # Panics
    ///
    /// Panics if there are [steps that were not read](Self::step_unread).
    pub fn step(&mut self, micro_batches: &[HostBatch]) -> Result<StepReport, TrainError> {
        assert!(self.unread.steps.is_empty(), "all earlier steps are read");
        let step = self.progress.step;
        let terms = self.objective.terms_at(step);
        let counts = self.counts(micro_batches);
        let scale = self.loss_scale();
        let on_device = scale.map(|scale| Tensor::from_floats([scale as f32], &self.device));
        let asked = Asked { step, losses: &terms, counts: &counts, scale: on_device };
        let Gradients { grads, values } = self.gradients(micro_batches, asked);
        let mut grads = self.add_over_ranks(grads);
        let statistics = codebook::take(&self.model, &mut grads, self.recipe.loss.latent);
        let optim = &self.recipe.optimizer;
        let grads = freeze::without_frozen(&self.model, grads, &optim.freeze);
        let to_read = [values.losses(), values.errors()].concat();
        let clipped = clip(&self.model, grads, optim.clip, scale.unwrap_or(1.0), to_read);
        let Clipped { grads, norm: gradient, others } = clipped;
        let mut others = others.iter();
        let losses = self.losses(&terms, &counts, values.take_losses(&mut others, terms.len()));
        let levels = values.take_levels(&mut others);
        let loss = total(&terms, &losses).ok_or(TrainError::NothingToLearn { step })?;
        let lr = learning_rate(optim, step, self.recipe.run.steps) * self.progress.lr_factor;

        let outcome = if !(loss.is_finite() && gradient.is_finite()) {
            Outcome::NotFinite
        } else if self.progress.spikes.is_spike(loss, self.recipe.run.spike) {
            Outcome::Spike
        } else {
            Outcome::Taken
        };
        if outcome == Outcome::Taken {
            self.progress.spikes.took(loss);
            self.model = self.optimizer.step(lr, self.model.clone(), grads);
            if let Some(statistics) = statistics {
                self.model = statistics.followed_by(self.model.clone(), step);
            }
            for ema in std::iter::once(&mut self.ema).chain(&mut self.emas) {
                ema.update(&self.model, self.progress.updates);
            }
        }

        let BatchCounts { tokens, images, .. } = counts;
        self.progress.count(outcome, tokens, images, &self.recipe.run)?;
        Ok(StepReport {
            step: step + 1,
            loss,
            losses,
            gradient,
            lr,
            skipped: outcome != Outcome::Taken,
            loss_scale: scale,
            tokens,
            images,
            levels: levels.means(),
        })
    }

    /// Returns the scale of the loss at the next step, which only f16 has.
    fn loss_scale(&mut self) -> Option<f64> {
        let scaled = self.recipe.run.precision.fixed() == Precision::F16;
        scaled.then(|| self.progress.loss_scale.get_or_insert_default().factor)
    }

    /// Counts what the whole batch holds, over all ranks.
    fn counts(&self, micro_batches: &[HostBatch]) -> BatchCounts {
        let mut sums = vec![0.0; self.objective.terms().len() + 3];
        for batch in micro_batches {
            let mut own = vec![batch.target_images(), batch.real_tokens(), batch.images()];
            own.extend(self.objective.counts(batch));
            sums.iter_mut().zip(own).for_each(|(sum, count)| *sum += count as f64);
        }
        (self.ranks.sum_wide)(&mut sums);
        let counts: Vec<usize> = sums.into_iter().map(|sum| sum as usize).collect();
        BatchCounts {
            target_images: counts[0],
            tokens: counts[1],
            images: counts[2],
            items: counts[3..].to_vec(),
        }
    }

    /// Computes the gradients of the loss of this rank's micro-batches. As many as
    /// `run.micro_batches` are computed at once, each on a thread of its own with a copy of the
    /// weights that shares their memory; gradients are added in the order of micro-batches.
    fn gradients(&self, micro_batches: &[HostBatch], asked: Asked<'_>) -> Gradients {
        let run = &self.recipe.run;
        let work = Work {
            objective: &*self.objective,
            config: &self.config,
            device: &self.device,
            options: BlockOptions {
                precision: run.precision.fixed(),
                activation_checkpointing: run.activation_checkpointing,
            },
            detailed: (asked.step + 1).is_multiple_of(LOG_EVERY),
            asked,
        };
        let mut sum = GradientsAccumulator::new();
        let mut values = StepValues::default();
        for turn in micro_batches.chunks(run.micro_batches) {
            // Every micro-batch has leaves of its own. They are made of plain tensors: an operation
            // on a weight that no gradient reaches, such as a frozen codec's, would never be freed.
            let leaves = |batch| (self.model.valid().train(), batch);
            let tasks: Vec<(Model, &HostBatch)> = turn.iter().map(leaves).collect();
            for part in self.workers.each(tasks, |(model, batch)| work.gradients(&model, batch)) {
                sum.accumulate(&self.model, part.grads);
                values.extend(part.values);
            }
        }
        Gradients { grads: sum.grads(), values }
    }

    /// Adds gradients over all ranks, and notes how long that took.
    fn add_over_ranks(&mut self, grads: GradientsParams) -> GradientsParams {
        if self.ranks.count == 1 {
            return grads;
        }
        let _ = self.device.sync(); // the backward pass is not counted; what fails here fails below
        let start = Instant::now();
        let grads = self.ranks.add_gradients(&self.model, grads, &self.device);
        if self.ranks.sum_on_device.is_some() {
            let _ = self.device.sync();
        }
        self.added = Some(start.elapsed());
        grads
    }

    /// Adds the values of the loss terms over all ranks. A term without items has none.
    fn losses(
        &self,
        terms: &[TermConfig],
        counts: &BatchCounts,
        mut values: Vec<f64>,
    ) -> LossValues {
        (self.ranks.sum_wide)(&mut values);
        let value = |(value, count): (f64, &usize)| (*count > 0).then_some(value);
        let values = values.into_iter().zip(&counts.items).map(value);
        LossValues(terms.iter().map(|term| term.name).zip(values).collect())
    }
}

/// Returns the weighted sum of the losses that there are.
fn total(terms: &[TermConfig], losses: &LossValues) -> Option<f64> {
    let present = terms.iter().zip(&losses.0);
    weighted_sum(present.filter_map(|(term, (_, value))| Some((term.weight, (*value)?))))
}

/// Gradients of a batch or of a micro-batch, and its numbers.
struct Gradients {
    grads: GradientsParams,
    values: StepValues,
}

/// Which gradients are wanted.
#[derive(Clone)]
struct Asked<'a> {
    /// The step, counted from 0.
    step: u64,
    losses: &'a [TermConfig],
    counts: &'a BatchCounts,
    /// What the loss is multiplied by, `[1]`.
    scale: Option<Tensor<1>>,
}

/// What the micro-batches of a step have in common.
struct Work<'a> {
    objective: &'a dyn Objective,
    config: &'a ModelConfig,
    device: &'a Device,
    options: BlockOptions,
    asked: Asked<'a>,
    /// Whether errors by noise level are wanted.
    detailed: bool,
}

impl Work<'_> {
    /// Computes the share of one micro-batch in the loss and in its gradients.
    fn gradients(&self, model: &Model, host: &HostBatch) -> Gradients {
        let mut batch = host.to_device(self.config, self.device);
        batch.inputs.options = self.options;
        let mut losses = self.objective.losses(model, &batch);
        let errors = losses.patch_errors.take().filter(|_| self.detailed);
        let errors = errors.map(|errors| PatchErrors {
            errors: errors.without_autodiff(),
            noise: host.noise().to_vec(),
        });
        // A mean over the items of a micro-batch counts by how many of the batch's items they are.
        let weighed = |term: LossTerm| LossTerm {
            value: term.value * self.share(term.name, term.count),
            ..term
        };
        losses.list = losses.list.into_iter().map(weighed).collect();
        let value =
            |term: &TermConfig| losses.value(term.name).map(|value| value.without_autodiff());
        let values = StepValues {
            losses: vec![self.asked.losses.iter().map(value).collect()],
            errors: errors.into_iter().collect(),
        };
        let total = losses.total(|name| self.asked.losses[self.position(name)].weight);
        let scaled = |total: Tensor<1>| match &self.asked.scale {
            Some(scale) => total * scale.clone(),
            None => total,
        };
        let grads = match total.map(scaled) {
            Some(total) => GradientsParams::from_grads(total.backward(), model),
            None => GradientsParams::new(),
        };
        Gradients { grads, values }
    }

    /// Returns the factor of a term's mean over `count` items, so that the sum over micro-batches
    /// is the mean over the batch.
    fn share(&self, name: &str, count: usize) -> f64 {
        let at = self.position(name);
        let all = self.asked.counts.items[at];
        let values = all * self.config.patch_dim();
        let scale = self.asked.losses[at].reduction.factor(values, self.asked.counts.target_images);
        count as f64 / all.max(1) as f64 * scale
    }

    fn position(&self, name: &str) -> usize {
        let at = self.asked.losses.iter().position(|term| term.name == name);
        at.expect("an objective lists every term that it computes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_an_object_with_a_key_for_each_loss() {
        let report = StepReport {
            step: 1,
            loss: 0.5,
            losses: LossValues::from([("text", None), ("image", Some(0.5))]),
            gradient: 1.0,
            lr: 0.25,
            skipped: false,
            loss_scale: None,
            tokens: 2,
            images: 1,
            levels: None,
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"step":1,"loss":0.5,"text":null,"image":0.5,"gradient":1.0,"lr":0.25,"skipped":false,"tokens":2,"images":1}"#
        );
        assert_eq!((report.losses.get("image"), report.losses.get("video")), (Some(0.5), None));
    }
}
