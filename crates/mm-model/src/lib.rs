//! The joined model: one transformer that takes text and raw pixels in, and gives text and raw
//! pixels out. A U-Net that only draws stands beside it, to compare with.
//!
//! ```text
//! Document ──► Sequence ──► Sample (noise) ──► HostBatch ──► Batch ──► Model ──► Losses
//! Document ──► GenerationSession ──► token, token, … [IMG] denoise, denoise, … [/IMG] token, …
//! ```
//!
//! Deliberately absent: optimizers, data sets, recipes, terminals. Files are touched in the module
//! `folder` alone, which stands behind the feature `fs`.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod batch;
mod codec;
mod collate;
mod config;
mod conversation;
mod document;
mod error;
#[cfg(feature = "fs")]
pub mod folder;
#[cfg(test)]
mod fuzz;
mod generate;
pub mod image_only;
mod latents;
mod layout;
mod loaded;
mod losses;
mod masks;
mod networks;
pub mod parameters;
mod plain;
pub mod random;
mod sequence;
pub mod stored;
mod unprompted;

pub use batch::{Batch, HostBatch, ImageNoise, Jump, Sample};
pub use codec::{CodeImage, LatentImage};
pub use collate::Collator;
pub use config::{
    BytesConfig, CodedConfig, ImageCodes, LatentConfig, ModelConfig, NetworkConfig, NetworkFields,
    TimeConfig, UnifiedConfig,
};
pub use conversation::{TURN_END, Turn};
pub use document::{Document, Segment};
pub use error::{ConfigError, DocumentError, FileError, FolderError, GenerateError};
pub use generate::{
    CaptionSwap, Color, Constrain, Deblur, EditError, Event, FromNoise, GenerateOptions,
    GenerationConfig, GenerationSession, ImageSampler, ImageToImage, Inpaint, JoinedPrefixes,
    Joining, Kernel, KnownTokens, Margins, Mask, MaskedArea, Measurement, Network, NetworkAnswer,
    NetworkCall, Prefix, Region, Restore, RoundTrip, SamplingMethod, SamplingPlan, SoftMask,
    SuperResolution, Unconstrained, Written, constrained_images_of, images_of, images_of_numbers,
    luma, numbers_of, outpaint,
};
pub use latents::LatentScale;
pub use layout::{ImageLayout, Order};
pub use loaded::{LoadedModel, ModelParts, config_to_bytes};
pub use losses::{
    ADVERSARIAL_LOSS, DISCRIMINATOR_LOSS, IMAGE_LOSS, LATENT_LOSS, LossTerm, Losses, Reduction,
    TEXT_LOSS, weighted_sum,
};
pub use mm_backbone::PositionScheme;
pub use networks::{
    Classes, DitConfig, JitConfig, Model, UnetConfig, UvitConfig, VitConfig, numbers_of_places,
};
pub use plain::plain_words;
pub use sequence::{ImageSpan, Sequence, Sequencer};

/// The example of the README, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
