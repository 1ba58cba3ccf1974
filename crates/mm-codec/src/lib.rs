//! Image codecs: images to latents or codes, and back.
//!
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod attention;
mod code;
mod codebook;
mod codec;
mod convolution;
mod decoder;
mod discriminator;
mod encoder;
mod error;
mod fsq;
#[cfg(test)]
mod gradients;
mod kl;
mod norm;
mod queries;
mod residual;
mod sizes;
mod work;

pub use code::{CodeAutoencoder, CodeConfig, QuantizerConfig};
pub use codebook::{Codebook, CodebookConfig};
pub use codec::{CellGrid, Codec, CodecConfig, CodecPass, ImageCodec, RawPatches};
pub use discriminator::{Adversarial, DiscriminatorConfig};
pub use error::CodecError;
pub use fsq::{Fsq, FsqActivation};
pub use kl::{KlAutoencoder, KlConfig, Posterior};
pub use queries::QueriesConfig;
pub use sizes::AutoencoderSizes;
pub use work::CodecWork;
