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
use mm_backbone::{Init, Linear, LongSkip, NormKind, VisionBlock, VisionNorm};
use mm_patch::{patchify, unpatchify};

use super::config::{UVIT_EPSILON as EPSILON, UvitConfig};
use super::positions::context;
use super::{SameSize, Watch};
use crate::networks::convolution::Convolution;
use crate::networks::time::sines;
use crate::{ModelConfig, TimeConfig};

/// The weights of a U-ViT.
#[derive(Module, Debug)]
pub struct Uvit {
    /// `[classes, width]`
    class_embed: Option<Param<Tensor<2>>>,
    patch_in: Linear,
    /// The positions of the class, the time and every patch: `[tokens, width]`.
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
    pub(super) fn forward(&self, images: SameSize<'_>, watch: Watch<'_>) -> Tensor<3> {
        let SameSize { noisy, grid, timesteps: times, classes } = images;
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
        watch(&x);
        for (index, block) in self.blocks.iter().enumerate() {
            if let Some(mirror) = if index > half { kept.pop() } else { None } {
                x = self.skips[index - half - 1].forward(x, mirror);
            }
            x = block.forward(x, &attention, None);
            watch(&x);
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
