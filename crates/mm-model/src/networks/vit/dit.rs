//! DiT (Peebles & Xie 2022, arXiv:2212.09748) as diffusers has it: a transformer over patches of
//! latents, whose norms are modulated by the time and the class.
//!
//! ```text
//! c = MLP(time) + e                             e: the class's embedding
//! x = W patch + b + p                           p: sines of the place
//! x = block(x, c)                               LayerNorm without a scale, GELU, adaLN-Zero
//! ε = W' ((1 + γ) ⊙ norm(x) + β) + b'           γ, β of c
//! ```
//!
//! In diffusers' `DiTTransformer2DModel` every block carries an MLP and an embedding of its own,
//! and the last norm uses those of the first block. Published weights repeat one set, and then one
//! is kept. The published last map also predicts a variance for every number, which no sampler here
//! reads, so it is left out. Frequencies of the time are `10000^(-i/127)`, as in diffusers, where
//! the paper's code has 128.
//!
//! DiT-XL/2: width 1152, 28 blocks, 16 heads, patches of 2x2 latents of 4 channels.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::{Init, Linear, NormKind, VisionBlock, VisionNorm};
use mm_codec::KlAutoencoder;

use super::config::{DIT_EPSILON as EPSILON, DitConfig};
use super::positions::{context, sines_of_places};
use super::{SameSize, Watch};
use crate::networks::time::TimeWaves;
use crate::{ModelConfig, TimeConfig};

/// The weights of a DiT.
#[derive(Module, Debug)]
pub struct Dit {
    /// One for all blocks, or one for each.
    embeds: Vec<TimeAndClass>,
    patch_in: Linear,
    blocks: Vec<VisionBlock>,
    norm: VisionNorm,
    patch_out: Linear,
    codec: Option<KlAutoencoder>,
    #[module(skip)]
    config: DitConfig,
}

/// What makes a condition of a time and a class.
#[derive(Module, Debug)]
struct TimeAndClass {
    time: TimeWaves,
    /// `[classes + 1, width]`; the last row is no class.
    class_embed: Param<Tensor<2>>,
}

impl Dit {
    pub(super) fn new(sizes: &DitConfig, config: &ModelConfig, init: &mut Init) -> Self {
        let (width, depth, numbers) = (sizes.width, sizes.depth, config.patch_dim());
        let rows = sizes.classes.rows();
        let (channels, scale) = match config.time {
            TimeConfig::Sinusoidal { channels, scale } => (channels, scale),
            _ => (256, 1.0), // which `validate` refuses
        };
        let embed = |init: &mut Init| TimeAndClass {
            time: TimeWaves::up_to_the_base(channels, scale, width, init),
            class_embed: init.normal([rows, width], 0.02),
        };
        let block = sizes.block();
        Self {
            embeds: (0..sizes.embeddings()).map(|_| embed(init)).collect(),
            patch_in: Linear::new(init, numbers, width, true),
            blocks: (0..depth).map(|_| VisionBlock::new(&block, depth, init)).collect(),
            norm: VisionNorm::new(init, NormKind::LayerFixed, width, EPSILON, true),
            patch_out: Linear::zero(init, width, numbers),
            codec: sizes.codec.as_ref().map(|codec| KlAutoencoder::drawn(codec, init)),
            config: sizes.clone(),
        }
    }

    pub(super) fn device(&self) -> Device {
        self.patch_in.weight.val().device()
    }

    /// The pixels of latents as the network draws them, `[images, channels, rows, cols]` ->
    /// `[images, colors, height, width]`; nothing for a network of pixels.
    pub(super) fn decode(&self, latents: Tensor<4>) -> Option<Tensor<4>> {
        let codec = self.codec.as_ref()?;
        Some(codec.decode(codec.unscaled(latents)))
    }

    /// `[images, patches, numbers]`
    pub(super) fn forward(&self, images: SameSize<'_>, watch: Watch<'_>) -> Tensor<3> {
        let SameSize { noisy, grid, timesteps: times, classes } = images;
        let (device, width) = (self.device(), self.config.width);
        let class = self.config.classes.rows_of(classes, &device);
        let condition = |embed: &TimeAndClass| {
            embed.time.forward(times, &device) + embed.class_embed.val().select(0, class.clone())
        };
        let conditions: Vec<Tensor<2>> = self.embeds.iter().map(condition).collect();
        let mut x = self.patch_in.forward(noisy) + sines_of_places(grid, width, &device);
        let attention = context(times.len(), grid, 0, width / self.config.heads, &device);
        watch(&x);
        for (index, block) in self.blocks.iter().enumerate() {
            let own = conditions.get(index).unwrap_or(&conditions[0]);
            x = block.forward(x, &attention, Some(own));
            watch(&x);
        }
        self.patch_out.forward(self.norm.forward(x, Some(&conditions[0])))
    }
}
