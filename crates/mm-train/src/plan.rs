//! What a recipe costs before it is run: numbers, memory, arithmetic, time.
//!
//! The load of a step is taken from a few real batches, or follows from the recipe where all documents are pictures of one size;
//! everything else is a formula. Memory is that of a process that trains with the fused kernels of the CPU, which keep what
//! [`BackboneConfig::work_arrays`](mm_backbone::BackboneConfig::work_arrays) counts, in the buffers of
//! [`WorkMemory`](mm_kernels::WorkMemory). What no formula gives are constants, measured on Linux with transparent huge pages.

mod bytes;
mod load;
mod numbers;

use mm_model::{Document, HostBatch, Segment};
use mm_patch::Image;
use mm_text::Tokenizer;
use serde::Serialize;

pub use self::bytes::Bytes;
pub use self::load::Load;

use self::load::Seen;
use self::numbers::Numbers;
use crate::TrainError;
use crate::batch::{Batches, micro_batches};
use crate::recipe::Recipe;
use crate::step::corpus;
use mm_data::DataSet;

/// Batches that the load is taken from.
const SEEN: usize = 8;
/// Documents of a step, and pixels of their pictures, that the load is told from; a larger batch is so many times as much.
const MANY: [usize; 2] = [256, 1 << 23];
/// The same where there is no time for more.
const FEW: [usize; 2] = [32, 1 << 22];

/// The costs of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Plan {
    /// Numbers of the model.
    pub parameters: usize,
    /// Of these, or of the adapters, those that are trained: neither frozen nor under adapters.
    pub trained: usize,
    /// What a step computes on all devices together.
    pub load: Load,
    /// Arithmetic of the matrix products of a step, on all devices together.
    pub flops: f64,
    /// Memory of each device.
    pub bytes: Bytes,
    /// Bytes of activations for one place of a batch.
    pub bytes_per_token: f64,
    /// Bytes that each device sends in a step to add up gradients in a ring.
    pub sent: f64,
}

/// What a recipe costs on any number of devices.
#[derive(Debug, Clone)]
pub struct Costs {
    recipe: Recipe,
    /// Token ids.
    vocab: usize,
    numbers: Numbers,
    seen: Seen,
}

/// Refuses what cannot be planned.
pub fn can_plan(recipe: &Recipe) -> Result<(), TrainError> {
    recipe.validate()?;
    if recipe.model.unet.is_some() {
        let (field, wanted) = ("model.unet", "absent: plans are of transformers alone");
        return Err(recipe.refused(field, wanted).into());
    }
    Ok(())
}

/// Plans a recipe for a number of devices that share each batch.
pub fn plan(recipe: &Recipe, devices: usize) -> Result<Plan, TrainError> {
    Ok(Costs::of(recipe)?.on(devices))
}

/// The same of a run that stands at `step`, from a few documents of one step, so that it takes no time.
pub(crate) fn quick_plan(
    recipe: &Recipe,
    (data, tokenizer): (&DataSet, &Tokenizer),
    devices: usize,
    step: u64,
) -> Result<Plan, TrainError> {
    let (few, times) = fewer(recipe, FEW);
    let mut batch = |_| Batches::new(&few, data, tokenizer).batch(step);
    let seen = Seen::of(recipe, (1, times), &mut batch)?;
    Ok(Costs::seen(recipe, tokenizer.vocab(), seen)?.on(devices))
}

impl Costs {
    /// Looks at a few batches, if what a step computes does not follow from the recipe.
    pub fn of(recipe: &Recipe) -> Result<Self, TrainError> {
        can_plan(recipe)?;
        let (few, times) = fewer(recipe, MANY);
        if recipe.vocab == 0 && recipe.data.has_one_size() {
            // Every document is a picture of this size: no file is needed to count.
            let tokenizer = mm_model::image_only::tokenizer();
            let mut batch = |step| blank(&few, &tokenizer, step);
            let seen = Seen::of(recipe, (1, times), &mut batch)?;
            return Self::seen(recipe, tokenizer.vocab(), seen);
        }
        let data = DataSet::open(&recipe.data, recipe.image)?;
        let tokenizer = match recipe.vocab {
            0 => mm_model::image_only::tokenizer(),
            vocab => Tokenizer::train(corpus(recipe, &data).into_iter(), vocab)?,
        };
        let mut batches = Batches::new(&few, &data, &tokenizer);
        let seen = Seen::of(recipe, (SEEN, times), &mut |step| batches.batch(step))?;
        Self::seen(recipe, tokenizer.vocab(), seen)
    }

    fn seen(recipe: &Recipe, vocab: usize, seen: Seen) -> Result<Self, TrainError> {
        let config = recipe.model_config(vocab);
        let numbers = Numbers::of(recipe, &config)?;
        Ok(Self { recipe: recipe.clone(), vocab: config.vocab, numbers, seen })
    }

    /// On a number of devices that share each batch.
    pub fn on(&self, devices: usize) -> Plan {
        let (recipe, numbers, load) = (&self.recipe, &self.numbers, &self.seen.load);
        let share = 1.0 / devices as f64;
        let memory = self.seen.work_memory(recipe, devices);
        let bytes = Bytes::of_step(recipe, (load, &memory), (numbers, self.vocab), share);
        let bytes = bytes.in_a_process(recipe.run.shards);
        Plan {
            parameters: numbers.model as usize,
            trained: numbers.trained as usize,
            load: *load,
            flops: flops(recipe, load, self.vocab),
            bytes,
            bytes_per_token: bytes.activations / (load.places * share / turns(recipe)),
            // Every parameter has its place in what is added up, trained or not.
            sent: 2.0 * (1.0 - share) * 4.0 * numbers.held(),
        }
    }

    /// The fewest devices with so many bytes each that hold a step, one document of it or more on each. Nothing if what stands on
    /// every device, however small its share, is more.
    pub fn devices_of(&self, bytes: f64) -> Option<usize> {
        let holds = |devices: usize| self.on(devices).bytes.total() <= bytes;
        let (mut too_few, mut enough) = (0, self.recipe.run.batch);
        if !holds(enough) {
            return None;
        }
        while enough - too_few > 1 {
            let middle = too_few + (enough - too_few) / 2;
            if holds(middle) { enough = middle } else { too_few = middle }
        }
        Some(enough)
    }
}

/// The recipe with a batch of no more than so many documents and pixels, and how many times as large its own is.
fn fewer(recipe: &Recipe, [documents, pixels]: [usize; 2]) -> (Recipe, f64) {
    let one = (recipe.image.width * recipe.image.height).max(1);
    let mut few = recipe.clone();
    let turn = recipe.run.shards.min(recipe.run.batch); // all of one is looked at
    few.run.batch = recipe.run.batch.min(documents).min(pixels / one).max(turn).max(1);
    let times = recipe.run.batch as f64 / few.run.batch as f64;
    (few, times)
}

/// The batch of a step of white pictures alone.
fn blank(recipe: &Recipe, tokenizer: &Tokenizer, step: u64) -> Result<Vec<HostBatch>, TrainError> {
    let picture = Image::filled(recipe.image.width, recipe.image.height, [255; 3]);
    let document = Document { segments: vec![Segment::target_image(picture)] };
    let documents = (0..recipe.run.batch as u64).map(|place| (document.clone(), place)).collect();
    let config = recipe.model_config(tokenizer.vocab());
    micro_batches(recipe, &config, tokenizer, documents, step)
}

/// Blocks whose kept arrays are in memory at once.
fn blocks_kept(recipe: &Recipe) -> usize {
    if recipe.run.recompute { 1 } else { recipe.model.backbone.depth }
}

fn turns(recipe: &Recipe) -> f64 {
    recipe.run.accumulate as f64
}

/// Three forward passes, four of the blocks if they are computed again.
fn flops(recipe: &Recipe, load: &Load, vocab: usize) -> f64 {
    let backbone = &recipe.model.backbone;
    let passes = if recipe.run.recompute { 4.0 } else { 3.0 };
    let numbers = (recipe.image.patch * recipe.image.patch * mm_patch::RGB_CHANNELS) as f64;
    let patches = (load.patches + load.target_patches) * numbers;
    let ends = backbone.width as f64 * (patches + load.target_tokens * vocab as f64);
    passes * backbone.flops_of(load.places, load.pairs) + 3.0 * 2.0 * ends
}
