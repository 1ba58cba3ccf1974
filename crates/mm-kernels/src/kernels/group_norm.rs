//! The definition of group norm and of swish in device operations.

use burn::prelude::*;
use burn::tensor::activation::silu;

/// What a group norm is told besides its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormOptions {
    /// The number of groups, which divides that of channels.
    pub groups: usize,
    /// Which channels a group has.
    pub members: GroupMembers,
    /// The number added to the variance.
    pub epsilon: f64,
    /// Whether `swish(y) = y / (1 + e^-y)` follows.
    pub swish: bool,
}

/// Which channels stand together in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupMembers {
    /// Neighbors: channel `c` is in group `c / (channels / groups)`, as in PyTorch.
    Neighbors,
    /// Channels `groups` apart: channel `c` is in group `c mod groups`.
    Strided,
}

/// Computes group norm by device operations, `[images, channels, height, width]` -> the same shape;
/// see [`BlockKernels::group_norm`](crate::BlockKernels::group_norm).
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<4> {
    let [images, channels, height, width] = x.dims();
    let (groups, pixels) = (options.groups, height * width);
    let apart = match options.members {
        GroupMembers::Neighbors => 1,
        GroupMembers::Strided => channels / groups,
    };
    let grouped = x.reshape([images, apart, groups, channels / groups / apart * pixels]);
    let mean_of = |x: Tensor<4>| x.mean_dim(3).mean_dim(1); // [images, 1, groups, 1]
    let centered = grouped.clone() - mean_of(grouped);
    let deviation = (mean_of(centered.clone().square()) + options.epsilon).sqrt();
    // Where squares overflow, a quotient of 0 would make a divergence look finite.
    let overflows = deviation.clone().detach().is_inf();
    let deviation = deviation.mask_fill(overflows, f32::NAN);
    let each = |of: Tensor<1>| of.reshape([1, channels, 1, 1]);
    let unit = (centered / deviation).reshape([images, channels, height, width]);
    let y = unit * each(gamma) + each(beta);
    if options.swish { silu(y) } else { y }
}
