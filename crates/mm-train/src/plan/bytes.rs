//! Memory of a step, part by part.

use mm_backbone::BackboneConfig;
use mm_kernels::{Precision, WorkMemory};
use serde::Serialize;

use super::graphics::BlockBytes;
use super::load::Load;
use super::numbers::Numbers;
use super::{blocks_kept, turns};
use crate::recipe::{OptimizerKind, Recipe};

/// The number of copies of a batch on the host: three ahead, one being sent, one in use.
const COPIES: f64 = 5.0;
/// The bytes of the process itself, measured: code as it is used, lists of data set and tokenizer,
/// the threads of every run.
const PROCESS: f64 = 32e6;
/// The bytes of the thread of a micro-batch, measured: packed factors of products, and pages that
/// its small allocations begin.
const THREAD: f64 = 16e6;
/// What the allocator holds of freed pieces that no other fits, as a share of all that is asked
/// for, measured.
const FREED: f64 = 1.0 / 3.0;
/// What the memory pools of a device hold beyond what is asked for, as a share of it: pages that
/// are not full, and sizes that no other request fits.
const POOLED: f64 = 0.15;
/// The most bytes of freed pieces, measured: the allocator begins a few pages for each of its
/// sizes, however large the model.
const MOST_FREED: f64 = 50e6;

/// The bytes of one device at the highest point of a step, beyond what the program holds before it
/// opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bytes {
    /// The weights, and the new ones while they are written.
    pub weights: f64,
    /// The gradients of every micro-batch that is computed at once.
    pub gradients: f64,
    /// What the optimizer remembers.
    pub optimizer: f64,
    /// The moving averages.
    pub averages: f64,
    /// What forward keeps for backward: blocks, and what is before and after them.
    pub activations: f64,
    /// What the backward pass of one block takes.
    pub work: f64,
    /// The work memory beyond that of the mean step: buffers rounded up, and those that batches of
    /// other lengths left.
    pub spare: f64,
    /// The batches that wait on the host.
    pub batches: f64,
    /// What the allocator holds of freed pieces.
    pub freed: f64,
    /// The process itself and the threads of its micro-batches.
    pub process: f64,
}

/// What the memory of a step follows from, beside the recipe.
#[derive(Clone, Copy)]
pub(super) struct StepSizes<'a> {
    /// The blocks.
    pub backbone: &'a BackboneConfig,
    /// The load of a step on all devices together.
    pub load: &'a Load,
    /// The work memory of one device.
    pub memory: &'a WorkMemory,
    /// The parameters.
    pub parameters: &'a Numbers,
    /// The number of token ids.
    pub vocab: usize,
    /// The share of each batch that one device computes.
    pub share: f64,
}

/// What is kept before the first block and behind the last.
struct Ends {
    /// How many numbers.
    numbers: f64,
    /// The numbers of a patch.
    patch: f64,
}

impl Ends {
    /// Counts the numbers of a share of a step.
    fn of(recipe: &Recipe, load: &Load, width: f64, vocab: usize, at_once: f64) -> Self {
        let patch = (recipe.image.patch * recipe.image.patch * mm_patch::RGB_CHANNELS) as f64;
        let [tokens, patches] = [load.padded_tokens, load.patches].map(|count| count * at_once);
        let [words, drawn] = [load.target_tokens, load.target_patches].map(|count| count * at_once);
        // Before the blocks: words, patches, both together, each token's own, the final norm. After
        // them: the two heads and their losses.
        let before = width * (4.0 * tokens + 4.0 * patches) + patches * patch;
        let behind = words * (width + 4.0 * vocab as f64) + drawn * (width + 5.0 * patch);
        Self { numbers: before + behind, patch }
    }
}

impl Bytes {
    /// Returns the sum of all.
    pub fn total(&self) -> f64 {
        self.asked_for() + self.freed + self.process
    }

    /// Returns what a step of the recipe asks for on each of several devices.
    pub(super) fn of_step(recipe: &Recipe, step: StepSizes<'_>) -> Self {
        let StepSizes { backbone, load, memory, parameters: numbers, vocab, share } = step;
        let (width, depth) = (backbone.width as f64, backbone.depth as f64);
        let arrays = backbone.work_arrays();
        let kept = (blocks_kept(recipe, backbone) * arrays.kept_numbers()) as f64;
        let backward = arrays.backward.iter().sum::<usize>() as f64;
        let at_once = share / turns(recipe);
        let tokens = load.padded_tokens * at_once;
        let Ends { numbers: ends, patch } = Ends::of(recipe, load, width, vocab, at_once);
        let sum = if recipe.run.grad_accum_steps > 1 { 1.0 } else { 0.0 };
        let parts = recipe.run.micro_batches as f64 + sum;
        let remembered = match recipe.optimizer.kind {
            OptimizerKind::Adamw | OptimizerKind::Lamb => 2.0 * numbers.trained,
            OptimizerKind::Muon => 2.0 * numbers.trained - numbers.matrices,
        };
        let averages = (1 + recipe.optimizer.emas.len()) as f64;
        Self {
            weights: 4.0 * (numbers.held() + numbers.trained + parts * numbers.adapted),
            gradients: 4.0 * parts * (numbers.gradients + numbers.adapted),
            optimizer: 4.0 * remembered,
            averages: 4.0 * averages * numbers.held(),
            activations: 4.0 * (tokens * (kept + depth * width) + ends),
            work: 4.0 * tokens * arrays.backward_numbers() as f64,
            spare: 4.0 * (memory.numbers() as f64 - tokens * (kept + backward)).max(0.0),
            batches: 4.0 * COPIES * share * load.patches * 3.0 * patch,
            freed: 0.0,
            process: 0.0,
        }
    }

    /// Replaces what the fused kernels of the CPU take by what recorded operations take on a device
    /// with memory of its own.
    pub(super) fn on_graphics(self, recipe: &Recipe, step: StepSizes<'_>) -> Self {
        let StepSizes { backbone, load, parameters, vocab, share, .. } = step;
        let precision = recipe.run.precision.fixed();
        let block = BlockBytes::of(backbone, precision);
        let at_once = share / turns(recipe);
        let tokens = load.padded_tokens * at_once;
        let inputs = if recipe.run.activation_checkpointing { backbone.depth } else { 0 };
        let inputs = (4 * inputs * backbone.width) as f64;
        let kept = tokens * (blocks_kept(recipe, backbone) as f64 * block.kept + inputs);
        let rounded = if precision == Precision::F32 { 0.0 } else { 2.0 * parameters.held() };
        let ends = Ends::of(recipe, load, backbone.width as f64, vocab, at_once);
        let pairs = load.pairs * at_once;
        let own = Self {
            weights: self.weights + rounded * recipe.run.micro_batches as f64,
            activations: kept + 4.0 * ends.numbers,
            work: tokens * block.backward + block.scores(pairs),
            spare: 0.0,
            batches: 4.0 * share * load.patches * 3.0 * ends.patch,
            ..self
        };
        Self { freed: POOLED * own.asked_for(), process: 0.0, ..own }
    }

    /// Returns what the step asks for.
    fn asked_for(&self) -> f64 {
        self.weights
            + self.gradients
            + self.optimizer
            + self.averages
            + self.activations
            + self.work
            + self.spare
            + self.batches
    }

    /// Adds what a process with a thread for each micro-batch takes.
    pub(super) fn in_a_process(self, micro_batches: usize) -> Self {
        Self {
            freed: (FREED * self.asked_for()).min(MOST_FREED),
            process: PROCESS + THREAD * micro_batches as f64,
            ..self
        }
    }
}
