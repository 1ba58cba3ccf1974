//! The networks that are measured: a backbone with a linear map from patches and one to patches.

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use mm_backbone::{
    AttentionContext, Backbone, BackboneConfig, BlockConfig, BlockOptions, Cache, GauConfig, Init,
    KeyRanges, Linear, PositionScheme, Positions, Precision,
};
use mm_train::AdamWOptimizer;

use crate::terminal::Failure;

/// Sizes of a network and of its batch.
#[derive(Debug, Clone)]
pub struct Sizes {
    width: usize,
    depth: usize,
    rows: usize,
    /// The tokens before the image of a document, its patches, and the tokens after it.
    document: [usize; 3],
    /// The documents of a row.
    documents: usize,
    /// The tokens of text after the documents.
    rest: usize,
}

/// The values of a patch.
const PATCH: usize = 48;
/// The channels of queries and keys.
const KEY_SIZE: usize = 128;
/// The images that are sampled at a time.
const IMAGES: usize = 16;
/// The tokens of the prompt.
const PROMPT: usize = 24;
/// The denoising steps.
const STEPS: usize = 10;

impl Sizes {
    /// 32 images of 64 patches, like recipe `su2024-64` but narrower.
    pub const GAU_256: Self =
        Self { width: 256, depth: 8, rows: 32, document: [0, 64, 0], documents: 1, rest: 0 };
    /// 4 images of 256 patches, as wide as recipe `su2024-64`.
    pub const GAU_768: Self =
        Self { width: 768, depth: 2, rows: 4, document: [0, 256, 0], documents: 1, rest: 0 };
    /// 4 rows of 512 tokens: five documents with an image of 64 patches, then 32 tokens of text.
    pub const PACKED: Self =
        Self { width: 384, depth: 6, rows: 4, document: [16, 64, 16], documents: 5, rest: 32 };

    fn tokens_per_row(&self) -> usize {
        self.documents * self.document.iter().sum::<usize>() + self.rest
    }

    fn config(&self) -> BackboneConfig {
        BackboneConfig {
            width: self.width,
            depth: self.depth,
            block: BlockConfig::Gau(GauConfig { expansion: 2, key_size: KEY_SIZE, bias: false }),
            positions: PositionScheme::RopeTv,
            rotary_base: 10_000.0,
            norm_epsilon: 1e-6,
        }
    }

    /// Returns the positions and the key ranges of the tokens of one row.
    fn row(&self) -> (Vec<[f64; 2]>, Vec<[u32; 2]>) {
        let (mut places, mut ranges) = (vec![], vec![]);
        for [before, patches, after] in
            vec![self.document; self.documents].into_iter().chain([[self.rest, 0, 0]])
        {
            let start = places.len() as u32;
            let mut positions = Positions::new(PositionScheme::RopeTv);
            places.extend((0..before).map(|_| positions.text()));
            places.extend(positions.image(patches.isqrt(), patches.isqrt()));
            places.extend((0..after).map(|_| positions.text()));
            let image = start as usize + before..start as usize + before + patches;
            let end_seen = |at: usize| if image.contains(&at) { image.end } else { at + 1 };
            ranges.extend((start as usize..places.len()).map(|at| [start, end_seen(at) as u32]));
        }
        (places, ranges)
    }
}

#[derive(Module, Debug)]
struct Weights {
    patch_in: Linear,
    backbone: Backbone,
    patch_out: Linear,
}

impl Weights {
    /// Maps `[rows, tokens, PATCH]` to the same shape.
    fn forward(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        options: BlockOptions,
    ) -> Tensor<3> {
        let x = self.patch_in.forward(x);
        self.patch_out.forward(self.backbone.forward(x, context, None, options))
    }
}

/// A network, its optimizer and one batch.
pub struct Network {
    sizes: Sizes,
    device: Device,
    weights: Option<Weights>,
    optimizer: ModuleOptimizer,
    context: AttentionContext,
    /// How blocks compute.
    options: BlockOptions,
    /// The pairs of a query and a key that it may attend to, over the batch.
    pairs: usize,
    /// The input, `[rows, tokens, PATCH]`.
    x: Tensor<3>,
    /// The target, `[rows, tokens, PATCH]`.
    target: Tensor<3>,
}

impl Network {
    /// Makes fresh weights and random inputs of these sizes.
    pub fn new(sizes: &Sizes, precision: Precision, device: &Device) -> Result<Self, Failure> {
        let config = sizes.config();
        let init = &mut Init::new(0, &device.clone().autodiff());
        let weights = Weights {
            patch_in: Linear::new(init, PATCH, sizes.width, false),
            backbone: Backbone::new(&config, init)?,
            patch_out: Linear::new(init, sizes.width, PATCH, false),
        };
        let (places, ranges) = sizes.row();
        let tokens = sizes.tokens_per_row();
        let pairs = sizes.rows * ranges.iter().map(|[a, b]| (b - a) as usize).sum::<usize>();
        let ranges = KeyRanges::new(sizes.rows, tokens, ranges.repeat(sizes.rows))?;
        let context = config.attention_context(&places.repeat(sizes.rows), ranges, device);
        let mut plain = Init::new(1, device);
        let mut random = || plain.normal([sizes.rows, tokens, PATCH], 1.0).val();
        let (x, target) = (random(), random());
        let optimizer = AdamWOptimizer { betas: [0.9, 0.999], weight_decay: 0.0 }.into();
        let (sizes, device, weights) = (sizes.clone(), device.clone(), Some(weights));
        let options = BlockOptions { precision, ..BlockOptions::default() };
        Ok(Self { sizes, device, weights, optimizer, context, options, pairs, x, target })
    }

    /// Runs a forward and a backward pass, and updates every weight.
    pub fn train(&mut self) {
        let weights = self.weights.take().expect("put back by the step before");
        let error =
            weights.forward(self.x.clone(), &self.context, self.options) - self.target.clone();
        let loss = error.square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &weights);
        let _ = loss.into_scalar::<f32>();
        self.weights = Some(self.optimizer.step(1e-4, weights, grads));
    }

    /// Draws images after a prompt, in Euler steps with guidance: two rows for each image, one of
    /// them with another prompt.
    pub fn sample(&mut self) {
        let weights = self.weights.as_ref().expect("put back by the step before").valid();
        let config = self.sizes.config();
        let rows = 2 * IMAGES;
        let mut positions = Positions::new(PositionScheme::RopeTv);
        let prompt: Vec<[f64; 2]> = (0..PROMPT).map(|_| positions.text()).collect();
        let side = self.sizes.document[1].isqrt();
        let image = positions.image(side, side);
        let context = |places: &[[f64; 2]], ranges: Vec<[u32; 2]>| {
            let keys = ranges.iter().map(|range| range[1]).max().unwrap_or(0) as usize;
            let ranges = KeyRanges::new(rows, keys, ranges.repeat(rows)).expect("well formed");
            config.attention_context(&places.repeat(rows), ranges, &self.device)
        };
        let causal = (0..PROMPT as u32).map(|at| [0, at + 1]).collect();
        let whole = vec![[0, (PROMPT + image.len()) as u32]; image.len()];
        let (before, inside) = (context(&prompt, causal), context(&image, whole));
        let options = self.options;
        let words = self.x.clone().slice([0..rows, 0..PROMPT, 0..PATCH]);
        let mut cache = Cache::new();
        let words = weights.patch_in.forward(words);
        let (_, new) = weights.backbone.forward_cached(words, &before, None, options, &cache);
        cache.append(new);
        let mut noisy = self.target.clone().slice([0..IMAGES, 0..image.len(), 0..PATCH]);
        for step in 0..STEPS {
            let both = Tensor::cat(vec![noisy.clone(), noisy.clone()], 0);
            let both = weights.patch_in.forward(both);
            let hidden = weights.backbone.forward_with_prefix(both, &inside, None, options, &cache);
            let clean = weights.patch_out.forward(hidden);
            let (with, without) =
                (clean.clone().narrow(0, 0, IMAGES), clean.narrow(0, IMAGES, IMAGES));
            let clean = without.clone() + (with - without) * 3.0;
            noisy = noisy.clone() + (clean - noisy) / (STEPS - step) as f64;
        }
        let _ = noisy.slice([0..1, 0..1, 0..1]).into_scalar::<f32>();
    }

    /// Counts the tokens of a training batch.
    pub fn tokens(&self) -> usize {
        self.sizes.rows * self.sizes.tokens_per_row()
    }

    /// Counts the tokens that sampling passes through the network.
    pub fn sampled_tokens(&self) -> f64 {
        (2 * IMAGES * (PROMPT + STEPS * self.sizes.document[1])) as f64
    }

    /// Counts the arithmetic of the matrix products of a step. The backward pass has twice that of
    /// the forward pass.
    pub fn training_flops(&self) -> f64 {
        3.0 * self.forward_flops(self.tokens(), self.pairs)
    }

    /// Counts the arithmetic of the matrix products of sampling.
    pub fn sampling_flops(&self) -> f64 {
        let (rows, patches) = (2 * IMAGES, self.sizes.document[1]);
        let prompt = self.forward_flops(rows * PROMPT, rows * PROMPT * (PROMPT + 1) / 2);
        let step = self.forward_flops(rows * patches, rows * patches * (PROMPT + patches));
        prompt + STEPS as f64 * step
    }

    fn forward_flops(&self, tokens: usize, pairs: usize) -> f64 {
        let (width, depth) = (self.sizes.width, self.sizes.depth);
        let expanded = 2 * width;
        let weights = width * (2 * expanded + KEY_SIZE) + expanded * width;
        let ends = 2 * tokens * 2 * width * PATCH;
        (depth * (2 * tokens * weights + 2 * pairs * (KEY_SIZE + expanded)) + ends) as f64
    }
}
