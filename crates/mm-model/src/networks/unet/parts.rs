//! What a U-Net is made of: group norm, the residual block, attention over pixels.
//!
//! ```text
//! GroupNorm:  (x - mean) / sqrt(variance + 1e-6) · γ + β      over all pixels and the channels of one group
//! Residual:   GroupNorm(s(x) + swish(W₂ ⋆ swish(W₁ ⋆ (x + W_t t))))     s: identity, or a linear map to more channels
//! Attention:  x + W_o softmax(q kᵀ / sqrt(channels)) v,  q, k, v = split(W_a GroupNorm(x))
//! ```
//!
//! Group norm is Wu & He's (2018, arXiv:1803.08494), but that channel `c` is in group `c mod
//! groups`, as in Su's script.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use mm_backbone::{Init, Linear, checkpointed};
use mm_kernels::{GroupMembers, GroupNormOptions, Precision, group_norm, linear_of_pixels, swish};

use super::UnetConfig;
use crate::networks::convolution::Convolution;

const EPSILON: f64 = 1e-6;

/// Group norm with a learned scale and offset of every channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`
    gamma: Param<Tensor<1>>,
    /// `[channels]`
    beta: Param<Tensor<1>>,
    groups: usize,
}

impl GroupNorm {
    pub(super) fn new(init: &mut Init, channels: usize, groups: usize) -> Self {
        let gamma = init.constant([channels], 1.0);
        Self { gamma, beta: init.constant([channels], 0.0), groups }
    }

    /// `[images, channels, height, width]` -> the same shape.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = GroupNormOptions {
            groups: self.groups,
            members: GroupMembers::Strided,
            epsilon: EPSILON,
            swish: false,
        };
        group_norm(x, self.gamma.val(), self.beta.val(), options)
    }
}

/// A linear map of channels that draws its weights as Su's script does: uniform of variance `2 /
/// (inputs + outputs)`, no bias.
fn dense(init: &mut Init, inputs: usize, outputs: usize) -> Linear {
    let bound = (6.0 / (inputs + outputs) as f64).sqrt();
    Linear { weight: init.uniform([inputs, outputs], bound), bias: None }
}

/// `[images, channels, height, width]` -> `[images, height * width, channels]`.
fn as_tokens(x: Tensor<4>) -> Tensor<3> {
    let [images, channels, height, width] = x.dims();
    x.reshape([images, channels, height * width]).swap_dims(1, 2)
}

/// The inverse of [`as_tokens`] for images of `height` x `width`.
fn as_images(x: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [images, _, channels] = x.dims();
    x.swap_dims(1, 2).reshape([images, channels, height, width])
}

/// One residual block, with attention behind it where it is asked for.
#[derive(Module, Debug)]
pub struct Residual {
    time: Linear,
    first: Convolution,
    second: Convolution,
    shortcut: Option<Linear>,
    norm: GroupNorm,
    attention: Option<PixelAttention>,
}

impl Residual {
    /// Makes a block from `channels[0]` to `channels[1]` channels; `gain` is that of the
    /// convolutions, see [`Convolution::new`].
    pub(super) fn new(
        init: &mut Init,
        config: &UnetConfig,
        channels: [usize; 2],
        gain: f64,
        attends: bool,
    ) -> Self {
        let [inputs, outputs] = channels;
        Self {
            time: dense(init, config.width, inputs),
            first: Convolution::new(init, inputs, outputs, gain),
            second: Convolution::new(init, outputs, outputs, gain),
            shortcut: (inputs != outputs).then(|| dense(init, inputs, outputs)),
            norm: GroupNorm::new(init, outputs, config.groups),
            attention: attends.then(|| PixelAttention::new(init, outputs, config.groups)),
        }
    }

    /// `x`: `[images, inputs, height, width]`, `time`: `[images, width]` -> `[images, outputs,
    /// height, width]`.
    ///
    /// The factors of the convolutions are rounded to `precision`.
    pub(super) fn forward(
        &self,
        x: Tensor<4>,
        time: &Tensor<2>,
        precision: Precision,
    ) -> Tensor<4> {
        let [images, inputs, ..] = x.dims();
        let straight = match &self.shortcut {
            Some(map) => linear_of_pixels(x.clone(), map.weight.val().transpose()),
            None => x.clone(),
        };
        let time = self.time.forward(time.clone()).reshape([images, inputs, 1, 1]);
        let h = swish(self.first.forward_in(x + time, precision));
        let y = self.norm.forward(straight + swish(self.second.forward_in(h, precision)));
        match &self.attention {
            Some(attention) => attention.forward(y),
            None => y,
        }
    }
}

impl Residual {
    /// Computes what [`forward`](Self::forward) computes, and again in the backward pass instead of
    /// keeping more than `x`: `[images, inputs, height, width]`, `time`: `[images, width]` ->
    /// `[images, outputs, height, width]`.
    pub(super) fn forward_checkpointed(
        &self,
        x: Tensor<4>,
        time: &Tensor<2>,
        precision: Precision,
    ) -> Tensor<4> {
        checkpointed(self, vec![x.into(), time.clone().into()], move |block: &Self, inputs| {
            let [x, time] = inputs.try_into().expect("two inputs");
            block.forward(x.into_tensor(), &time.into_tensor(), precision)
        })
    }

    /// Returns the scale and the offset of the norm, `[channels]` each.
    #[cfg(test)]
    pub(super) fn parameters(&self) -> [Tensor<1>; 2] {
        [self.norm.gamma.val(), self.norm.beta.val()]
    }
}

/// One head over all pixels of an image (Ho et al. 2020, arXiv:2006.11239, appendix B); it changes
/// nothing at first.
#[derive(Module, Debug)]
pub struct PixelAttention {
    norm: GroupNorm,
    joint: Linear,
    output: Linear,
}

impl PixelAttention {
    fn new(init: &mut Init, channels: usize, groups: usize) -> Self {
        let norm = GroupNorm::new(init, channels, groups);
        let joint = Linear::new(init, channels, 3 * channels, false);
        let output = Linear { weight: init.constant([channels, channels], 0.0), bias: None };
        Self { norm, joint, output }
    }

    /// `[images, channels, height, width]` -> the same shape.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, channels, height, width] = x.dims();
        let joint = self.joint.forward(as_tokens(self.norm.forward(x.clone())));
        let part = |at: usize| joint.clone().narrow(2, at * channels, channels);
        let scores = (part(0) * (channels as f64).powf(-0.5)).matmul(part(1).swap_dims(1, 2));
        let mixed = softmax(scores, 2).matmul(part(2));
        x + as_images(self.output.forward(mixed), [height, width])
    }
}
