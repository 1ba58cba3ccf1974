//! The backbone: embedded tokens, two-dimensional positions and a mask in; tokens out. It knows neither pixels, token
//! ids nor noise levels.
//!
//! ```text
//! x [batch, tokens, channels] ──► block ──► block ──► … ──► RMSNorm ──► hidden [batch, tokens, channels]
//!                                  ▲
//!             Attend: rotary angles of every token + which keys each query may attend
//! ```
//!
//! Four kinds of block share one interface: the seed's [gated attention unit](BlockConfig::Gau) (Hua et al. 2022,
//! arXiv:2202.10447; Su 2024), the usual [multi-head block](BlockConfig::Transformer) with SwiGLU, and the latter with
//! [long skips](BlockConfig::Uvit) as in U-ViT or [modulated](BlockConfig::Dit) by a condition as in DiT.
//!
//! ```
//! use burn::prelude::*;
//! use mm_backbone::{Attend, Backbone, BackboneConfig, BlockConfig, Init, KeyRanges, PositionScheme, Positions};
//!
//! let config = BackboneConfig {
//!     width: 32,
//!     depth: 2,
//!     block: BlockConfig::Gau { expansion: 2, key_size: 16, bias: false },
//!     positions: PositionScheme::RopeTv,
//!     rotary_base: 10_000.0,
//!     norm_epsilon: 1e-6,
//! };
//! let device = Device::flex();
//! let backbone = Backbone::new(&config, &mut Init::new(0, &device)).unwrap();
//!
//! // One row: a text token, then an image of 1 x 2 patches whose patches see each other.
//! let mut positions = Positions::new(config.positions);
//! let mut places = vec![positions.text()];
//! places.extend(positions.image(1, 2));
//! let ranges = KeyRanges::new(1, 3, vec![[0, 1], [0, 3], [0, 3]]).unwrap();
//! let attend = Attend::new(&config, &places, ranges, &device);
//! let hidden = backbone.forward(Tensor::ones([1, 3, 32], &device), &attend);
//! assert_eq!(hidden.dims(), [1, 3, 32]);
//! ```
#![deny(missing_docs)]

mod attention;
mod backbone;
mod cache;
mod condition;
mod config;
mod convolution;
mod dit;
mod error;
#[cfg(feature = "flex")]
mod flex;
mod gau;
mod init;
mod linear;
mod mask;
mod norm;
mod ops;
mod positions;
mod rotary;
mod sizes;
mod transformer;
mod update;
mod uvit;
mod work_memory;

pub use backbone::Backbone;
pub use cache::{Cache, KeyValue};
pub use condition::Condition;
pub use config::{BackboneConfig, BlockConfig};
pub use convolution::convolution;
pub use error::BackboneError;
pub use init::{Init, InitLaw};
pub use linear::Linear;
pub use mask::KeyRanges;
pub use norm::RmsNorm;
pub use ops::has_kernels;
pub use positions::{PositionScheme, Positions};
pub use rotary::Attend;
pub use update::{AdamW, SumOfSquares, moving_average, sum_of_squares};
pub use work_memory::WorkMemory;
