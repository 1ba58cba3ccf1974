//! The joined model: one transformer that takes text and raw pixels in, and gives text and raw pixels out. A U-Net of images
//! alone stands beside it, to compare with.
//!
//! ```text
//! Document ──► Sequence ──► Sample (noise) ──► HostBatch ──► Batch ──► Model ──► Losses
//! Document ──► Sequence ──► cache ──► token, token, … [IMG] denoise, denoise, … [/IMG] token, …
//! ```
//!
//! Deliberately absent: optimizers, data sets, terminals. Files are touched in [`folder`] alone.
#![deny(missing_docs)]

pub mod batch;
mod canvas;
mod collate;
mod config;
mod convolution;
mod decoder;
mod document;
mod draw;
mod error;
pub mod folder;
#[cfg(test)]
mod fuzz;
mod generate;
mod generation_config;
pub mod image_only;
mod joint;
pub mod keras;
mod losses;
mod model;
pub mod parameters;
mod pixels;
pub mod random;
mod sequence;
mod time;
mod unet;

pub use batch::{Batch, HostBatch, ImageNoise, Sample};
pub use canvas::{Canvas, Method, Walk};
pub use collate::Collator;
pub use config::{ModelConfig, TimeConfig, is_no_backbone, no_backbone};
pub use document::{Document, Segment};
pub use error::{ConfigError, DocumentError, FolderError, GenerateError};
pub use folder::LoadedModel;
pub use generate::{Event, GenerateOptions};
pub use generation_config::GenerationConfig;
pub use losses::{Losses, Reduction};
pub use model::Model;
pub use sequence::{ImageSpan, Sequence, Sequencer};
pub use unet::UnetConfig;
