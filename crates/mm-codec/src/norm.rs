//! Group norm (Wu & He 2018, arXiv:1803.08494): neighboring channels are a group, as in PyTorch.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::Init;
use mm_kernels::{GroupMembers, GroupNormOptions, group_norm};

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
        group_norm(x, self.weight.val(), self.bias.val(), self.options(false))
    }

    /// Computes swish of the norm, `[images, channels, height, width]` -> the same shape.
    pub(crate) fn forward_swish(&self, x: Tensor<4>) -> Tensor<4> {
        group_norm(x, self.weight.val(), self.bias.val(), self.options(true))
    }

    fn options(&self, swish: bool) -> GroupNormOptions {
        let members = GroupMembers::Neighbors;
        GroupNormOptions { groups: self.groups, members, epsilon: EPSILON, swish }
    }
}
