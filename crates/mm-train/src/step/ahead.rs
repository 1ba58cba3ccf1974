//! Steps about which the device decides, and the reading of what several of them did.
//!
//! A step that the host must judge waits for the whole backward pass before the next can be given
//! to the device. Here the device judges: the update of a step whose loss or gradient is not finite
//! is replaced by what was there before. The host reads every few steps and then counts as if it
//! had been asked each time. Only a spike of the loss is beyond the device, so the host keeps the
//! weights from before the steps in question; if one was a spike, they are taken again from there,
//! one by one.

use burn::prelude::*;
use burn::tensor::FloatDType;
use mm_backbone::Precision;
use mm_kernels::{Gate, read_together};
use mm_model::HostBatch;

use super::{Asked, Gradients, StepReport, total};
use crate::TrainError;
use crate::loss_scale::LossScaleUnread;
use crate::optim::{ClippedUnread, Squares, clip_unread, freeze, learning_rate};
use crate::progress::{Outcome, Progress};
use crate::recipe::OptimizerKind;
use crate::schedule::LOG_EVERY;
use crate::training::Training;
use crate::unread::{Before, Unread, UnreadStep};

/// What was read of some steps.
#[derive(Debug)]
pub struct ReadSteps {
    /// What each of them did.
    pub reports: Vec<StepReport>,
    /// Why the run cannot go on behind the last of these, if too many steps were skipped.
    pub failed: Option<TrainError>,
}

impl Training {
    /// Returns the number of steps after which losses are read, by `run.read_every`. It is 1 where
    /// the host must decide about each step: with Muon, a codebook or several ranks.
    pub fn reads_every(&self) -> u64 {
        let codebook = self.model.codec().is_some_and(|codec| codec.codebook().is_some());
        let muon = self.recipe.optimizer.kind == OptimizerKind::Muon;
        if codebook || muon || self.ranks.count > 1 {
            return 1;
        }
        match self.recipe.run.read_every {
            0 if mm_kernels::has_fused_blocks(&self.device) => 1,
            0 => LOG_EVERY,
            every => every,
        }
    }

    /// Returns the number of the next step, counted from 0, with those that were not read.
    pub fn next_step(&self) -> u64 {
        self.progress.step + self.unread.steps.len() as u64
    }

    /// Takes one step as a run does: by itself, or [unread](Self::step_unread) and then read with
    /// those before it as often as [`reads_every`](Self::reads_every) says.
    pub fn advance(&mut self, micro_batches: &[HostBatch]) -> Result<ReadSteps, TrainError> {
        let every = self.reads_every();
        if every == 1 {
            return Ok(ReadSteps { reports: vec![self.step(micro_batches)?], failed: None });
        }
        self.step_unread(micro_batches)?;
        if self.next_step().is_multiple_of(every) {
            return Ok(self.read_steps());
        }
        Ok(ReadSteps { reports: vec![], failed: None })
    }

    /// Takes one step as [`step`](Self::step) does, but leaves it to the device whether it is
    /// skipped, and reads nothing back. [`reads_every`](Self::reads_every) must be above 1;
    /// [`read_steps`](Self::read_steps) tells what the steps did.
    pub fn step_unread(&mut self, micro_batches: &[HostBatch]) -> Result<(), TrainError> {
        let step = self.next_step();
        let terms = self.objective.terms_at(step);
        let counts = self.counts(micro_batches);
        if counts.items.iter().all(|items| *items == 0) {
            return Err(TrainError::NothingToLearn { step });
        }
        self.remember(micro_batches);
        let scale = self.scale_unread();
        let factor = scale.as_ref().map(LossScaleUnread::factor);
        let asked = Asked { step, losses: &terms, counts: &counts, scale: factor.clone() };
        let Gradients { grads, values } = self.gradients(micro_batches, asked);
        let optim = &self.recipe.optimizer;
        let grads = freeze::without_frozen(&self.model, grads, &optim.freeze);
        let clipped = clip_unread(&self.model, grads, optim.clip, factor, &self.device);
        let ClippedUnread { grads, squares } = clipped;
        let (host_squares, squares) = match squares {
            Squares::Device(parts) => (None, *parts),
            Squares::Host(sum) => {
                (Some(sum), Tensor::from_floats([sum.sqrt() as f32], &self.device))
            }
        };
        let judged = joined([values.losses(), vec![squares.clone()]].concat());
        let finite = judged.clone().is_finite().all();
        let gate = match self.unread.steps.last() {
            Some(earlier) => earlier.gate.next(finite.clone()),
            None => Gate::first(finite.clone()),
        };
        let lr = learning_rate(optim, step, self.recipe.run.steps) * self.progress.lr_factor;

        let model = self.model.clone();
        self.model = self.gate.within(&gate, || self.optimizer.step(lr, model, grads));
        let updates = self.progress.updates + self.unread.steps.len() as u64;
        for ema in std::iter::once(&mut self.ema).chain(&mut self.emas) {
            ema.update_if(&self.model, updates, &gate);
        }
        self.unread.scale = scale.map(|scale| scale.after(finite));
        self.unread.steps.push(UnreadStep { lr, counts, values, squares, host_squares, gate });
        Ok(())
    }

    /// Reads what the steps since the last reading did.
    pub fn read_steps(&mut self) -> ReadSteps {
        let Unread { steps, before, .. } = std::mem::take(&mut self.unread);
        let numbers: Vec<Tensor<1>> = steps.iter().flat_map(UnreadStep::numbers).collect();
        let mut read = ReadSteps { reports: vec![], failed: None };
        if numbers.is_empty() {
            return read;
        }
        let numbers: Vec<f32> =
            read_together(numbers).iter().map(|&number| number as f32).collect();
        let mut numbers = numbers.iter();
        let (mut progress, mut refused) = (self.progress, 0);
        for step in steps {
            let Judged { report, outcome } = self.judged(&step, &mut numbers, &progress);
            if outcome == Outcome::Spike {
                return self.again(before.expect("kept where spikes are looked for"));
            }
            if outcome == Outcome::Taken {
                progress.spikes.took(report.loss);
            }
            refused += usize::from(outcome != Outcome::Taken);
            let StepReport { tokens, images, .. } = report;
            read.failed = progress.count(outcome, tokens, images, &self.recipe.run).err();
            if read.failed.is_some() {
                break;
            }
            read.reports.push(report);
        }
        self.gate.was_refused(refused);
        self.progress = progress;
        read
    }

    /// Makes the report of a step out of its numbers, which are the next of all.
    fn judged(
        &self,
        step: &UnreadStep,
        numbers: &mut std::slice::Iter<'_, f32>,
        progress: &Progress,
    ) -> Judged {
        let terms = self.objective.terms_at(progress.step);
        let losses = step.values.take_losses(numbers, terms.len());
        let parts = step.squares.dims()[0];
        let squares: f64 = numbers.take(parts).map(|sum| f64::from(*sum)).sum();
        let squares = step.host_squares.unwrap_or(squares);
        let levels = step.values.take_levels(numbers);
        let taken = numbers.next().is_some_and(|taken| *taken == 1.0);
        let losses = self.losses(&terms, &step.counts, losses);
        let loss = total(&terms, &losses).unwrap_or(f64::NAN);
        let scaled = self.recipe.run.precision.fixed() == Precision::F16;
        let scale = progress.loss_scale.filter(|_| scaled).map(|scale| scale.factor);
        let outcome = if !taken {
            Outcome::NotFinite
        } else if progress.spikes.is_spike(loss, self.recipe.run.spike) {
            Outcome::Spike
        } else {
            Outcome::Taken
        };
        let report = StepReport {
            step: progress.step + 1,
            loss,
            losses,
            gradient: squares.sqrt() / scale.unwrap_or(1.0),
            lr: step.lr,
            skipped: outcome != Outcome::Taken,
            loss_scale: scale,
            tokens: step.counts.tokens,
            images: step.counts.images,
            levels: levels.means(),
        };
        Judged { report, outcome }
    }

    /// Keeps a batch, and what was there before the first that is not read, if the loss may turn
    /// out to be a spike.
    fn remember(&mut self, micro_batches: &[HostBatch]) {
        if self.recipe.run.spike == 0.0 {
            return;
        }
        let Self { model, optimizer, ema, emas, unread, .. } = self;
        let before = unread.before.get_or_insert_with(|| Before {
            model: model.clone(),
            optimizer: optimizer.clone(),
            ema: ema.copied(model),
            emas: emas.iter().map(|ema| ema.copied(model)).collect(),
            batches: vec![],
        });
        before.batches.push(micro_batches.to_vec());
    }

    /// Takes steps again, one by one, from where the run stood before them.
    fn again(&mut self, before: Before) -> ReadSteps {
        let Before { model, optimizer, ema, emas, batches } = before;
        (self.model, self.optimizer) = (model, optimizer);
        (self.ema, self.emas) = (ema, emas);
        let mut read = ReadSteps { reports: vec![], failed: None };
        for batch in batches {
            match self.step(&batch) {
                Ok(report) => read.reports.push(report),
                Err(why) => {
                    read.failed = Some(why);
                    break;
                }
            }
        }
        read
    }

    /// Returns the scale of the loss at the next step on the device, which only f16 has.
    fn scale_unread(&mut self) -> Option<LossScaleUnread> {
        if self.recipe.run.precision.fixed() != Precision::F16 {
            return None;
        }
        let host = *self.progress.loss_scale.get_or_insert_default();
        let scale = self.unread.scale.take();
        Some(scale.unwrap_or_else(|| LossScaleUnread::new(host, &self.device)))
    }
}

/// What a step did.
struct Judged {
    report: StepReport,
    outcome: Outcome,
}

/// Joins numbers of one or several types, `[…]` each, in one row of 32-bit floats, `[numbers]`.
fn joined(numbers: Vec<Tensor<1>>) -> Tensor<1> {
    let cast = |number: Tensor<1>| number.without_autodiff().cast(FloatDType::F32);
    Tensor::cat(numbers.into_iter().map(cast).collect(), 0)
}
