//! How blocks compute: the type they multiply in, and what they keep for the backward pass.
//!
//! Weights, the residual stream, norms, rotations and softmax stay 32-bit; what goes into a
//! product, and what is kept of it for the backward pass, may have 16 bits (Micikevicius et al.
//! 2018, arXiv:1710.03740; Kalamkar et al. 2019, arXiv:1905.12322). A linear map computes in the
//! type of its input, so a block only says where its activations are narrowed and widened. Casts
//! pass gradients on in the type that they came from, so those of weights are 32-bit again.

use burn::prelude::*;
use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use crate::InstructionSet;

/// The choices of a caller that change how blocks compute and not what they compute.
///
/// ```
/// use mm_kernels::{BlockOptions, Precision};
///
/// let options = BlockOptions { precision: Precision::Bf16, ..BlockOptions::default() };
/// assert!(!options.activation_checkpointing);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockOptions {
    /// The type that blocks multiply in. The device must
    /// [calculate](Device::supports_dtype) in it.
    pub precision: Precision,
    /// Whether a block keeps nothing for the backward pass but its input and computes its forward
    /// pass again (Chen et al. 2016, arXiv:1604.06174). [Fused](crate::BlockKernels::fuses_blocks)
    /// blocks do so themselves; device operations go on keeping what they need, unless a caller
    /// runs them within [`checkpointed`](crate::checkpointed).
    pub activation_checkpointing: bool,
}

/// The floating-point type of the activations inside blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The type of the weights.
    #[default]
    F32,
    /// 16 bits with the range of 32 and a mantissa of 8, so that no loss needs to be scaled. The
    /// fused kernels of the CPU round the factors of products to it and keep all else in 32 bits.
    Bf16,
    /// 16 bits with a mantissa of 11 and numbers of at most 65504, so that a loss must be scaled
    /// for small gradients not to vanish. No device has fused kernels for it.
    F16,
}

impl Precision {
    /// All types, the widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Returns the type in which blocks are fastest on a device without a loss of quality that was
    /// ever measured: bf16 on a CPU that multiplies it in vectors, f32 elsewhere.
    pub fn fastest(device: &Device) -> Self {
        if crate::device::is_flex(device) && InstructionSet::has_bf16() {
            Self::Bf16
        } else {
            Self::F32
        }
    }

    /// Returns the name that recipes use.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Returns Burn's name of the type.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }

    /// Rounds the factor `[…]` of a product to this type.
    pub fn narrow<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => x,
            Self::Bf16 | Self::F16 => x.cast(self.dtype()),
        }
    }

    /// Brings `[…]` back to 32 bits, for a sum, a norm or a softmax.
    pub fn widen<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => x,
            Self::Bf16 | Self::F16 => x.cast(FloatDType::F32),
        }
    }
}
