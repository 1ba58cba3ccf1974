//! The stack of transformer blocks between embedded tokens and hidden states.
//!
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod backbone;
mod block;
mod cache;
mod checkpointing;
mod condition;
mod config;
mod dit;
mod error;
mod gau;
mod init;
mod linear;
mod multi_head;
mod norm;
pub mod parameters;
mod positions;
mod rotary;
mod sizes;
mod transparent;
mod uvit;
mod vision;

pub use backbone::Backbone;
pub use cache::Cache;
pub use checkpointing::checkpointed;
pub use condition::Condition;
pub use config::{BackboneConfig, BlockConfig, GauConfig, MultiHeadConfig, MultiHeadVariant};
pub use error::BackboneError;
pub use init::{Init, InitLaw};
pub use linear::Linear;
pub use mm_kernels::{
    AnyTensor, AttentionContext, BlockOptions, KeyRanges, KeyRangesError, KeyValue, Precision,
};
pub use norm::{LayerNorm, RmsNorm};
pub use positions::{PositionScheme, Positions};
pub use uvit::LongSkip;
pub use vision::{MlpKind, NormKind, VisionBlock, VisionBlockConfig, VisionNorm};
