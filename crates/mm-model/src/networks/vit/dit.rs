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
//! In diffusers' `DiTTransformer2DModel` every block carries an MLP and an embedding of its own, and
//! the last norm uses those of the first block. Published weights repeat one set, and then one is
//! kept. The published last map also predicts a variance for every number, which no sampler here
//! reads, so it is left out. Frequencies of the time are `10000^(-i/127)`, as in diffusers, where
//! the paper's code has 128.
//!
//! DiT-XL/2: width 1152, 28 blocks, 16 heads, patches of 2x2 latents of 4 channels.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::{Init, Linear, MlpKind, NormKind, VisionBlock, VisionBlockConfig, VisionNorm};
use mm_codec::{KlAutoencoder, KlConfig};
use serde::{Deserialize, Serialize};

use super::config::{check, check_heads};
use super::positions::{context, sines_of_places};
use super::{Classes, SameSize};
use crate::networks::time::TimeWaves;
use crate::{ConfigError, ModelConfig, TimeConfig};

/// The number added to the variance in norms that diffusers fixes.
const EPSILON: f64 = 1e-6;

/// Sizes of a DiT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitConfig {
    /// The classes.
    pub classes: Classes,
    /// Numbers of one latent, or of one pixel.
    pub channels: usize,
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of heads.
    pub heads: usize,
    /// Hidden channels of the perceptrons.
    pub inner: usize,
    /// The number added to the variance in the norms before perceptrons.
    pub norm_epsilon: f64,
    /// Whether every block has embeddings of its own.
    #[serde(default)]
    pub own_embeddings: bool,
    /// The autoencoder whose latents the network draws; without one it draws pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<KlConfig>,
}

impl DitConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.classes.validate()?;
        check_heads(self.width, self.depth, self.heads, self.inner)?;
        let (channels, epsilon) = (self.channels, self.norm_epsilon);
        check("vit.classes.none", self.classes.none, "false", "true for a DiT")?;
        check("vit.channels", (1..=1 << 10).contains(&channels), channels, "1 to 1024")?;
        check("vit.norm_epsilon", epsilon > 0.0 && epsilon < 1.0, epsilon, "above 0, below 1")?;
        let Some(codec) = &self.codec else { return Ok(()) };
        let sizes = codec.validate().map_err(|why| why.to_string());
        check("vit.codec", sizes.is_ok(), sizes.err().unwrap_or_default(), "sizes that fit")?;
        let latents = codec.latent_channels;
        check("vit.codec", latents == channels, latents, "as many channels as `vit.channels`")
    }

    fn block(&self) -> VisionBlockConfig {
        VisionBlockConfig {
            width: self.width,
            heads: self.heads,
            inner: self.inner,
            norm: NormKind::LayerFixed,
            attention_epsilon: EPSILON,
            mlp_epsilon: self.norm_epsilon,
            rotary: false,
            qkv_bias: true,
            mlp: MlpKind::GeluTanh,
            conditioned: true,
        }
    }

    /// Embeddings of time and class.
    fn embeddings(&self) -> usize {
        if self.own_embeddings { self.depth } else { 1 }
    }

    /// Numbers that are learned, without the autoencoder's; `time` are those of one embedding of the
    /// time.
    pub(super) fn parameters(&self, numbers: f64, time: f64) -> f64 {
        let [width, rows, depth, sets] =
            [self.width, self.classes.rows(), self.depth, self.embeddings()]
                .map(|size| size as f64);
        let patches = (numbers + 1.0) * width + (width + 1.0) * numbers;
        let embeddings = sets * (time + rows * width);
        let blocks = depth * self.block().parameters();
        patches + embeddings + blocks + 2.0 * (width + 1.0) * width
    }
}

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
    pub(super) fn forward(&self, images: SameSize<'_>) -> Tensor<3> {
        let SameSize { noisy, grid, times, classes } = images;
        let (device, width) = (self.device(), self.config.width);
        let class = self.config.classes.rows_of(classes, &device);
        let condition = |embed: &TimeAndClass| {
            embed.time.forward(times, &device) + embed.class_embed.val().select(0, class.clone())
        };
        let conditions: Vec<Tensor<2>> = self.embeds.iter().map(condition).collect();
        let mut x = self.patch_in.forward(noisy) + sines_of_places(grid, width, &device);
        let attention = context(times.len(), grid, 0, width / self.config.heads, &device);
        for (index, block) in self.blocks.iter().enumerate() {
            let own = conditions.get(index).unwrap_or(&conditions[0]);
            x = block.forward(x, &attention, Some(own));
        }
        self.patch_out.forward(self.norm.forward(x, Some(&conditions[0])))
    }
}
