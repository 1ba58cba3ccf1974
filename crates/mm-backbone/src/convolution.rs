//! The 3x3 convolution with a border of zeros: `y[o] = Σ_i W[o, i] ⋆ x[i]`, where `⋆` slides a kernel over a plane.

use burn::prelude::*;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

/// `x`: `[images, inputs, height, width]`, `weight`: `[outputs, inputs, 3, 3]` -> `[images, outputs, height, width]`.
pub fn convolution(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    crate::ops::convolution(&x, &weight).unwrap_or_else(|| ordinary(x, weight))
}

/// The definition, in ordinary operations.
pub(crate) fn ordinary(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    conv2d(x, weight, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
}
