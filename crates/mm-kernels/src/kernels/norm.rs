//! The definitions of what blocks are made of: the norm and the linear map.

use burn::prelude::*;
use burn::tensor::DType;

use crate::device::{few_rows, is_flex};

/// Computes RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467), `x / sqrt(mean(x²) + ε) · γ`, over
/// the last axis: `[…, channels]` -> the same shape; `gamma`: `[channels]`. Where the squares
/// overflow, beyond about 1e19, nothing is a number: with 0 a model that has diverged would look
/// finite.
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: &Tensor<1>, epsilon: f64) -> Tensor<D> {
    let rms = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt();
    let overflows = rms.clone().detach().is_inf();
    x / rms.mask_fill(overflows, f32::NAN) * gamma.clone().unsqueeze()
}

/// Computes LayerNorm (Ba, Kiros & Hinton 2016, arXiv:1607.06450),
/// `(x - mean(x)) / sqrt(var(x) + ε) · γ + β`, over the last axis: `[…, channels]` -> the same
/// shape; `gamma` and `beta`: `[channels]`.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    standardized(x, epsilon) * gamma.clone().unsqueeze() + beta.clone().unsqueeze()
}

/// Computes LayerNorm without scale and offset, `(x - mean(x)) / sqrt(var(x) + ε)`, over the last
/// axis: `[…, channels]` -> the same shape.
pub fn standardized<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    let centered = x.clone() - x.mean_dim(D - 1);
    let deviation = (centered.clone().square().mean_dim(D - 1) + epsilon).sqrt();
    centered / deviation
}

/// Computes `x W + b` in the type of `x`, to which weights of another are rounded:
/// `[…, inputs]` -> `[…, outputs]`; `weight`: `[inputs, outputs]`, `bias`: `[outputs]`.
///
/// On the CPU, without gradients, the bits of a row do not depend on the number of rows where
/// weights are 32-bit floats. Weights of 16 bits are widened as they are read for a few rows, and
/// one whole matrix at a time for more.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Tensor<D> {
    let (shape, [inputs, outputs]) = (x.dims(), weight.dims());
    let dtype = x.dtype();
    if dtype == DType::F32 && matches!(weight.dtype(), DType::BF16 | DType::F16) {
        let rows = shape[..D - 1].iter().product();
        if let Some(y) = few_rows(x.clone().reshape([rows, inputs]), weight) {
            let mut shape = shape;
            shape[D - 1] = outputs;
            let y = y.reshape(shape);
            return match bias {
                Some(bias) => y + bias.clone().cast(dtype).unsqueeze(),
                None => y,
            };
        }
    }
    let bias = bias.map(|bias| bias.clone().cast(dtype));
    let weight = weight.clone().cast(dtype);
    let rows = shape[..D - 1].iter().product();
    let least = least_rows(inputs, outputs);
    let few = rows > 0 && (rows < least || (least > 1 && shape[D.saturating_sub(2)] < least));
    if !few || weight.is_require_grad() || !is_flex(&x.device()) {
        return burn::tensor::module::linear(x, weight, bias);
    }
    let mut flat: Tensor<2> = x.reshape([rows, inputs]);
    if rows < least {
        let more = Tensor::zeros([least - rows, inputs], (&flat.device(), dtype));
        flat = Tensor::cat(vec![flat, more], 0);
    }
    let mut shape = shape;
    shape[D - 1] = outputs;
    burn::tensor::module::linear(flat, weight, bias).narrow(0, 0, rows).reshape(shape)
}

/// Maps the channels of every pixel without turning the image: a convolution of 1x1 pixels without
/// a bias, `[images, inputs, height, width]` -> `[images, outputs, height, width]`; `weight`:
/// `[outputs, inputs]`.
pub fn linear_of_pixels(x: Tensor<4>, weight: Tensor<2>) -> Tensor<4> {
    let ([images, inputs, height, width], [outputs, _]) = (x.dims(), weight.dims());
    let weight = weight.reshape([1, outputs, inputs]).expand([images, outputs, inputs]);
    weight
        .matmul(x.reshape([images, inputs, height * width]))
        .reshape([images, outputs, height, width])
}

/// Returns the rows from which on `gemm` takes one way: it sums over at most 512 inputs in one go,
/// over more of them in chunks, which are others for a single row, and others again where both
/// sides of the product are small.
fn least_rows(inputs: usize, outputs: usize) -> usize {
    match (inputs, outputs) {
        (..=512, _) => 1,
        (_, ..=64) => 65,
        _ => 2,
    }
}
