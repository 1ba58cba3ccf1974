//! The encoder: pixels to cells.
//!
//! ```text
//! x ── conv ── r r ─ halve ── r r ─ halve ── … ── r r ── r attention r ── norm swish conv ── cells
//! ```

use burn::prelude::*;
use mm_backbone::Init;
use mm_kernels::Precision;

use crate::AutoencoderSizes;
use crate::convolution::Convolution;
use crate::norm::GroupNorm;
use crate::residual::{Middle, Resampling, Residual};

/// The blocks of one level.
#[derive(Module, Debug)]
pub struct Down {
    resnets: Vec<Residual>,
    /// One, or none at the lowest level.
    downsamplers: Vec<Resampling>,
}

/// Images to cells.
#[derive(Module, Debug)]
pub struct Encoder {
    conv_in: Convolution,
    down_blocks: Vec<Down>,
    mid_block: Middle,
    conv_norm_out: GroupNorm,
    conv_out: Convolution,
}

impl Encoder {
    /// Makes an encoder of images of `colors` channels to cells of `outputs`.
    pub(crate) fn new(
        init: &mut Init,
        sizes: &AutoencoderSizes,
        colors: usize,
        outputs: usize,
    ) -> Self {
        let (channels, groups) = (&sizes.block_out_channels, sizes.norm_num_groups);
        let conv_in = Convolution::of_neighbors(init, colors, channels[0], 1.0);
        let mut inputs = channels[0];
        let mut down_blocks = vec![];
        for (level, &outputs) in channels.iter().enumerate() {
            let mut resnets = vec![];
            for _ in 0..sizes.layers_per_block {
                resnets.push(Residual::new(init, inputs, outputs, groups));
                inputs = outputs;
            }
            let halves = usize::from(level + 1 < channels.len());
            let halving =
                |_| Resampling { conv: Convolution::of_neighbors(init, outputs, outputs, 1.0) };
            down_blocks.push(Down { resnets, downsamplers: (0..halves).map(halving).collect() });
        }
        Self {
            conv_in,
            down_blocks,
            mid_block: Middle::new(init, sizes),
            conv_norm_out: GroupNorm::new(init, inputs, groups),
            conv_out: Convolution::of_neighbors(init, inputs, outputs, 1.0),
        }
    }

    pub(crate) fn device(&self) -> Device {
        self.conv_in.device()
    }

    /// Computes `[images, colors, height, width]` -> `[images, outputs, rows, cols]`.
    pub(crate) fn forward(&self, images: Tensor<4>, precision: Precision) -> Tensor<4> {
        let mut x = self.conv_in.forward(images, precision);
        for level in &self.down_blocks {
            for block in &level.resnets {
                x = block.forward(x, precision);
            }
            for halving in &level.downsamplers {
                x = halving.conv.halved(x, precision);
            }
        }
        let x = self.mid_block.forward(x, precision);
        self.conv_out.forward(self.conv_norm_out.forward_swish(x), precision)
    }
}
