//! Kernels of transformer blocks behind one trait, on every backend.
//!
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod adamw;
mod blocks;
mod choice;
mod context;
#[cfg(feature = "cube")]
mod cube;
mod device;
#[cfg(feature = "flex")]
mod flex;
mod gate;
mod instructions;
mod kernels;
#[cfg(feature = "mmap")]
mod mapped;
mod mask;
mod options;
mod own_gradient;
mod reading;
mod rotary;
#[cfg(test)]
mod testing;
mod update;
mod work_memory;

pub use adamw::AdamW;
pub use blocks::{
    BlockModulation, BranchModulation, GauWeights, KeyValue, KvUpdate, LinearWeights,
    MultiHeadBiases, MultiHeadWeights, ScaleOffset, modulate,
};
pub use choice::{
    convolution, doubled, group_norm, halved, has_fused_blocks, kernels_for, kernels_of, register,
    swish,
};
pub use context::AttentionContext;
pub use gate::Gate;
pub use instructions::InstructionSet;
pub use kernels::{
    BlockKernels, GroupMembers, GroupNormOptions, Reference, gelu, layer_norm, linear,
    linear_of_pixels, rms_norm, standardized,
};
#[cfg(feature = "mmap")]
pub use mapped::{MappedFile, map_file};
pub use mask::{KeyRanges, KeyRangesError};
pub use options::{BlockOptions, Precision};
pub use own_gradient::{AnyTensor, checkpointed};
pub use reading::read_together;
pub use rotary::{AxisFrequency, RotaryTables};
pub use update::{SumOfSquares, moving_average, moving_average_if, sum_of_squares};
pub use work_memory::{WorkArrays, WorkMemory};
