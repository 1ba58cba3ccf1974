//! Group norm (Wu & He 2018, arXiv:1803.08494): neighboring channels are a group, as in PyTorch.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::Init;

const EPSILON: f64 = 1e-6;

/// Group norm with a learned scale and offset of every channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`
    weight: Param<Tensor<1>>,
    /// `[channels]`
    bias: Param<Tensor<1>>,
    groups: usize,
}

impl GroupNorm {
    pub(crate) fn new(init: &mut Init, channels: usize, groups: usize) -> Self {
        let weight = init.constant([channels], 1.0);
        Self { weight, bias: init.constant([channels], 0.0), groups }
    }

    /// Computes `[images, channels, height, width]` -> the same shape.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [images, channels, height, width] = x.dims();
        let each = channels / self.groups * height * width;
        let grouped = x.reshape([images, self.groups, each]);
        let centered = grouped.clone() - grouped.mean_dim(2);
        let deviation = (centered.clone().square().mean_dim(2) + EPSILON).sqrt();
        // Where squares overflow, a quotient of 0 would make a divergence look finite.
        let overflows = deviation.clone().detach().is_inf();
        let deviation = deviation.mask_fill(overflows, f32::NAN);
        let each = |of: &Param<Tensor<1>>| of.val().reshape([1, channels, 1, 1]);
        (centered / deviation).reshape([images, channels, height, width]) * each(&self.weight)
            + each(&self.bias)
    }
}
