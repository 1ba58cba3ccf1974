//! The norms of blocks that only draw: RMSNorm, or LayerNorm (Ba et al. 2016, arXiv:1607.06450)
//! with or without a learned scale and offset.

use burn::module::Param;
use burn::prelude::*;
use mm_kernels::standardized;

use crate::{Init, RmsNorm, transparent_module};

/// A kind of norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// [`RmsNorm`].
    Rms,
    /// LayerNorm with a scale and an offset.
    Layer,
    /// LayerNorm without them.
    LayerFixed,
}

/// A norm of some kind, which is not part of the names of its weights.
#[derive(Debug, Clone)]
pub(super) enum BlockNorm {
    Rms(RmsNorm),
    Layer(Centered),
}

transparent_module!(BlockNorm { Rms, Layer });

/// LayerNorm: `(x - mean(x)) / sqrt(var(x) + ε) · γ + β`.
#[derive(Module, Debug)]
pub(super) struct Centered {
    /// `[channels]`
    gamma: Option<Param<Tensor<1>>>,
    /// `[channels]`
    beta: Option<Param<Tensor<1>>>,
    epsilon: f64,
}

impl BlockNorm {
    /// Makes a norm of `channels` channels, whose scale starts at one and whose offset at zero.
    pub fn new(init: &mut Init, kind: NormKind, channels: usize, epsilon: f64) -> Self {
        let learns = kind == NormKind::Layer;
        match kind {
            NormKind::Rms => Self::Rms(RmsNorm::new(init, channels, epsilon)),
            NormKind::Layer | NormKind::LayerFixed => Self::Layer(Centered {
                gamma: learns.then(|| init.constant([channels], 1.0)),
                beta: learns.then(|| init.constant([channels], 0.0)),
                epsilon,
            }),
        }
    }

    /// Normalises every token, `[images, tokens, channels]` -> the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Rms(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}

impl Centered {
    /// `[images, tokens, channels]` -> the same shape.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let mut y = standardized(x, self.epsilon);
        if let Some(gamma) = &self.gamma {
            y = y * gamma.val().unsqueeze();
        }
        match &self.beta {
            Some(beta) => y + beta.val().unsqueeze(),
            None => y,
        }
    }
}
