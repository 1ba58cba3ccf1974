//! What steps leave on the device until it is read: a number that is read waits for all work before
//! it.

use burn::optim::ModuleOptimizer;
use burn::prelude::*;
use mm_kernels::Gate;
use mm_model::{HostBatch, Model};

use crate::levels::Levels;
use crate::loss_scale::LossScaleUnread;
use crate::optim::Ema;

/// What a whole batch holds, over all ranks.
pub(crate) struct BatchCounts {
    /// The items of each loss term.
    pub items: Vec<usize>,
    /// The images that are targets.
    pub target_images: usize,
    /// Tokens and patches, without padding.
    pub tokens: usize,
    /// All images.
    pub images: usize,
}

/// The errors of target patches.
pub(crate) struct PatchErrors {
    /// `[patches]`
    pub errors: Tensor<1>,
    /// The factor of the noise of each.
    pub noise: Vec<f32>,
}

/// The numbers of a step that are on the device.
#[derive(Default)]
pub(crate) struct StepValues {
    /// The loss terms of each micro-batch, `[1]` each. A term without items has none.
    pub losses: Vec<Vec<Option<Tensor<1>>>>,
    /// The errors of patches, of each micro-batch, if they are wanted.
    pub errors: Vec<PatchErrors>,
}

impl StepValues {
    /// Adds the numbers of later micro-batches.
    pub fn extend(&mut self, others: Self) {
        self.losses.extend(others.losses);
        self.errors.extend(others.errors);
    }

    /// Returns the loss terms that there are, `[1]` each.
    pub fn losses(&self) -> Vec<Tensor<1>> {
        self.losses.iter().flatten().flatten().cloned().collect()
    }

    /// Returns the errors of patches, `[patches]` each.
    pub fn errors(&self) -> Vec<Tensor<1>> {
        self.errors.iter().map(|part| part.errors.clone()).collect()
    }

    /// Takes what was read of [`losses`](Self::losses) out of `read`, and adds each of so many
    /// terms over the micro-batches.
    pub fn take_losses(&self, read: &mut std::slice::Iter<'_, f32>, terms: usize) -> Vec<f64> {
        let mut losses = vec![0.0; terms];
        for batch in &self.losses {
            for (sum, value) in losses.iter_mut().zip(batch) {
                let number = value.as_ref().and_then(|_| read.next());
                *sum += number.map_or(0.0, |number| f64::from(*number));
            }
        }
        losses
    }

    /// Takes what was read of [`errors`](Self::errors) out of `read`.
    pub fn take_levels(&self, read: &mut std::slice::Iter<'_, f32>) -> Levels {
        let mut levels = Levels::default();
        for PatchErrors { errors, noise } in &self.errors {
            let errors: Vec<f32> = read.take(errors.dims()[0]).copied().collect();
            let mut own = Levels::default();
            own.add(&errors, noise);
            levels.merge(&own);
        }
        levels
    }
}

/// The steps since the latest reading.
#[derive(Default)]
pub(crate) struct Unread {
    pub steps: Vec<UnreadStep>,
    /// The scale of the loss behind them, in f16.
    pub scale: Option<LossScaleUnread>,
    /// Where the run stood before them, if a spike of the loss must be undone.
    pub before: Option<Before>,
}

/// One step that the device took or refused.
pub(crate) struct UnreadStep {
    pub lr: f64,
    pub counts: BatchCounts,
    pub values: StepValues,
    /// The parts of the sum of the squares of gradients or, where the host has that, the norm,
    /// `[parts]`.
    pub squares: Tensor<1>,
    /// The sum of the squares of gradients, where the host has it.
    pub host_squares: Option<f64>,
    pub gate: Gate,
}

impl UnreadStep {
    /// Returns all numbers that are to be read, `[numbers]` each: the losses, the parts of the
    /// squares, the errors of patches, and 1 if the step was taken or else 0.
    pub fn numbers(&self) -> Vec<Tensor<1>> {
        let mut all = self.values.losses();
        all.push(self.squares.clone());
        all.extend(self.values.errors());
        all.push(self.gate.taken().float());
        all
    }
}

/// Where a run stood, and the batches since then.
pub(crate) struct Before {
    pub model: Model,
    pub optimizer: ModuleOptimizer,
    pub ema: Ema,
    pub emas: Vec<Ema>,
    pub batches: Vec<Vec<HostBatch>>,
}
