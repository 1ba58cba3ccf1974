//! The residual block `s(x) + W₂ ⋆ swish(GN(W₁ ⋆ swish(GN(x))))`, and the middle of a network: two
//! of them with attention between.

use burn::prelude::*;
use mm_backbone::Init;
use mm_kernels::Precision;

use crate::AutoencoderSizes;
use crate::attention::CellAttention;
use crate::convolution::Convolution;
use crate::norm::GroupNorm;

/// One residual block.
#[derive(Module, Debug)]
pub struct Residual {
    norm1: GroupNorm,
    conv1: Convolution,
    norm2: GroupNorm,
    conv2: Convolution,
    /// The map `s`, where the number of channels changes.
    conv_shortcut: Option<Convolution>,
}

impl Residual {
    pub(crate) fn new(init: &mut Init, inputs: usize, outputs: usize, groups: usize) -> Self {
        Self {
            norm1: GroupNorm::new(init, inputs, groups),
            conv1: Convolution::of_neighbors(init, inputs, outputs, 1.0),
            norm2: GroupNorm::new(init, outputs, groups),
            conv2: Convolution::of_neighbors(init, outputs, outputs, 0.5),
            conv_shortcut: (inputs != outputs)
                .then(|| Convolution::of_pixels(init, inputs, outputs, 1.0)),
        }
    }

    /// Computes `[images, inputs, height, width]` -> `[images, outputs, height, width]`.
    pub(crate) fn forward(&self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        let h = self.conv1.forward(self.norm1.forward_swish(x.clone()), precision);
        let h = self.conv2.forward(self.norm2.forward_swish(h), precision);
        match &self.conv_shortcut {
            Some(map) => map.forward(x, precision) + h,
            None => x + h,
        }
    }
}

/// What stands between the levels of an encoder or of a decoder and its lowest end.
#[derive(Module, Debug)]
pub struct Middle {
    /// One module, or none without attention.
    attentions: Vec<CellAttention>,
    /// Two blocks.
    resnets: Vec<Residual>,
}

impl Middle {
    pub(crate) fn new(init: &mut Init, sizes: &AutoencoderSizes) -> Self {
        let (channels, groups) = (sizes.deepest(), sizes.norm_num_groups);
        let attends = usize::from(sizes.mid_block_add_attention);
        Self {
            attentions: (0..attends).map(|_| CellAttention::new(init, channels, groups)).collect(),
            resnets: (0..2).map(|_| Residual::new(init, channels, channels, groups)).collect(),
        }
    }

    /// Computes `[images, channels, height, width]` -> the same shape.
    pub(crate) fn forward(&self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        let mut x = self.resnets[0].forward(x, precision);
        for attention in &self.attentions {
            x = attention.forward(x);
        }
        self.resnets[1].forward(x, precision)
    }
}

/// What changes the size of an image: one convolution, under diffusers' name.
#[derive(Module, Debug)]
pub struct Resampling {
    pub(crate) conv: Convolution,
}
