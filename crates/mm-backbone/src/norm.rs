//! Normalisation over the channels as modules: RMSNorm, LayerNorm, and a choice of them.

use burn::module::Param;
use burn::prelude::*;
use mm_kernels::kernels_of;

use crate::{Init, transparent_module};

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

/// LayerNorm (Ba et al. 2016, arXiv:1607.06450) over the channels, `(x - mean(x)) / sqrt(var(x) + ε)
/// · γ + β`. Without scale and offset it is only the first factor.
///
/// ```
/// use burn::prelude::*;
/// use mm_backbone::{Init, LayerNorm};
///
/// let device = Device::flex();
/// let norm = LayerNorm::new(&mut Init::new(0, &device), 2, 1e-6);
/// let y = norm.forward(Tensor::<3>::from_floats([[[3.0, 7.0]]], &device));
/// assert!((y.max().into_scalar::<f32>() - 1.0).abs() < 1e-5);
/// ```
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[channels]`
    pub gamma: Option<Param<Tensor<1>>>,
    /// `[channels]`
    pub beta: Option<Param<Tensor<1>>>,
    pub(crate) epsilon: f64,
}

impl LayerNorm {
    /// Makes a norm of `channels` channels whose scale starts at one and whose offset at zero.
    pub fn new(init: &mut Init, channels: usize, epsilon: f64) -> Self {
        let gamma = Some(init.constant([channels], 1.0));
        Self { gamma, beta: Some(init.constant([channels], 0.0)), epsilon }
    }

    /// Makes a norm without scale and offset, which learns nothing.
    pub fn fixed(epsilon: f64) -> Self {
        Self { gamma: None, beta: None, epsilon }
    }

    /// Normalises every token, `[batch, tokens, channels]` -> the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let centered = x.clone() - x.mean_dim(2);
        let deviation = (centered.clone().square().mean_dim(2) + self.epsilon).sqrt();
        let mut y = centered / deviation;
        if let Some(gamma) = &self.gamma {
            y = y * gamma.val().unsqueeze();
        }
        match &self.beta {
            Some(beta) => y + beta.val().unsqueeze(),
            None => y,
        }
    }
}

/// A kind of norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// [`RmsNorm`].
    Rms,
    /// [`LayerNorm`] with a scale and an offset.
    Layer,
    /// [`LayerNorm`] without them.
    LayerFixed,
}

/// A norm of some kind, which is not part of the names of its weights.
#[derive(Debug, Clone)]
pub(crate) enum Norm {
    Rms(RmsNorm),
    Layer(LayerNorm),
}

transparent_module!(Norm { Rms, Layer });

impl Norm {
    pub(crate) fn new(init: &mut Init, kind: NormKind, channels: usize, epsilon: f64) -> Self {
        match kind {
            NormKind::Rms => Self::Rms(RmsNorm::new(init, channels, epsilon)),
            NormKind::Layer => Self::Layer(LayerNorm::new(init, channels, epsilon)),
            NormKind::LayerFixed => Self::Layer(LayerNorm::fixed(epsilon)),
        }
    }

    /// `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Rms(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}
