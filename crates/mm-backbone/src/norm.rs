//! Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv:1910.07467): `x / sqrt(mean(x²) + ε) · γ`.

use burn::module::Param;
use burn::prelude::*;

use crate::Init;

/// RMSNorm over the last axis, with a learnt scale and no offset.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[channels]`
    pub gamma: Param<Tensor<1>>,
    pub(crate) epsilon: f64,
}

impl RmsNorm {
    /// A norm of `channels` channels whose scale starts at one.
    pub fn new(init: &mut Init, channels: usize, epsilon: f64) -> Self {
        Self { gamma: init.constant([channels], 1.0), epsilon }
    }

    /// `[…, channels]` -> `[…, channels]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if let Some(y) = crate::ops::norm(&x, &self.gamma.val(), self.epsilon) {
            return y;
        }
        self.ordinary(x)
    }

    /// The definition, in ordinary operations.
    pub(crate) fn ordinary<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let rms = (x.clone().square().mean_dim(D - 1) + self.epsilon).sqrt();
        x / rms * self.gamma.val().unsqueeze()
    }
}
