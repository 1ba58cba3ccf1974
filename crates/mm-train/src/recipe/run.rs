//! For how long a run goes on, and what is written meanwhile.

use mm_backbone::Precision;
use serde::{Deserialize, Serialize};

use super::check;
use crate::RecipeError;
use crate::watch::BestBy;

/// Length and habits of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Optimizer steps.
    pub steps: u64,
    /// Documents in a step.
    pub batch: usize,
    /// Parts of a batch that are computed side by side, each on a thread of its own; part of the recipe and not of the
    /// machine, so that the same seed gives the same bits everywhere.
    pub shards: usize,
    /// Places in a packed row; 0 for one document a row.
    pub row_tokens: usize,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints kept.
    pub keep: usize,
    /// Steps between two grids of samples.
    pub sample_every: u64,
    /// Whether each grid has a second beside it, drawn with the weights as they are instead of their average.
    #[serde(default)]
    pub raw_samples: bool,
    /// Steps between two measurements on held-out documents; 0 for none.
    #[serde(default)]
    pub validate_every: u64,
    /// Held-out examples of a measurement.
    #[serde(default = "validate_count")]
    pub validate_count: usize,
    /// By which of their numbers the best checkpoint is chosen, to be kept beside the last.
    #[serde(default)]
    pub best: BestBy,
    /// Measurements in a row without a new lowest number that end the run; 0 for any.
    #[serde(default)]
    pub patience: u64,
    /// A step whose loss is above so many times the median of the latest is skipped; 0 for none.
    #[serde(default)]
    pub spike: f64,
    /// Turns in which a step's documents are computed, one after another, so that one turn's activations are in memory.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Whether blocks keep nothing but their input for the backward pass and compute forward again.
    #[serde(default)]
    pub recompute: bool,
    /// What blocks multiply in, and so the type of what they keep for the backward pass; weights are 32-bit floats.
    #[serde(default)]
    pub precision: Precision,
}

fn one() -> usize {
    1
}

fn validate_count() -> usize {
    64
}

impl RunConfig {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        check("run.steps", self.steps > 0, "at least 1")?;
        check("run.batch", self.batch > 0, "at least 1")?;
        check("run.shards", (1..=64).contains(&self.shards), "1 to 64")?;
        check("run.accumulate", self.accumulate > 0, "at least 1")?;
        check("run.checkpoint_every", self.checkpoint_every > 0, "at least 1")?;
        check("run.keep", self.keep > 0, "at least 1")?;
        check("run.sample_every", self.sample_every > 0, "at least 1")?;
        check("run.validate_count", self.validate_count > 0, "at least 1")?;
        let measured = self.validate_every > 0;
        check(
            "run.best",
            measured || self.best == BestBy::None,
            "none without `run.validate_every`",
        )?;
        check("run.patience", measured || self.patience == 0, "0 without `run.validate_every`")?;
        check(
            "run.precision",
            self.precision == Precision::F32 || !self.recompute,
            "f32 with `run.recompute`, which the 32-bit kernels alone can",
        )?;
        check("run.spike", self.spike == 0.0 || self.spike > 1.0, "0 or above 1")
    }
}
