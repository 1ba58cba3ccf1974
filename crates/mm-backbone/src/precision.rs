//! The type that blocks multiply in. Weights, the residual stream, norms, rotations and softmax stay 32-bit; what goes into a
//! product, and what is kept of it for the backward pass, may have 16 bits (Micikevicius et al. 2018, arXiv:1710.03740; Kalamkar
//! et al. 2019, arXiv:1905.12322).
//!
//! A [`Linear`](crate::Linear) map computes in the type of its input, so a block only says where its activations are narrowed
//! and widened. Casts pass gradients on in the type that they came from: those of weights are 32-bit again.

use burn::prelude::*;
use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

/// The floating-point type of the activations inside blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// What the weights are; the CPU's fused kernels compute in this alone.
    #[default]
    F32,
    /// 16 bits with the range of 32 and a mantissa of 8: no loss needs to be scaled.
    Bf16,
}

impl Precision {
    /// As recipes write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Burn's name of the type.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    /// For a product, `[…]`: rounded to 16 bits, or as it is.
    pub(crate) fn narrow<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => x,
            Self::Bf16 => x.cast(FloatDType::BF16),
        }
    }

    /// For a sum, a norm or a softmax, `[…]`: 32 bits again, or as it is.
    pub(crate) fn widen<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => x,
            Self::Bf16 => x.cast(FloatDType::F32),
        }
    }
}
