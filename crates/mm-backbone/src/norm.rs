//! Normalisation of every token as a module: by the root of the mean square, or by mean and
//! deviation.

use burn::module::Param;
use burn::prelude::*;
use mm_kernels::{kernels_of, layer_norm};

use crate::{Init, transparent_module};

/// The norm of a stack. Its kind is not part of the names of its weights.
#[derive(Debug, Clone)]
pub(crate) enum Norm {
    Rms(RmsNorm),
    Layer(LayerNorm),
}

transparent_module!(Norm { Rms, Layer });

/// RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467) over the channels,
/// `x / sqrt(mean(x²) + ε) · γ`, with a learned scale and no offset.
///
/// ```
/// use burn::prelude::*;
/// use mm_backbone::{Init, RmsNorm};
///
/// let device = Device::flex();
/// let norm = RmsNorm::new(&mut Init::new(0, &device), 8, 1e-6);
/// let y = norm.forward(Tensor::ones([1, 2, 8], &device) * 5.0);
/// assert!((y.mean().into_scalar::<f32>() - 1.0).abs() < 1e-5);
/// ```
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[channels]`
    pub gamma: Param<Tensor<1>>,
    pub(crate) epsilon: f64,
}

/// LayerNorm (Ba, Kiros & Hinton 2016, arXiv:1607.06450) over the channels,
/// `(x - mean(x)) / sqrt(var(x) + ε) · γ + β`, with a learned scale and offset.
///
/// ```
/// use burn::prelude::*;
/// use mm_backbone::{Init, LayerNorm};
///
/// let device = Device::flex();
/// let norm = LayerNorm::new(&mut Init::new(0, &device), 2, 1e-6);
/// let y = norm.forward(Tensor::from_floats([[[3.0, 5.0]]], &device));
/// assert!((y.max().into_scalar::<f32>() - 1.0).abs() < 1e-5);
/// ```
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[channels]`
    pub gamma: Param<Tensor<1>>,
    /// `[channels]`
    pub beta: Param<Tensor<1>>,
    pub(crate) epsilon: f64,
}

impl RmsNorm {
    /// Makes a norm of `channels` channels whose scale starts at one.
    pub fn new(init: &mut Init, channels: usize, epsilon: f64) -> Self {
        Self { gamma: init.constant([channels], 1.0), epsilon }
    }

    /// Normalises every token, `[batch, tokens, channels]` -> the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        kernels_of(&x).rms_norm(x, &self.gamma.val(), self.epsilon)
    }
}

impl LayerNorm {
    /// Makes a norm of `channels` channels whose scale starts at one and whose offset at zero.
    pub fn new(init: &mut Init, channels: usize, epsilon: f64) -> Self {
        let (gamma, beta) = (init.constant([channels], 1.0), init.constant([channels], 0.0));
        Self { gamma, beta, epsilon }
    }

    /// Normalises every token, `[batch, tokens, channels]` -> the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        layer_norm(x, &self.gamma.val(), &self.beta.val(), self.epsilon)
    }
}

impl Norm {
    /// Makes the norm of a Persimmon block, or the usual one.
    pub(crate) fn new(init: &mut Init, channels: usize, epsilon: f64, is_persimmon: bool) -> Self {
        if is_persimmon {
            Self::Layer(LayerNorm::new(init, channels, epsilon))
        } else {
            Self::Rms(RmsNorm::new(init, channels, epsilon))
        }
    }

    /// Normalises every token, `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Rms(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }

    /// Returns the scale, `[channels]`.
    pub(crate) fn gamma(&self) -> Tensor<1> {
        match self {
            Self::Rms(norm) => norm.gamma.val(),
            Self::Layer(norm) => norm.gamma.val(),
        }
    }

    /// Returns the offset, `[channels]`, of a LayerNorm.
    pub(crate) fn beta(&self) -> Option<Tensor<1>> {
        match self {
            Self::Rms(_) => None,
            Self::Layer(norm) => Some(norm.beta.val()),
        }
    }
}
