//! What a family of backends can compute in ways of its own, and the definition of all of it.

mod attention;
mod gau;
mod gelu;
mod group_norm;
mod multi_head;
mod norm;
#[cfg_attr(not(feature = "cube"), allow(dead_code))] // what devices other than flex compute with
pub(crate) mod tiled;

use std::fmt;

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::silu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

use crate::{
    AdamW, AttentionContext, BlockOptions, GauWeights, KeyValue, KvUpdate, MultiHeadWeights,
    Precision,
};

pub use gelu::gelu;
pub use group_norm::{GroupMembers, GroupNormOptions};
pub(crate) use multi_head::multi_head;
pub use norm::{layer_norm, linear, linear_of_pixels, rms_norm, standardized};

/// Kernels of one family of backends.
///
/// Every method computes what the default does, which is the definition in device operations and
/// runs on every backend. A family overrides what it does faster and leaves the rest;
/// [`kernels_of`](crate::kernels_of) gives the family of a tensor, and
/// [`register`](crate::register) adds one from outside.
///
/// ```
/// use burn::prelude::*;
/// use burn::tensor::DType;
/// use mm_kernels::BlockKernels;
///
/// /// Norms of half the work on a device of our own.
/// #[derive(Debug)]
/// struct OwnKernels(Device);
///
/// impl BlockKernels for OwnKernels {
///     fn name(&self) -> &'static str {
///         "own"
///     }
///
///     fn covers(&self, device: &Device, dtype: DType) -> bool {
///         *device == self.0 && dtype == DType::F32
///     }
///
///     fn rms_norm(&self, x: Tensor<3>, gamma: &Tensor<1>, epsilon: f64) -> Tensor<3> {
///         let factor = (x.clone().square().mean_dim(2) + epsilon).sqrt().recip();
///         x * factor * gamma.clone().unsqueeze()
///     }
/// }
///
/// let device = Device::flex();
/// let kernels = OwnKernels(device.clone());
/// assert!(kernels.covers(&device, DType::F32) && !kernels.fuses_blocks());
/// let y = kernels.rms_norm(Tensor::ones([1, 2, 4], &device), &Tensor::ones([4], &device), 1e-6);
/// assert_eq!(y.dims(), [1, 2, 4]);
/// ```
pub trait BlockKernels: fmt::Debug + Send + Sync {
    /// Returns the family's name.
    fn name(&self) -> &'static str;

    /// Says whether these kernels take tensors of this type on this device.
    fn covers(&self, device: &Device, dtype: DType) -> bool;

    /// Says whether a block is one operation, which can do
    /// [activation checkpointing](BlockOptions::activation_checkpointing).
    fn fuses_blocks(&self) -> bool {
        false
    }

    /// Says whether updates of weights are one pass over the numbers; where they are not, the
    /// methods that update weights are not called.
    fn fuses_updates(&self) -> bool {
        false
    }

    /// Computes `x / sqrt(mean(x²) + ε) · γ` over the channels, `[batch, tokens, channels]` -> the
    /// same shape; `gamma`: `[channels]`.
    fn rms_norm(&self, x: Tensor<3>, gamma: &Tensor<1>, epsilon: f64) -> Tensor<3> {
        rms_norm(x, gamma, epsilon)
    }

    /// Computes the 3x3 convolution with a border of zeros, `y[o] = Σ_i W[o, i] ⋆ x[i]`: `x`:
    /// `[images, inputs, height, width]`, `weight`: `[outputs, inputs, 3, 3]` ->
    /// `[images, outputs, height, width]`.
    fn convolution(&self, x: Tensor<4>, weight: Tensor<4>, precision: Precision) -> Tensor<4> {
        let (x, weight) = (precision.narrow(x), precision.narrow(weight));
        precision.widen(conv2d(x, weight, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1)))
    }

    /// Computes group norm (Wu & He 2018, arXiv:1803.08494), `(x - mean) / sqrt(variance + ε) · γ +
    /// β` over all pixels and the channels of one group: `x`: `[images, channels, height, width]`,
    /// `gamma` and `beta`: `[channels]` -> the shape of `x`.
    fn group_norm(
        &self,
        x: Tensor<4>,
        gamma: Tensor<1>,
        beta: Tensor<1>,
        options: GroupNormOptions,
    ) -> Tensor<4> {
        group_norm::group_norm(x, gamma, beta, options)
    }

    /// Computes `x / (1 + e^-x)` of every number, `[…]` -> the same shape.
    fn swish(&self, x: Tensor<4>) -> Tensor<4> {
        silu(x)
    }

    /// Repeats every pixel in a row and in a column, `[images, channels, height, width]` ->
    /// `[images, channels, 2 height, 2 width]`.
    fn doubled(&self, x: Tensor<4>) -> Tensor<4> {
        let [images, channels, height, width] = x.dims();
        x.reshape([images * channels, height, 1, width, 1])
            .expand([images * channels, height, 2, width, 2])
            .reshape([images, channels, 2 * height, 2 * width])
    }

    /// Computes the means of 2x2 pixels, `[images, channels, height, width]`, whose sides are even
    /// -> `[images, channels, height/2, width/2]`.
    fn halved(&self, x: Tensor<4>) -> Tensor<4> {
        let [images, channels, height, width] = x.dims();
        let (rows, cols) = (height / 2, width / 2);
        x.reshape([images * channels, rows, 2, cols, 2])
            .mean_dim(4)
            .mean_dim(2) // [images * channels, rows, 1, cols, 1]
            .reshape([images, channels, rows, cols])
    }

    /// Computes `softmax(q kᵀ / sqrt(channels)) v` with hidden keys left out: `q`:
    /// `[batch, heads, queries, channels]`, `k`: `[batch, key_heads, keys, channels]`, `v`:
    /// `[batch, key_heads, keys, values]` -> `[batch, heads, queries, values]`.
    fn attention(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        context: &AttentionContext,
        precision: Precision,
    ) -> Tensor<4> {
        attention::attention(q, k, v, context, precision)
    }

    /// Computes a gated attention unit over whole rows, `[batch, tokens, channels]` -> the same
    /// shape.
    fn gau(
        &self,
        x: Tensor<3>,
        weights: &GauWeights,
        context: &AttentionContext,
        options: BlockOptions,
    ) -> Tensor<3> {
        gau::gau(self, x, weights, context, options.precision, None).0
    }

    /// Computes a gated attention unit for tokens that follow `prefix`, without gradients:
    /// `[batch, tokens, channels]` -> the same shape, and their keys and values if `update` keeps
    /// them.
    fn gau_with_prefix(
        &self,
        x: Tensor<3>,
        weights: &GauWeights,
        context: &AttentionContext,
        options: BlockOptions,
        prefix: Option<&KeyValue>,
        update: KvUpdate,
    ) -> (Tensor<3>, Option<KeyValue>) {
        let (y, new) = gau::gau(self, x, weights, context, options.precision, prefix);
        (y, (update == KvUpdate::Keep).then_some(new))
    }

    /// Computes a multi-head block over whole rows, `[batch, tokens, channels]` -> the same shape.
    fn multi_head(
        &self,
        x: Tensor<3>,
        weights: &MultiHeadWeights,
        context: &AttentionContext,
        options: BlockOptions,
    ) -> Tensor<3> {
        multi_head(self, x, weights, context, options.precision, None).0
    }

    /// Computes a multi-head block for tokens that follow `prefix`, without gradients:
    /// `[batch, tokens, channels]` -> the same shape, and their keys and values if `update` keeps
    /// them.
    fn multi_head_with_prefix(
        &self,
        x: Tensor<3>,
        weights: &MultiHeadWeights,
        context: &AttentionContext,
        options: BlockOptions,
        prefix: Option<&KeyValue>,
        update: KvUpdate,
    ) -> (Tensor<3>, Option<KeyValue>) {
        let (y, new) = multi_head(self, x, weights, context, options.precision, prefix);
        (y, (update == KvUpdate::Keep).then_some(new))
    }

    /// Takes a step of AdamW: the weight and `[m, v]` afterwards, all `[numbers]`.
    fn adamw(
        &self,
        adam: &AdamW,
        weight: Tensor<1>,
        grad: Tensor<1>,
        moments: [Tensor<1>; 2],
    ) -> (Tensor<1>, [Tensor<1>; 2]) {
        adam.reference(weight, grad, moments)
    }

    /// Computes `average + (1 - keep) (weight - average)`, all `[numbers]`.
    fn moving_average(&self, average: Tensor<1>, weight: Tensor<1>, keep: f64) -> Tensor<1> {
        moving_average(average, weight, keep)
    }

    /// Computes `Σ x²` of `[numbers]` on the host, or nothing where that would wait for a device.
    fn sum_of_squares(&self, x: Tensor<1>) -> Option<f64> {
        let _ = x;
        None
    }
}

/// The definition of everything, in device operations, on every backend.
#[derive(Debug, Clone, Copy)]
pub struct Reference;

impl BlockKernels for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn covers(&self, _: &Device, _: DType) -> bool {
        true
    }
}

/// The definition of a moving average, `[…]` -> `[…]`.
pub(crate) fn moving_average<const D: usize>(
    average: Tensor<D>,
    weight: Tensor<D>,
    keep: f64,
) -> Tensor<D> {
    let difference = weight - average.clone();
    average + difference * (1.0 - keep)
}
