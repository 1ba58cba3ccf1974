//! The counters of a run, which are saved with its weights as `progress.json`.

use mm_kernels::{InstructionSet, Precision};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::checkpoint::seen::Seen;
use crate::early_stopping::EarlyStopping;
use crate::loss_scale::LossScale;
use crate::recipe::RunConfig;
use crate::spikes::SpikeDetector;

/// The number of skipped steps in a row that ends a run, or rolls it back.
pub const MOST_SKIPPED_IN_A_ROW: u64 = 10;

/// What the learning rate is multiplied by when a run is rolled back.
const SMALLER_LR: f64 = 0.5;

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The weights were updated.
    Taken,
    /// The loss or a gradient was not finite.
    NotFinite,
    /// The loss was a spike.
    Spike,
}

/// Counters of a run, and what later judgments depend on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The number of steps taken, skipped ones included: the number of the next step.
    pub step: u64,
    /// The number of updates of the weights.
    pub updates: u64,
    /// The number of steps skipped because loss or gradient was not finite, or the loss a spike.
    pub skipped: u64,
    /// The number of these that were the latest in a row.
    pub skipped_in_a_row: u64,
    /// The number of images shown so far.
    pub images: u64,
    /// The number of tokens and patches shown so far, without padding.
    pub tokens: u64,
    /// The milliseconds of training, over all resumes.
    pub milliseconds: u64,
    /// The latest losses, by which spikes are noticed.
    pub spikes: SpikeDetector,
    /// The measurements on held-out documents.
    pub early_stopping: EarlyStopping,
    /// The factor of the recipe's learning rate, below 1 after a rollback.
    pub lr_factor: f64,
    /// Whether the one rollback of a run was used.
    pub rolled_back: bool,
    /// The scale of the loss, once a step was taken in f16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// The data so far, in a checkpoint.
    #[serde(default)]
    pub data: Option<Seen>,
    /// The vector instructions that the steps were computed with, in a checkpoint of a run on the
    /// CPU.
    #[serde(default)]
    pub instructions: Option<InstructionSet>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            step: 0,
            updates: 0,
            skipped: 0,
            skipped_in_a_row: 0,
            images: 0,
            tokens: 0,
            milliseconds: 0,
            spikes: SpikeDetector::default(),
            early_stopping: EarlyStopping::default(),
            lr_factor: 1.0,
            rolled_back: false,
            loss_scale: None,
            data: None,
            instructions: None,
        }
    }
}

impl Progress {
    /// Counts a step that showed so many tokens and images. Too many skipped steps in a row are an
    /// error. A step that overflowed in f16 is not one of these while a smaller scale may help.
    pub(crate) fn count(
        &mut self,
        outcome: Outcome,
        tokens: usize,
        images: usize,
        run: &RunConfig,
    ) -> Result<(), TrainError> {
        self.step += 1;
        self.images += images as u64;
        self.tokens += tokens as u64;
        let scale = self.loss_scale.filter(|_| run.precision.fixed() == Precision::F16);
        if let Some(scale) = scale {
            self.loss_scale = Some(scale.after(outcome != Outcome::NotFinite));
        }
        if outcome == Outcome::Taken {
            self.updates += 1;
            self.skipped_in_a_row = 0;
            return Ok(());
        }
        self.skipped += 1;
        if outcome == Outcome::NotFinite && scale.is_some_and(LossScale::can_fall) {
            return Ok(());
        }
        self.skipped_in_a_row += 1;
        if self.skipped_in_a_row < MOST_SKIPPED_IN_A_ROW {
            return Ok(());
        }
        let (steps, step) = (self.skipped_in_a_row, self.step);
        Err(match run.spike {
            0.0 => TrainError::NotFinite { steps, step },
            factor => TrainError::Spikes { steps, step, factor },
        })
    }

    /// Notes the rollback, after which the learning rate is smaller.
    pub(crate) fn roll_back(&mut self) {
        self.rolled_back = true;
        self.lr_factor *= SMALLER_LR;
    }
}
