//! U-ViT (Bao et al. 2022, arXiv:2209.12152): everything is a token, the time and the class too,
//! and the first half of the blocks is joined with the second.
//!
//! ```text
//! x = [e, s, W patch + b] + p                   e: the class's embedding, if there are classes;
//!                                               s: cosines and sines of the time; p: learned
//! x = block_i(x)                                the first half and the middle
//! x = block_i(W_i [x, x of the mirror] + b_i)   the second half
//! ε = conv(W norm(x) + b)                       of the patches; conv: 3x3 over all pixels
//! ```
//!
//! Blocks have LayerNorm, attention without a bias of queries, keys and values, and a GELU
//! perceptron. CelebA 64: width 512, 13 blocks, 8 heads, no classes; ImageNet 64: width 768 and 17
//! blocks (M) or 1024 and 21 (L), 1000 classes and no embedding of none. The schedule is
//! variance-preserving and the network is told 999 t.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::{
    Init, Linear, LongSkip, MlpKind, NormKind, VisionBlock, VisionBlockConfig, VisionNorm,
};
use mm_patch::{patchify, unpatchify};
use serde::{Deserialize, Serialize};

use super::config::{check, check_heads};
use super::positions::context;
use super::{Classes, SameSize};
use crate::networks::convolution::Convolution;
use crate::networks::time::sines;
use crate::{ConfigError, ModelConfig, TimeConfig};

/// The number added to the variance in all norms.
const EPSILON: f64 = 1e-5;

/// Sizes of a U-ViT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UvitConfig {
    /// The classes.
    pub classes: Classes,
    /// Rows of patches; the learned positions fix them.
    pub rows: usize,
    /// Columns of patches.
    pub cols: usize,
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks, odd.
    pub depth: usize,
    /// Number of heads.
    pub heads: usize,
    /// Hidden channels of the perceptrons.
    pub inner: usize,
    /// Whether the map to queries, keys and values has a bias.
    #[serde(default)]
    pub qkv_bias: bool,
    /// Whether a convolution over the pixels closes the network.
    pub convolution: bool,
}

impl UvitConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.classes.validate()?;
        check_heads(self.width, self.depth, self.heads, self.inner)?;
        let (rows, cols, depth) = (self.rows, self.cols, self.depth);
        check("vit.depth", depth % 2 == 1, depth, "an odd number of blocks")?;
        check("vit.rows", (1..=1 << 12).contains(&rows), rows, "1 to 4096")?;
        check("vit.cols", (1..=1 << 12).contains(&cols), cols, "1 to 4096")
    }

    /// The tokens in front of the patches.
    fn before(&self) -> usize {
        1 + usize::from(self.classes.count > 0)
    }

    fn block(&self) -> VisionBlockConfig {
        VisionBlockConfig {
            width: self.width,
            heads: self.heads,
            inner: self.inner,
            norm: NormKind::Layer,
            attention_epsilon: EPSILON,
            mlp_epsilon: EPSILON,
            rotary: false,
            qkv_bias: self.qkv_bias,
            mlp: MlpKind::Gelu,
            conditioned: false,
        }
    }

    pub(super) fn parameters(&self, numbers: f64, channels: f64) -> f64 {
        let tokens = (self.before() + self.rows * self.cols) as f64;
        let [width, rows, depth, skips] =
            [self.width, self.classes.rows(), self.depth, self.depth / 2].map(|size| size as f64);
        let patches = (numbers + 1.0) * width + (width + 1.0) * numbers;
        let skips = skips * (2.0 * width + 1.0) * width;
        let closing = if self.convolution { (9.0 * channels + 1.0) * channels } else { 0.0 };
        let tables = (tokens + rows) * width;
        patches + tables + depth * self.block().parameters() + skips + 2.0 * width + closing
    }
}

/// The weights of a U-ViT.
#[derive(Module, Debug)]
pub struct Uvit {
    /// `[classes, width]`
    class_embed: Option<Param<Tensor<2>>>,
    patch_in: Linear,
    /// Of the class, the time and every patch: `[tokens, width]`.
    pos_embed: Param<Tensor<2>>,
    blocks: Vec<VisionBlock>,
    /// The joins, the innermost first.
    skips: Vec<LongSkip>,
    norm: VisionNorm,
    patch_out: Linear,
    convolution: Option<Convolution>,
    #[module(skip)]
    config: UvitConfig,
    /// What the time is multiplied by.
    scale: f64,
}

impl Uvit {
    pub(super) fn new(sizes: &UvitConfig, config: &ModelConfig, init: &mut Init) -> Self {
        let (width, depth, numbers) = (sizes.width, sizes.depth, config.patch_dim());
        let (rows, tokens) = (sizes.classes.rows(), sizes.before() + sizes.rows * sizes.cols);
        let block = sizes.block();
        let scale = match config.time {
            TimeConfig::Sinusoidal { scale, .. } => scale,
            _ => 1.0, // which `validate` refuses
        };
        Self {
            class_embed: (rows > 0).then(|| init.normal([rows, width], 0.02)),
            patch_in: Linear::new(init, numbers, width, true),
            pos_embed: init.normal([tokens, width], 0.02),
            blocks: (0..depth).map(|_| VisionBlock::new(&block, depth, init)).collect(),
            skips: LongSkip::all(init, width, depth / 2),
            norm: VisionNorm::new(init, NormKind::Layer, width, EPSILON, false),
            patch_out: Linear::scaled(init, width, numbers, true, 0.1),
            convolution: sizes
                .convolution
                .then(|| Convolution::identity(init, config.network.channels())),
            config: sizes.clone(),
            scale,
        }
    }

    pub(super) fn device(&self) -> Device {
        self.patch_in.weight.val().device()
    }

    /// `[images, patches, numbers]`
    pub(super) fn forward(&self, images: SameSize<'_>) -> Tensor<3> {
        let SameSize { noisy, grid, times, classes } = images;
        let (count, device) = (times.len(), self.device());
        let mut tokens = vec![self.time_tokens(times), self.patch_in.forward(noisy)];
        if let Some(table) = &self.class_embed {
            let class = self.config.classes.rows_of(classes, &device);
            tokens.insert(0, table.val().select(0, class).unsqueeze_dim(1)); // [images, 1, width]
        }
        let mut x = Tensor::cat(tokens, 1) + self.pos_embed.val().unsqueeze();
        let before = self.config.before();
        let head = self.config.width / self.config.heads;
        let attention = context(count, grid, before, head, &device);
        let (half, mut kept) = (self.skips.len(), vec![]);
        for (index, block) in self.blocks.iter().enumerate() {
            if let Some(mirror) = if index > half { kept.pop() } else { None } {
                x = self.skips[index - half - 1].forward(x, mirror);
            }
            x = block.forward(x, &attention, None);
            if index < half {
                kept.push(x.clone());
            }
        }
        let x = self.norm.forward(x, None).narrow(1, before, grid.tokens());
        let patches = self.patch_out.forward(x);
        match &self.convolution {
            Some(convolution) => patchify(convolution.forward(unpatchify(patches, grid)), grid),
            None => patches,
        }
    }

    /// The token of every image's time: cosines, then sines, of the time that the index stands for,
    /// `[images, 1, width]`.
    fn time_tokens(&self, indices: &[f64]) -> Tensor<3> {
        let (width, images) = (self.config.width, indices.len());
        let times: Vec<f64> = indices.iter().map(|index| (index + 1.0) * self.scale).collect();
        let waves = TensorData::new(sines(&times, width, width / 2), [images, 1, width]);
        let waves = Tensor::<3>::from_data(waves, &self.device());
        let half = width / 2;
        Tensor::cat(vec![waves.clone().narrow(2, half, half), waves.narrow(2, 0, half)], 2)
    }
}
