//! What a recipe costs before it is run: parameters, memory, arithmetic.
//!
//! The load of a step is taken from a few real batches, or follows from the recipe where all
//! documents are images of one size; everything else is a formula. Memory is that of a device with
//! recorded operations and attention in tiles, or that of a process that trains with the fused
//! kernels of the CPU, which keep what
//! [`BackboneConfig::work_arrays`](mm_backbone::BackboneConfig::work_arrays) counts, in the buffers
//! of [`WorkMemory`](mm_kernels::WorkMemory). What no formula gives are constants, measured on
//! Linux with transparent huge pages.

mod bytes;
mod codec;
mod graphics;
mod load;
pub mod memory;
mod numbers;
mod rate;

use burn::prelude::Device;
use mm_backbone::BackboneConfig;
use mm_data::DataSet;
use mm_model::{Document, HostBatch, NetworkConfig, Segment};
use mm_patch::Image;
use mm_text::Tokenizer;
use serde::Serialize;

pub use self::bytes::Bytes;
use self::bytes::StepSizes;
pub use self::codec::CodecPlan;
pub use self::load::Load;
pub use self::rate::{MeasuredRate, Product};

use self::load::Seen;
use self::numbers::Numbers;
use crate::TrainError;
use crate::batch::{Batches, collator, micro_batches};
use crate::corpus::tokenizer;
use crate::recipe::Recipe;

/// The number of batches that the load is taken from.
const SEEN: usize = 8;
/// The most of a step that the load is taken from; a larger batch is so many times as much.
const MANY: Sample = Sample { documents: 256, pixels: 1 << 23 };
/// The most of a step where there is no time for more.
const FEW: Sample = Sample { documents: 32, pixels: 1 << 22 };

/// The most that a load is taken from.
#[derive(Clone, Copy)]
struct Sample {
    documents: usize,
    /// The pixels of all images.
    pixels: usize,
}

/// The costs of a recipe.
///
/// ```
/// use mm_train::{Recipe, plan};
///
/// let recipe = Recipe::from_toml(include_str!("../../mm-cli/recipes/su2024-mini.toml")).unwrap();
/// let plan = plan(&recipe, 1).unwrap();
/// assert!(plan.trained == plan.parameters && plan.bytes.total() > 4.0 * plan.parameters as f64);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Plan {
    /// The number of parameters of the model.
    pub parameters: usize,
    /// The number of parameters, of the model or of adapters, that are trained: neither frozen nor
    /// under adapters.
    pub trained: usize,
    /// The load of a step on all devices together.
    pub load: Load,
    /// The floating point operations of the matrix products of a step, on all devices together.
    pub flops: f64,
    /// The memory of each device.
    pub bytes: Bytes,
    /// The bytes of activations for one token of a batch.
    pub bytes_per_token: f64,
    /// The bytes that each device sends in a step to add gradients in a ring.
    pub sent: f64,
}

/// The costs of a recipe on any number of devices.
#[derive(Debug, Clone)]
pub struct Costs {
    recipe: Recipe,
    backbone: BackboneConfig,
    /// The number of token ids.
    vocab: usize,
    numbers: Numbers,
    seen: Seen,
    /// Whether a process on the CPU computes, with fused kernels.
    fused: bool,
}

/// Refuses what cannot be planned.
pub fn can_plan(recipe: &Recipe) -> Result<(), TrainError> {
    recipe.validate()?;
    backbone(recipe).map(|_| ())
}

/// Returns the blocks that are planned.
fn backbone(recipe: &Recipe) -> Result<&BackboneConfig, TrainError> {
    match &recipe.model.network {
        NetworkConfig::Unified(network) => Ok(&network.backbone),
        NetworkConfig::Unet(_) => {
            let (field, wanted) = ("model.unet", "absent: only transformers have plans");
            Err(recipe.refused(field, wanted).into())
        }
        NetworkConfig::Coded(coded) => Ok(&coded.unified.backbone),
        NetworkConfig::Latent(latent) => Ok(&latent.unified.backbone),
        NetworkConfig::Codec(_) => {
            let (field, wanted) = ("model.codec", "absent: a codec has a plan of its own");
            Err(recipe.refused(field, wanted).into())
        }
        NetworkConfig::Vit(_) => {
            let (field, wanted) = ("model.vit", "absent: only the joined transformer has plans");
            Err(recipe.refused(field, wanted).into())
        }
    }
}

/// Plans a recipe for a number of devices that share each batch.
pub fn plan(recipe: &Recipe, devices: usize) -> Result<Plan, TrainError> {
    Ok(Costs::of(recipe)?.on(devices))
}

/// Counts the costs of a run that stands at `step` from a few documents of one step, so that it
/// takes no time.
pub(crate) fn quick_costs(
    recipe: &Recipe,
    data: &DataSet,
    tokenizer: &Tokenizer,
    step: u64,
) -> Result<Costs, TrainError> {
    let (few, times) = fewer(recipe, FEW);
    let mut batch = |_| Batches::new(&few, data, tokenizer).batch(step);
    let seen = Seen::of(recipe, 1, times, &mut batch)?;
    Costs::seen(recipe, tokenizer.vocab(), seen)
}

impl Costs {
    /// Looks at a few batches, if what a step computes does not follow from the recipe.
    pub fn of(recipe: &Recipe) -> Result<Self, TrainError> {
        let recipe = &recipe.clone().with_sizes_of_codec()?;
        can_plan(recipe)?;
        let (few, times) = fewer(recipe, MANY);
        if recipe.vocab == 0 && recipe.data.has_one_size() {
            // Every document is an image of this size, so no file is needed to count.
            let tokenizer = mm_model::image_only::tokenizer();
            let mut batch = |step| blank(&few, &tokenizer, step);
            let seen = Seen::of(recipe, 1, times, &mut batch)?;
            return Self::seen(recipe, tokenizer.vocab(), seen);
        }
        let data = DataSet::open(&recipe.data, recipe.image)?;
        let tokenizer = tokenizer(recipe, &data)?;
        let mut batches = Batches::new(&few, &data, &tokenizer);
        let seen = Seen::of(recipe, SEEN, times, &mut |step| batches.batch(step))?;
        Self::seen(recipe, tokenizer.vocab(), seen)
    }

    fn seen(recipe: &Recipe, vocab: usize, seen: Seen) -> Result<Self, TrainError> {
        let config = recipe.model_config(vocab);
        let numbers = Numbers::of(recipe, &config)?;
        let backbone = backbone(recipe)?.clone();
        let (recipe, vocab) = (recipe.clone(), config.vocab);
        Ok(Self { recipe, backbone, vocab, numbers, seen, fused: true })
    }

    /// Returns the costs where memory is that of this device: of the process on the CPU, and on
    /// another the device's own, where nothing of the host is counted.
    #[must_use]
    pub fn for_device(self, device: &Device) -> Self {
        Self { fused: mm_kernels::has_fused_blocks(device), ..self }
    }

    /// Returns the channels of a token.
    pub fn width(&self) -> usize {
        self.backbone.width
    }

    /// Returns the costs on a number of devices that share each batch.
    pub fn on(&self, devices: usize) -> Plan {
        let (recipe, numbers, load) = (&self.recipe, &self.numbers, &self.seen.load);
        let share = 1.0 / devices as f64;
        let (backbone, vocab) = (&self.backbone, self.vocab);
        let memory = &self.seen.work_memory(recipe, backbone, devices);
        let step = StepSizes { backbone, load, memory, parameters: numbers, vocab, share };
        let bytes = Bytes::of_step(recipe, step);
        let bytes = if self.fused {
            bytes.in_a_process(recipe.run.micro_batches)
        } else {
            bytes.on_graphics(recipe, step)
        };
        Plan {
            parameters: numbers.model as usize,
            trained: numbers.trained as usize,
            load: *load,
            flops: flops(recipe, backbone, load, vocab),
            bytes,
            bytes_per_token: bytes.activations / (load.padded_tokens * share / turns(recipe)),
            // Every parameter is part of what is added, trained or not.
            sent: 2.0 * (1.0 - share) * 4.0 * numbers.held(),
        }
    }

    /// Returns the fewest devices with so many bytes each that hold a step, with at least one
    /// document on each. Nothing if what every device holds, however small its share, is more.
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

/// Returns the recipe with a batch of no more than `most`, and how many times as large its own is.
fn fewer(recipe: &Recipe, most: Sample) -> (Recipe, f64) {
    let Sample { documents, pixels } = most;
    let one = (recipe.image.width * recipe.image.height).max(1);
    let mut few = recipe.clone();
    let turn = recipe.run.micro_batches.min(recipe.run.batch); // all of one is looked at
    few.run.batch = recipe.run.batch.min(documents).min(pixels / one).max(turn).max(1);
    let times = recipe.run.batch as f64 / few.run.batch as f64;
    (few, times)
}

/// Makes the batch of a step of only white images.
fn blank(recipe: &Recipe, tokenizer: &Tokenizer, step: u64) -> Result<Vec<HostBatch>, TrainError> {
    let image = Image::filled(recipe.image.width, recipe.image.height, [255; 3]);
    let document = Document { segments: vec![Segment::target_image(image)] };
    let documents = (0..recipe.run.batch as u64).map(|index| (document.clone(), index)).collect();
    let config = recipe.model_config(tokenizer.vocab());
    micro_batches(&recipe.run, &collator(recipe, &config, tokenizer, None), documents, step)
}

/// Returns the number of blocks whose kept arrays are in memory at once.
fn blocks_kept(recipe: &Recipe, backbone: &BackboneConfig) -> usize {
    if recipe.run.activation_checkpointing { 1 } else { backbone.depth }
}

fn turns(recipe: &Recipe) -> f64 {
    recipe.run.grad_accum_steps as f64
}

/// Counts three forward passes, and four of the blocks if they are computed again.
fn flops(recipe: &Recipe, backbone: &BackboneConfig, load: &Load, vocab: usize) -> f64 {
    let passes = if recipe.run.activation_checkpointing { 4.0 } else { 3.0 };
    let numbers = (recipe.image.patch * recipe.image.patch * mm_patch::RGB_CHANNELS) as f64;
    let patches = (load.patches + load.target_patches) * numbers;
    let ends = backbone.width as f64 * (patches + load.target_tokens * vocab as f64);
    passes * backbone.flops_of(load.padded_tokens, load.pairs) + 3.0 * 2.0 * ends
}
