//! The decoder: cells to pixels.
//!
//! ```text
//! cells ── conv ── r attention r ── r r r ─ double ── … ── r r r ── norm swish conv ── x
//! ```

use burn::prelude::*;
use mm_backbone::Init;
use mm_kernels::{Precision, doubled};

use crate::AutoencoderSizes;
use crate::convolution::Convolution;
use crate::norm::GroupNorm;
use crate::residual::{Middle, Resampling, Residual};

/// The blocks of one level.
#[derive(Module, Debug)]
pub struct Up {
    resnets: Vec<Residual>,
    /// One, or none at full resolution.
    upsamplers: Vec<Resampling>,
}

/// Cells to images.
#[derive(Module, Debug)]
pub struct Decoder {
    conv_in: Convolution,
    mid_block: Middle,
    /// The lowest level first.
    up_blocks: Vec<Up>,
    conv_norm_out: GroupNorm,
    conv_out: Convolution,
}

impl Decoder {
    /// Makes a decoder of cells of `inputs` channels to images of `colors`.
    pub(crate) fn new(
        init: &mut Init,
        sizes: &AutoencoderSizes,
        inputs: usize,
        colors: usize,
    ) -> Self {
        let (channels, groups) = (&sizes.block_out_channels, sizes.norm_num_groups);
        let conv_in = Convolution::of_neighbors(init, inputs, sizes.deepest(), 1.0);
        let mid_block = Middle::new(init, sizes);
        let mut before = sizes.deepest();
        let mut up_blocks = vec![];
        for (level, &outputs) in channels.iter().enumerate().rev() {
            let mut resnets = vec![];
            for _ in 0..=sizes.layers_per_block {
                resnets.push(Residual::new(init, before, outputs, groups));
                before = outputs;
            }
            let doubles = usize::from(level > 0);
            let doubling =
                |_| Resampling { conv: Convolution::of_neighbors(init, outputs, outputs, 1.0) };
            up_blocks.push(Up { resnets, upsamplers: (0..doubles).map(doubling).collect() });
        }
        Self {
            conv_in,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::new(init, before, groups),
            conv_out: Convolution::of_neighbors(init, before, colors, 1.0),
        }
    }

    /// Computes `[images, inputs, rows, cols]` -> `[images, colors, height, width]`.
    pub(crate) fn forward(&self, cells: Tensor<4>, precision: Precision) -> Tensor<4> {
        self.pixels(self.features(cells, precision), precision)
    }

    /// Computes what the last convolution takes: `[images, inputs, rows, cols]` -> `[images,
    /// channels, height, width]`.
    pub(crate) fn features(&self, cells: Tensor<4>, precision: Precision) -> Tensor<4> {
        let mut x = self.mid_block.forward(self.conv_in.forward(cells, precision), precision);
        for level in &self.up_blocks {
            for block in &level.resnets {
                x = block.forward(x, precision);
            }
            for doubling in &level.upsamplers {
                x = doubling.conv.forward(doubled(x), precision);
            }
        }
        self.conv_norm_out.forward_swish(x)
    }

    /// Returns the weights of the last convolution, `[colors, channels, 3, 3]`.
    pub(crate) fn last_weight(&self) -> Tensor<4> {
        self.conv_out.weight()
    }

    /// Computes the last convolution: `[images, channels, height, width]` -> `[images, colors,
    /// height, width]`.
    pub(crate) fn pixels(&self, features: Tensor<4>, precision: Precision) -> Tensor<4> {
        self.conv_out.forward(features, precision)
    }
}
