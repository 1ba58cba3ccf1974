//! Image codecs: images to latents or codes, and back.
//!
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod attention;
mod convolution;
mod decoder;
mod encoder;
mod error;
mod kl;
mod norm;
mod residual;
mod sizes;

pub use error::CodecError;
pub use kl::{KlAutoencoder, KlConfig, Posterior};
pub use sizes::AutoencoderSizes;
