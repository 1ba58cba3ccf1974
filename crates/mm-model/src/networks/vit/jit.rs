//! JiT, "just image Transformer" (Li & He 2025, arXiv:2511.13720): a plain transformer over large
//! patches of pixels, which predicts the clean image.
//!
//! ```text
//! x   = W₂ (W₁ patch) + b + p                   W₁ narrow: a bottleneck; p: sines of the place
//! c   = MLP(time) + e                           e: the embedding of the class
//! x   = [e + q₁ … e + q₃₂, x]                   before one of the blocks: class tokens "in context"
//! x   = block(x, c)                             RMSNorm, rotary, SwiGLU, adaLN-Zero
//! x̂   = W₃ ((1 + γ) ⊙ norm(x) + β) + b₃         γ, β of c; class tokens are dropped
//! ```
//!
//! | | width | blocks | heads | bottleneck | class tokens before block |
//! | --- | --- | --- | --- | --- | --- |
//! | B | 768 | 12 | 12 | 128 | 4 |
//! | L | 1024 | 24 | 16 | 128 | 8 |
//! | H | 1280 | 32 | 16 | 256 | 10 |
//!
//! The velocity is `(x̂ - z) / max(1 - t, 0.05)`, in training and in drawing.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::{Init, Linear, MlpKind, NormKind, VisionBlock, VisionBlockConfig, VisionNorm};
use serde::{Deserialize, Serialize};

use super::config::{check, check_heads};
use super::positions::{context, sines_of_places};
use super::{Classes, SameSize};
use crate::networks::time::TimeEmbedding;
use crate::{ConfigError, ModelConfig};

/// Sizes of a JiT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JitConfig {
    /// The classes.
    pub classes: Classes,
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of heads.
    pub heads: usize,
    /// Hidden channels of the perceptrons.
    pub inner: usize,
    /// Channels between the two maps of a patch.
    pub bottleneck: usize,
    /// Number of class tokens.
    pub context_tokens: usize,
    /// The block before which they are put in front, counted from 0.
    pub context_start: usize,
    /// The number added to the mean square in all norms.
    pub norm_epsilon: f64,
    /// The least share of noise that a velocity is divided by (0.05).
    pub min_noise: f64,
    /// The deviation of the noise: 1 at 256 pixels, 2 at 512.
    pub noise_scale: f64,
}

impl JitConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.classes.validate()?;
        check_heads(self.width, self.depth, self.heads, self.inner)?;
        let (bottleneck, tokens, start) =
            (self.bottleneck, self.context_tokens, self.context_start);
        check("vit.classes.none", self.classes.none, "false", "true for a JiT")?;
        check("vit.bottleneck", (1..=1 << 16).contains(&bottleneck), bottleneck, "1 to 65536")?;
        check("vit.context_tokens", (1..=1 << 12).contains(&tokens), tokens, "1 to 4096")?;
        check("vit.context_start", start < self.depth, start, "the number of a block, from 0")?;
        let epsilon = self.norm_epsilon;
        check("vit.norm_epsilon", epsilon > 0.0 && epsilon < 1.0, epsilon, "above 0, below 1")?;
        let least = self.min_noise;
        check("vit.min_noise", (0.0..1.0).contains(&least), least, "0 or more, below 1")?;
        let scale = self.noise_scale;
        check("vit.noise_scale", scale > 0.0 && scale <= 1e3, scale, "above 0, at most 1000")
    }

    fn block(&self) -> VisionBlockConfig {
        VisionBlockConfig {
            width: self.width,
            heads: self.heads,
            inner: self.inner,
            norm: NormKind::Rms,
            attention_epsilon: self.norm_epsilon,
            mlp_epsilon: self.norm_epsilon,
            rotary: true,
            qkv_bias: true,
            mlp: MlpKind::SwiGlu,
            conditioned: true,
        }
    }

    pub(super) fn parameters(&self, numbers: f64) -> f64 {
        let [width, bottleneck, rows, tokens] =
            [self.width, self.bottleneck, self.classes.rows(), self.context_tokens]
                .map(|size| size as f64);
        let patch_in = numbers * bottleneck + (bottleneck + 1.0) * width;
        let tables = (rows + tokens) * width;
        let ends = width + 2.0 * (width + 1.0) * width + (width + 1.0) * numbers;
        patch_in + tables + self.depth as f64 * self.block().parameters() + ends
    }
}

/// The weights of a JiT.
#[derive(Module, Debug)]
pub struct Jit {
    time: TimeEmbedding,
    /// `[classes + 1, width]`; the last row is no class.
    class_embed: Param<Tensor<2>>,
    patch_reduce: Linear,
    patch_in: Linear,
    /// `[class tokens, width]`
    context_embed: Param<Tensor<2>>,
    blocks: Vec<VisionBlock>,
    norm: VisionNorm,
    patch_out: Linear,
    #[module(skip)]
    config: JitConfig,
}

impl Jit {
    pub(super) fn new(sizes: &JitConfig, config: &ModelConfig, init: &mut Init) -> Self {
        let JitConfig { width, depth, bottleneck, norm_epsilon, .. } = *sizes;
        let numbers = config.patch_dim();
        let block = sizes.block();
        Self {
            time: TimeEmbedding::new(&config.time, width, init)
                .expect("a checked network that draws is told the time"),
            class_embed: init.normal([sizes.classes.rows(), width], 0.02),
            patch_reduce: Linear::new(init, numbers, bottleneck, false),
            patch_in: Linear::new(init, bottleneck, width, true),
            context_embed: init.normal([sizes.context_tokens, width], 0.02),
            blocks: (0..depth).map(|_| VisionBlock::new(&block, depth, init)).collect(),
            norm: VisionNorm::new(init, NormKind::Rms, width, norm_epsilon, true),
            patch_out: Linear::zero(init, width, numbers),
            config: sizes.clone(),
        }
    }

    pub(super) fn device(&self) -> Device {
        self.patch_in.weight.val().device()
    }

    /// `[images, patches, numbers]`
    pub(super) fn forward(&self, images: SameSize<'_>) -> Tensor<3> {
        let SameSize { noisy, grid, times, classes } = images;
        let (count, patches, device) = (times.len(), grid.tokens(), self.device());
        let JitConfig { width, heads, context_tokens, context_start, .. } = self.config;
        let class = self.config.classes.rows_of(classes, &device);
        let class = self.class_embed.val().select(0, class); // [images, width]
        let condition = self.time.forward(times, &[], &device) + class.clone();
        let mut x = self.patch_in.forward(self.patch_reduce.forward(noisy));
        x = x + sines_of_places(grid, width, &device);
        let mut attention = context(count, grid, 0, width / heads, &device);
        for (index, block) in self.blocks.iter().enumerate() {
            if index == context_start {
                let class: Tensor<3> = class.clone().unsqueeze_dim(1); // [images, 1, width]
                let tokens = class + self.context_embed.val().unsqueeze();
                x = Tensor::cat(vec![tokens, x], 1);
                attention = context(count, grid, context_tokens, width / heads, &device);
            }
            x = block.forward(x, &attention, Some(&condition));
        }
        let x = x.narrow(1, context_tokens, patches);
        self.patch_out.forward(self.norm.forward(x, Some(&condition)))
    }
}
