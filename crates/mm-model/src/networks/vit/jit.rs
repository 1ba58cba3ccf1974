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
use mm_backbone::{Init, Linear, NormKind, VisionBlock, VisionNorm};

use super::config::JitConfig;
use super::positions::{context, sines_of_places};
use super::{SameSize, Watch};
use crate::ModelConfig;
use crate::networks::time::TimeEmbedding;

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
    pub(super) fn forward(&self, images: SameSize<'_>, watch: Watch<'_>) -> Tensor<3> {
        let SameSize { noisy, grid, timesteps: times, classes } = images;
        let (count, patches, device) = (times.len(), grid.tokens(), self.device());
        let JitConfig { width, heads, context_tokens, context_start, .. } = self.config;
        let class = self.config.classes.rows_of(classes, &device);
        let class = self.class_embed.val().select(0, class); // [images, width]
        let condition = self.time.forward(times, &[], &device) + class.clone();
        let mut x = self.patch_in.forward(self.patch_reduce.forward(noisy));
        x = x + sines_of_places(grid, width, &device);
        let mut attention = context(count, grid, 0, width / heads, &device);
        watch(&x);
        for (index, block) in self.blocks.iter().enumerate() {
            if index == context_start {
                let class: Tensor<3> = class.clone().unsqueeze_dim(1); // [images, 1, width]
                let tokens = class + self.context_embed.val().unsqueeze();
                x = Tensor::cat(vec![tokens, x], 1);
                attention = context(count, grid, context_tokens, width / heads, &device);
            }
            x = block.forward(x, &attention, Some(&condition));
            watch(&x);
        }
        let x = x.narrow(1, context_tokens, patches);
        self.patch_out.forward(self.norm.forward(x, Some(&condition)))
    }
}
