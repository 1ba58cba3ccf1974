//! What the steps of a recipe compute, seen in a few batches.

use mm_kernels::WorkMemory;
use mm_model::HostBatch;
use serde::Serialize;

use super::blocks_kept;
use crate::TrainError;
use crate::recipe::Recipe;

/// Numbers of the longest array whose buffers are counted: no machine has room for a longer one.
const LONGEST: usize = 1 << 36;

/// What one step computes, a mean over some batches.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Load {
    /// Places of the network, padding included.
    pub places: f64,
    /// Tokens and patches of documents.
    pub tokens: f64,
    /// Pairs of a query and a key that it may attend.
    pub pairs: f64,
    /// Patches of all images.
    pub patches: f64,
    /// Images.
    pub images: f64,
    /// Tokens that are learnt.
    pub target_tokens: f64,
    /// Patches that are learnt.
    pub target_patches: f64,
}

impl Load {
    /// The load of so many times as many documents.
    fn times(self, factor: f64) -> Self {
        Self {
            places: self.places * factor,
            tokens: self.tokens * factor,
            pairs: self.pairs * factor,
            patches: self.patches * factor,
            images: self.images * factor,
            target_tokens: self.target_tokens * factor,
            target_patches: self.target_patches * factor,
        }
    }
}

/// Some steps.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// A mean step, on all devices together.
    pub load: Load,
    /// Of every turn of every step, the places of the parts that are computed side by side.
    turns: Vec<Vec<f64>>,
}

impl Seen {
    /// The first steps, so many, in batches so many times as large as those given.
    pub(super) fn of(
        recipe: &Recipe,
        (steps, times): (usize, f64),
        batch: &mut dyn FnMut(u64) -> Result<Vec<HostBatch>, TrainError>,
    ) -> Result<Self, TrainError> {
        let (mut load, mut turns) = (Load::default(), vec![]);
        for step in 0..steps as u64 {
            let parts = batch(step)?;
            let wanted = recipe.run.shards.saturating_mul(recipe.run.accumulate);
            // A smaller batch may have fewer parts, each of them as many times larger.
            let grown = times * parts.len() as f64 / wanted.min(recipe.run.batch) as f64;
            for turn in parts.chunks(recipe.run.shards) {
                turns.push(turn.iter().map(|part| part.padded_tokens() as f64 * grown).collect());
            }
            for part in parts {
                let share = |count: usize| count as f64 / steps as f64;
                let [target_tokens, target_patches] = HostBatch::target_counts(&part);
                load.places += share(part.padded_tokens());
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

    /// The work memory that each of several devices holds after these steps.
    pub(super) fn work_memory(&self, recipe: &Recipe, devices: usize) -> WorkMemory {
        let block = recipe.model.backbone.work_arrays();
        let most = LONGEST / block.kept.iter().chain(&block.backward).max().unwrap_or(&1);
        let mut memory = WorkMemory::default();
        for turn in &self.turns {
            let own = |places: &f64| ((places / devices as f64).ceil() as usize).min(most);
            let tokens: Vec<usize> = turn.iter().map(own).collect();
            memory.train(&block, blocks_kept(recipe), &tokens);
        }
        memory
    }
}
