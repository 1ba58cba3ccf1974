//! The definitions of what blocks are made of: the norm and the linear map.

use burn::prelude::*;

/// Computes RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467), `x / sqrt(mean(x²) + ε) · γ`, over
/// the last axis: `[…, channels]` -> the same shape; `gamma`: `[channels]`. Where the squares
/// overflow, beyond about 1e19, nothing is a number: with 0 a model that has diverged would look
/// finite.
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: &Tensor<1>, epsilon: f64) -> Tensor<D> {
    let rms = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt();
    let overflows = rms.clone().detach().is_inf();
    x / rms.mask_fill(overflows, f32::NAN) * gamma.clone().unsqueeze()
}

/// Computes `x W + b` in the type of `x`, to which weights of another are rounded:
/// `[…, inputs]` -> `[…, outputs]`; `weight`: `[inputs, outputs]`, `bias`: `[outputs]`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Tensor<D> {
    let dtype = x.dtype();
    let bias = bias.map(|bias| bias.clone().cast(dtype));
    burn::tensor::module::linear(x, weight.clone().cast(dtype), bias)
}
