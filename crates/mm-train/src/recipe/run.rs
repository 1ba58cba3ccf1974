//! The length of a run, how its batches are computed, and what it writes on the way.

use mm_backbone::Precision;
use serde::{Deserialize, Serialize};

use super::check::Checks;

/// The number of steps between two lines of `metrics.jsonl`.
pub const LOG_EVERY: u64 = 10;

/// Holds the table `[run]`: length, batches, measurements and files of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The number of optimizer steps.
    pub steps: u64,
    /// The number of documents in a step.
    pub batch: usize,
    /// The number of parts of a batch that are computed side by side, each on a thread of its own.
    /// It belongs to the recipe and not to the machine, so that one seed gives the same bits
    /// with any number of cores, on processors with the same vector instructions.
    pub micro_batches: usize,
    /// The number of tokens in a packed row; 0 puts one document in a row.
    pub pack_len: usize,
    /// The number of steps between two checkpoints.
    pub checkpoint_every: u64,
    /// The number of checkpoints that are kept.
    pub keep: usize,
    /// The number of steps between two grids of samples.
    pub sample_every: u64,
    /// Whether each grid has a second one beside it, drawn with the weights themselves instead of
    /// their average.
    #[serde(default)]
    pub raw_samples: bool,
    /// The number of steps between two measurements on held-out documents; 0 turns them off.
    #[serde(default)]
    pub validate_every: u64,
    /// The number of held-out records in a measurement.
    #[serde(default = "validate_count")]
    pub validate_count: usize,
    /// Names the number by which the best checkpoint is chosen, to be kept beside the last ones.
    #[serde(default)]
    pub best: BestBy,
    /// The number of measurements in a row without a new lowest value that end the run; 0 for
    /// never.
    #[serde(default)]
    pub patience: u64,
    /// A step whose loss is above this many times the median of the latest is skipped; 0 turns
    /// this off.
    #[serde(default)]
    pub spike: f64,
    /// The number of turns in which the documents of a step are computed, one after another, so
    /// that only the activations of one turn are in memory.
    #[serde(default = "one")]
    pub grad_accum_steps: usize,
    /// Whether blocks keep only their input for the backward pass, and compute forward again.
    #[serde(default)]
    pub activation_checkpointing: bool,
    /// The type in which blocks multiply; weights are 32-bit floats. What blocks keep for the
    /// backward pass has this type too, but on the CPU, whose kernels keep 32-bit floats.
    #[serde(default)]
    pub precision: PrecisionChoice,
    /// The number of steps after which losses are read from the device, which decides by itself
    /// until then whether a step is skipped; 0 for 10 on a graphics device and 1 on the CPU.
    #[serde(default)]
    pub read_every: u64,
}

/// Names the type in which blocks multiply, or leaves it to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PrecisionChoice {
    /// The fastest type of the device, by [`Precision::fastest`]. A run that starts or is resumed
    /// writes down which one it took.
    Auto,
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats with the range of 32: bfloat16.
    Bf16,
    /// IEEE half precision, with a scaled loss.
    F16,
}

impl PrecisionChoice {
    /// Returns the type that is named; where none is, 32-bit floats.
    pub fn fixed(self) -> Precision {
        match self {
            Self::Auto | Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::F16 => Precision::F16,
        }
    }
}

impl From<Precision> for PrecisionChoice {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::F16 => Self::F16,
        }
    }
}

/// Names a number of a measurement on held-out documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestBy {
    /// No best checkpoint is kept; patience follows the loss.
    #[default]
    None,
    /// The weighted sum of the losses that there are.
    Loss,
    /// The cross-entropy of captions.
    Text,
    /// The squared error of patches.
    Image,
}

fn one() -> usize {
    1
}

fn validate_count() -> usize {
    64
}

impl RunConfig {
    pub(super) fn validate(&self, checks: &mut Checks) {
        checks.check("run.steps", self.steps > 0, "at least 1");
        checks.check("run.batch", self.batch > 0, "at least 1");
        checks.check("run.micro_batches", (1..=64).contains(&self.micro_batches), "1 to 64");
        checks.check("run.grad_accum_steps", self.grad_accum_steps > 0, "at least 1");
        checks.check("run.checkpoint_every", self.checkpoint_every > 0, "at least 1");
        checks.check("run.keep", self.keep > 0, "at least 1");
        checks.check("run.sample_every", self.sample_every > 0, "at least 1");
        checks.check("run.validate_count", self.validate_count > 0, "at least 1");
        let measured = self.validate_every > 0;
        let best = measured || self.best == BestBy::None;
        checks.check("run.best", best, "none without `run.validate_every`");
        checks.check(
            "run.patience",
            measured || self.patience == 0,
            "0 without `run.validate_every`",
        );
        let most = "at most 10, the steps between two lines of `metrics.jsonl`";
        checks.check("run.read_every", self.read_every <= LOG_EVERY, most);
        checks.check("run.spike", self.spike == 0.0 || self.spike > 1.0, "0 or above 1")
    }
}
