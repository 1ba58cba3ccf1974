//! What the steps of a recipe compute, as seen in a few batches.

use mm_backbone::BackboneConfig;
use mm_kernels::WorkMemory;
use mm_model::HostBatch;
use serde::Serialize;

use super::blocks_kept;
use crate::TrainError;
use crate::recipe::Recipe;

/// The size of the longest array whose buffers are counted; no machine has room for a longer one.
const LONGEST: usize = 1 << 36;

/// What one step computes, as a mean over some batches.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Load {
    /// The tokens that the network computes, padding included.
    pub padded_tokens: f64,
    /// The tokens and patches of documents.
    pub tokens: f64,
    /// The pairs of a query and a key that it may attend to.
    pub pairs: f64,
    /// The patches of all images.
    pub patches: f64,
    /// The images.
    pub images: f64,
    /// The tokens that are targets.
    pub target_tokens: f64,
    /// The patches that are targets.
    pub target_patches: f64,
}

impl Load {
    /// Returns the load of so many times as many documents.
    fn times(self, factor: f64) -> Self {
        Self {
            padded_tokens: self.padded_tokens * factor,
            tokens: self.tokens * factor,
            pairs: self.pairs * factor,
            patches: self.patches * factor,
            images: self.images * factor,
            target_tokens: self.target_tokens * factor,
            target_patches: self.target_patches * factor,
        }
    }
}

/// The load of some steps.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The mean step, on all devices together.
    pub load: Load,
    /// The tokens of the micro-batches that are computed side by side, for every turn of every
    /// step.
    turns: Vec<Vec<f64>>,
}

impl Seen {
    /// Looks at the first steps, in batches `times` as large as those given.
    pub(super) fn of(
        recipe: &Recipe,
        steps: usize,
        times: f64,
        batch: &mut dyn FnMut(u64) -> Result<Vec<HostBatch>, TrainError>,
    ) -> Result<Self, TrainError> {
        let (mut load, mut turns) = (Load::default(), vec![]);
        for step in 0..steps as u64 {
            let parts = batch(step)?;
            let wanted = recipe.run.micro_batches.saturating_mul(recipe.run.grad_accum_steps);
            // A smaller batch may have fewer micro-batches, each of them as many times larger.
            let grown = times * parts.len() as f64 / wanted.min(recipe.run.batch) as f64;
            for turn in parts.chunks(recipe.run.micro_batches) {
                turns.push(turn.iter().map(|part| part.padded_tokens() as f64 * grown).collect());
            }
            for part in parts {
                let share = |count: usize| count as f64 / steps as f64;
                let [target_tokens, target_patches] = HostBatch::target_counts(&part);
                load.padded_tokens += share(part.padded_tokens());
                load.tokens += share(part.real_tokens());
                load.pairs += share(part.pairs());
                load.patches += share(part.patches());
                load.images += share(part.images());
                load.target_tokens += share(target_tokens);
                load.target_patches += share(target_patches);
            }
        }
        Ok(Self { load: load.times(times), turns })
    }

    /// Returns the work memory that each of several devices holds after these steps.
    pub(super) fn work_memory(
        &self,
        recipe: &Recipe,
        backbone: &BackboneConfig,
        devices: usize,
    ) -> WorkMemory {
        let block = backbone.work_arrays();
        let most = LONGEST / block.kept.iter().chain(&block.backward).max().unwrap_or(&1);
        let mut memory = WorkMemory::default();
        for turn in &self.turns {
            let own = |tokens: &f64| ((tokens / devices as f64).ceil() as usize).min(most);
            let tokens: Vec<usize> = turn.iter().map(own).collect();
            memory.train(&block, blocks_kept(recipe, backbone), &tokens);
        }
        memory
    }
}
