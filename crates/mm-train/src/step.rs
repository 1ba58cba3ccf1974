//! One optimizer step: losses, backward, clip, update, average.

use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use mm_backbone::BlockOptions;
use mm_model::{HostBatch, LossTerm, Model, ModelConfig, weighted_sum};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::TrainError;
use crate::codebook;
use crate::levels::{BINS, Levels};
use crate::objective::{Objective, TermConfig};
use crate::optim::{Clipped, clip, freeze, learning_rate};
use crate::schedule::LOG_EVERY;
use crate::training::Training;

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
    /// Takes one step on the micro-batches of a batch, or of this rank's share of it. A step whose
    /// loss or gradient is not finite, or whose loss is a spike, changes no weight and is counted;
    /// too many in a row are an error.
    pub fn step(&mut self, micro_batches: &[HostBatch]) -> Result<StepReport, TrainError> {
        let step = self.progress.step;
        let terms = self.objective.terms_at(step);
        let counts = self.counts(micro_batches);
        let Gradients { grads, values, levels } = self.gradients(micro_batches, &terms, &counts);
        let mut grads = self.add_over_ranks(grads);
        let statistics = codebook::take(&self.model, &mut grads, self.recipe.loss.latent);
        let optim = &self.recipe.optimizer;
        let grads = freeze::without_frozen(&self.model, grads, &optim.freeze);
        let (clip_at, read) = (optim.clip, values.numbers());
        let Clipped { grads, norm: gradient, others } = clip(&self.model, grads, clip_at, read);
        let losses = self.losses(&terms, &counts, values.sums(&others, terms.len()));

        let present = terms.iter().zip(&losses.0);
        let present = present.filter_map(|(term, (_, value))| Some((term.weight, (*value)?)));
        let loss = weighted_sum(present).ok_or(TrainError::NothingToLearn { step })?;
        let lr = learning_rate(optim, step, self.recipe.run.steps) * self.progress.lr_factor;

        let finite = loss.is_finite() && gradient.is_finite();
        let skipped = !finite || self.progress.spikes.is_spike(loss, self.recipe.run.spike);
        if !skipped {
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
        self.progress.count(skipped, tokens, images, &self.recipe.run)?;
        let levels = levels.means();
        Ok(StepReport {
            step: step + 1,
            loss,
            losses,
            gradient,
            lr,
            skipped,
            tokens,
            images,
            levels,
        })
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
    fn gradients(
        &self,
        micro_batches: &[HostBatch],
        terms: &[TermConfig],
        counts: &BatchCounts,
    ) -> Gradients {
        let run = &self.recipe.run;
        let work = Work {
            objective: &*self.objective,
            config: &self.config,
            device: &self.device,
            options: BlockOptions {
                precision: run.precision,
                activation_checkpointing: run.activation_checkpointing,
            },
            loss_terms: terms,
            counts,
            detailed: (self.progress.step + 1).is_multiple_of(LOG_EVERY),
        };
        let tracked = self.device.clone().autodiff();
        let mut sum = GradientsAccumulator::new();
        let (mut values, mut levels) = (Values::default(), Levels::default());
        for turn in micro_batches.chunks(run.micro_batches) {
            let fork = |batch| (self.model.clone().fork(&tracked), batch);
            let tasks: Vec<(Model, &HostBatch)> = turn.iter().map(fork).collect();
            for part in self.workers.each(tasks, |(model, batch)| work.gradients(&model, batch)) {
                sum.accumulate(&self.model, part.grads);
                levels.merge(&part.levels);
                values.0.extend(part.values.0);
            }
        }
        Gradients { grads: sum.grads(), values, levels }
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

/// What a whole batch holds, over all ranks.
struct BatchCounts {
    /// The items of each loss term.
    items: Vec<usize>,
    /// The images that are targets.
    target_images: usize,
    /// Tokens and patches, without padding.
    tokens: usize,
    /// All images.
    images: usize,
}

/// Gradients of a batch or of a micro-batch, the values of its loss terms, and its errors by noise
/// level.
struct Gradients {
    grads: GradientsParams,
    values: Values,
    levels: Levels,
}

/// The values of the loss terms of each micro-batch, `[1]` each, which are still on the device: a
/// number that is read waits for all work before it. A term without items has none.
#[derive(Default)]
struct Values(Vec<Vec<Option<Tensor<1>>>>);

impl Values {
    /// Returns all numbers in order, `[1]` each.
    fn numbers(&self) -> Vec<Tensor<1>> {
        self.0.iter().flatten().flatten().cloned().collect()
    }

    /// Adds up the numbers of each term over the micro-batches, given what was read of them.
    fn sums(&self, read: &[f32], terms: usize) -> Vec<f64> {
        let (mut sums, mut read) = (vec![0.0; terms], read.iter());
        for batch in &self.0 {
            for (sum, value) in sums.iter_mut().zip(batch) {
                let number = value.as_ref().and_then(|_| read.next());
                *sum += number.map_or(0.0, |number| f64::from(*number));
            }
        }
        sums
    }
}

/// What the micro-batches of a step have in common.
struct Work<'a> {
    objective: &'a dyn Objective,
    config: &'a ModelConfig,
    device: &'a Device,
    options: BlockOptions,
    loss_terms: &'a [TermConfig],
    counts: &'a BatchCounts,
    /// Whether errors by noise level are wanted.
    detailed: bool,
}

impl Work<'_> {
    /// Computes the share of one micro-batch in the loss and in its gradients.
    fn gradients(&self, model: &Model, host: &HostBatch) -> Gradients {
        let mut batch = host.to_device(self.config, self.device);
        batch.inputs.options = self.options;
        let mut losses = self.objective.losses(model, &batch);
        let mut levels = Levels::default();
        if let Some(errors) = losses.patch_errors.take().filter(|_| self.detailed) {
            let errors = errors.into_data().convert::<f32>();
            levels.add(&errors.try_to_vec::<f32>().expect("32-bit floats"), host.noise());
        }
        // A mean over the items of a micro-batch counts by how many of the batch's items they are.
        let weighed = |term: LossTerm| LossTerm {
            value: term.value * self.share(term.name, term.count),
            ..term
        };
        losses.list = losses.list.into_iter().map(weighed).collect();
        let value =
            |term: &TermConfig| losses.value(term.name).map(|value| value.without_autodiff());
        let values = Values(vec![self.loss_terms.iter().map(value).collect()]);
        let grads = match losses.total(|name| self.loss_terms[self.position(name)].weight) {
            Some(total) => GradientsParams::from_grads(total.backward(), model),
            None => GradientsParams::new(),
        };
        Gradients { grads, values, levels }
    }

    /// Returns the factor of a term's mean over `count` items, so that the sum over micro-batches
    /// is the mean over the batch.
    fn share(&self, name: &str, count: usize) -> f64 {
        let at = self.position(name);
        let all = self.counts.items[at];
        let values = all * self.config.patch_dim();
        let scale = self.loss_terms[at].reduction.factor(values, self.counts.target_images);
        count as f64 / all.max(1) as f64 * scale
    }

    fn position(&self, name: &str) -> usize {
        let at = self.loss_terms.iter().position(|term| term.name == name);
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
