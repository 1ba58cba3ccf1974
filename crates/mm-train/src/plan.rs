//! What a recipe costs before it is run: numbers, memory, arithmetic, time.
//!
//! The load of a step is taken from a few real batches, or follows from the recipe where all documents are pictures of one size;
//! everything else is a formula. Memory is that of a process that trains with the fused kernels of the CPU, which keep what
//! [`BackboneConfig::kept_numbers`](mm_backbone::BackboneConfig::kept_numbers) counts, in the buffers of [`WorkMemory`]. What no
//! formula gives are constants, measured on Linux with transparent huge pages.

use mm_backbone::WorkMemory;
use mm_model::{Document, HostBatch, Segment};
use mm_patch::Image;
use mm_text::Tokenizer;
use serde::Serialize;

use crate::batch::{Batches, in_shards};
use crate::data::DataSet;
use crate::recipe::{OptimizerKind, Recipe};
use crate::step::corpus;
use crate::{RecipeError, TrainError};

/// Batches that the load is taken from.
const SEEN: usize = 8;
/// Documents of a step, and pixels of their pictures, that the load is told from; a larger batch is so many times as much.
const MANY: [usize; 2] = [256, 1 << 23];
/// The same where there is no time for more.
const FEW: [usize; 2] = [32, 1 << 22];
/// Numbers of the longest array whose buffers are counted: no machine has room for a longer one.
const LONGEST: usize = 1 << 36;
/// Host copies of a batch: three ahead, one in the sender's hand, one in use.
const COPIES: f64 = 5.0;
/// Bytes of the process itself, measured: code as it is used, lists of data set and tokenizer, the threads of every run.
const PROCESS: f64 = 32e6;
/// Bytes of a shard's thread, measured: packed factors of products, and pages that its small allocations begin.
const THREAD: f64 = 16e6;
/// What the allocator holds of freed pieces that no other fits, as a share of all that is asked for; measured.
const FREED: f64 = 1.0 / 3.0;
/// The most of it, measured: the allocator begins a few pages for each of its sizes, however large the model.
const MOST_FREED: f64 = 50e6;

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
    pub learnt_tokens: f64,
    /// Patches that are learnt.
    pub learnt_patches: f64,
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
            learnt_tokens: self.learnt_tokens * factor,
            learnt_patches: self.learnt_patches * factor,
        }
    }
}

/// Bytes of one device at the highest point of a step, beyond what the program holds before it opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bytes {
    /// The weights, and the new ones while they are written.
    pub weights: f64,
    /// Gradients of every part of a batch that is computed at once.
    pub gradients: f64,
    /// What the optimizer remembers.
    pub optimizer: f64,
    /// Moving averages.
    pub averages: f64,
    /// What forward keeps for backward: blocks, and what stands before and behind them.
    pub activations: f64,
    /// What the backward pass of one block takes.
    pub work: f64,
    /// Work memory beyond that of the mean step: buffers rounded up, and those that batches of other lengths left.
    pub spare: f64,
    /// Batches waiting on the host.
    pub batches: f64,
    /// What the allocator holds of freed pieces.
    pub freed: f64,
    /// The process itself and the threads of its shards.
    pub process: f64,
}

impl Bytes {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.asked_for() + self.freed + self.process
    }

    /// What the step asks for.
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

    /// The same with what a process of `shards` threads adds.
    fn in_a_process(self, shards: usize) -> Self {
        Self {
            freed: (FREED * self.asked_for()).min(MOST_FREED),
            process: PROCESS + THREAD * shards as f64,
            ..self
        }
    }
}

/// The costs of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Plan {
    /// Numbers of the model.
    pub parameters: usize,
    /// Of these, or of the adapters, the trained ones; freezing by name is not counted.
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
    can_plan(recipe)?;
    let (few, times) = fewer(recipe, MANY);
    if recipe.vocab == 0 && recipe.data.has_one_size() {
        // Every document is a picture of this size: no file is needed to count.
        let tokenizer = mm_model::alone::tokenizer();
        let load = load(recipe, [1, devices], times, &mut |step| blank(&few, &tokenizer, step))?;
        return with_load(recipe, devices, load, tokenizer.vocab());
    }
    let data = DataSet::open(&recipe.data, recipe.image)?;
    let tokenizer = match recipe.vocab {
        0 => mm_model::alone::tokenizer(),
        vocab => Tokenizer::train(corpus(recipe, &data).into_iter(), vocab)?,
    };
    let mut batches = Batches::new(&few, &data, &tokenizer);
    let load = load(recipe, [SEEN, devices], times, &mut |step| batches.batch(step))?;
    with_load(recipe, devices, load, tokenizer.vocab())
}

/// The same of a run that stands at `step`, from a few documents of one step, so that it takes no time.
pub(crate) fn quick_plan(
    recipe: &Recipe,
    (data, tokenizer): (&DataSet, &Tokenizer),
    devices: usize,
    step: u64,
) -> Result<Plan, TrainError> {
    let (few, times) = fewer(recipe, FEW);
    let mut few = |_| Batches::new(&few, data, tokenizer).batch(step);
    let load = load(recipe, [1, devices], times, &mut few)?;
    with_load(recipe, devices, load, tokenizer.vocab())
}

/// The recipe with a batch of no more than so many documents and pixels, and how many times as large its own is.
fn fewer(recipe: &Recipe, [documents, pixels]: [usize; 2]) -> (Recipe, f64) {
    let one = (recipe.image.width * recipe.image.height).max(1);
    let mut few = recipe.clone();
    few.run.batch = recipe.run.batch.min(documents).min(pixels / one).max(1);
    let times = recipe.run.batch as f64 / few.run.batch as f64;
    (few, times)
}

fn with_load(
    recipe: &Recipe,
    devices: usize,
    (load, memory): (Load, WorkMemory),
    vocab: usize,
) -> Result<Plan, TrainError> {
    let config = recipe.model_config(vocab);
    config.validate().map_err(RecipeError::from)?;
    let share = 1.0 / devices as f64;
    let parameters = config.parameters();
    let trained = match recipe.optimizer.lora.rank {
        0 => parameters,
        rank => adapters(recipe, rank),
    };
    let sizes = [parameters, trained, config.vocab];
    let bytes = bytes(recipe, (&load, &memory), sizes, share).in_a_process(recipe.run.shards);
    let sent = 2.0 * (1.0 - share) * 4.0 * trained as f64;
    Ok(Plan {
        parameters,
        trained,
        load,
        flops: flops(recipe, &load, config.vocab),
        bytes,
        bytes_per_token: bytes.activations / (load.places * share / turns(recipe)),
        sent,
    })
}

/// The batch of a step of white pictures alone.
fn blank(recipe: &Recipe, tokenizer: &Tokenizer, step: u64) -> Result<Vec<HostBatch>, TrainError> {
    let picture = Image::filled(recipe.image.width, recipe.image.height, [255; 3]);
    let document = Document { segments: vec![Segment::learnt_image(picture)] };
    let documents = (0..recipe.run.batch as u64).map(|place| (document.clone(), place)).collect();
    in_shards(recipe, tokenizer, documents, step)
}

/// The mean load of the first steps, with batches so many times as large as those given, and the work memory that each device
/// holds after them.
fn load(
    recipe: &Recipe,
    [steps, devices]: [usize; 2],
    times: f64,
    batch: &mut dyn FnMut(u64) -> Result<Vec<HostBatch>, TrainError>,
) -> Result<(Load, WorkMemory), TrainError> {
    let (mut load, mut memory) = (Load::default(), WorkMemory::default());
    let backbone = &recipe.model.backbone;
    let arrays = [backbone.kept_arrays(), backbone.backward_arrays()].concat();
    let most = LONGEST / arrays.into_iter().max().unwrap_or(1);
    for step in 0..steps as u64 {
        let parts = batch(step)?;
        for turn in parts.chunks(recipe.run.shards) {
            let own =
                |part: &HostBatch| (part.places() as f64 * times / devices as f64).ceil() as usize;
            let tokens: Vec<usize> = turn.iter().map(|part| own(part).min(most)).collect();
            memory.train(backbone, blocks_kept(recipe), &tokens);
        }
        for part in parts {
            let share = |count: usize| count as f64 / steps as f64;
            let [learnt_tokens, learnt_patches] = HostBatch::learnt(&part);
            load.places += share(part.places());
            load.tokens += share(part.real_tokens());
            load.pairs += share(part.pairs());
            load.patches += share(part.patches());
            load.images += share(part.images());
            load.learnt_tokens += share(learnt_tokens);
            load.learnt_patches += share(learnt_patches);
        }
    }
    Ok((load.times(times), memory))
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
    let numbers = (recipe.image.patch * recipe.image.patch * 3) as f64;
    let patches = (load.patches + load.learnt_patches) * numbers;
    let ends = backbone.width as f64 * (patches + load.learnt_tokens * vocab as f64);
    passes * backbone.flops_of(load.places, load.pairs) + 3.0 * 2.0 * ends
}

/// What a step asks for.
fn bytes(
    recipe: &Recipe,
    (load, memory): (&Load, &WorkMemory),
    [parameters, trained, vocab]: [usize; 3],
    share: f64,
) -> Bytes {
    let backbone = &recipe.model.backbone;
    let (width, depth) = (backbone.width as f64, backbone.depth as f64);
    let (parameters, trained) = (parameters as f64, trained as f64);
    let numbers = (recipe.image.patch * recipe.image.patch * 3) as f64;
    let kept = (blocks_kept(recipe) * backbone.kept_numbers()) as f64;
    let backward = backbone.backward_arrays().iter().sum::<usize>() as f64;
    let at_once = share / turns(recipe);
    let [places, patches] = [load.places, load.patches].map(|count| count * at_once);
    let [words, drawn] = [load.learnt_tokens, load.learnt_patches].map(|count| count * at_once);
    // Words, patches, both together, each place's own, the closing norm; then the two heads and their losses.
    let before = width * (4.0 * places + 4.0 * patches) + patches * numbers;
    let behind = words * (width + 4.0 * vocab as f64) + drawn * (width + 5.0 * numbers);
    let parts = recipe.run.shards as f64 + if recipe.run.accumulate > 1 { 1.0 } else { 0.0 };
    let matrices = depth * backbone.matrices() as f64;
    let remembered = match recipe.optimizer.kind {
        OptimizerKind::Adamw | OptimizerKind::Lamb => 2.0 * trained,
        OptimizerKind::Muon => 2.0 * trained - matrices.min(trained),
    };
    let adapted = if recipe.optimizer.lora.rank > 0 { matrices } else { 0.0 };
    let averages = (1 + recipe.optimizer.emas.len()) as f64;
    Bytes {
        weights: 4.0 * (parameters + trained + parts * adapted),
        gradients: 4.0 * parts * (trained + adapted),
        optimizer: 4.0 * remembered,
        averages: 4.0 * averages * parameters,
        activations: 4.0 * (places * (kept + depth * width) + before + behind),
        work: 4.0 * places * backbone.backward_numbers() as f64,
        spare: 4.0 * (memory.numbers() as f64 - places * (kept + backward)).max(0.0),
        batches: 4.0 * COPIES * share * load.patches * 3.0 * numbers,
        freed: 0.0,
        process: 0.0,
    }
}

/// Numbers of the adapters of all blocks' matrices.
fn adapters(recipe: &Recipe, rank: usize) -> usize {
    use mm_backbone::BlockConfig;
    let (width, depth) = (recipe.model.backbone.width, recipe.model.backbone.depth);
    let sides = match recipe.model.backbone.block {
        BlockConfig::Gau { expansion, key_size, .. } => {
            vec![[width, 2 * expansion * width + key_size], [expansion * width, width]]
        }
        BlockConfig::Transformer { heads, key_heads, feed_forward }
        | BlockConfig::Uvit { heads, key_heads, feed_forward }
        | BlockConfig::Dit { heads, key_heads, feed_forward } => vec![
            [width, (heads + 2 * key_heads) * (width / heads)],
            [width, width],
            [width, 2 * feed_forward],
            [feed_forward, width],
        ],
    };
    let modulation = recipe.model.backbone.block.is_conditioned().then_some([width, 6 * width]);
    depth * rank * sides.into_iter().chain(modulation).flatten().sum::<usize>()
}
