//! Which of the published networks a model has, as plain data.

use mm_patch::RGB_CHANNELS;
use serde::{Deserialize, Serialize};

use super::{Classes, DitConfig, JitConfig, UvitConfig};
use crate::{ConfigError, TimeConfig};

/// A published transformer that only draws, with its sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum VitConfig {
    /// JiT: patches of pixels, the clean image predicted.
    Jit(JitConfig),
    /// U-ViT: long skips, and time and class as tokens.
    Uvit(UvitConfig),
    /// DiT: patches of latents.
    Dit(DitConfig),
}

/// More blocks, heads or channels than these fill no machine.
const MOST_BLOCKS: usize = 1 << 10;
const MOST_CHANNELS: usize = 1 << 16;

impl VitConfig {
    /// Checks every field that can be wrong.
    pub fn validate(&self, time: &TimeConfig) -> Result<(), ConfigError> {
        let sinusoidal = matches!(time, TimeConfig::Sinusoidal { .. });
        check("time.kind", sinusoidal, "table", "sinusoidal for a `vit`")?;
        match self {
            Self::Jit(jit) => jit.validate(),
            Self::Uvit(uvit) => uvit.validate(),
            Self::Dit(dit) => dit.validate(),
        }
    }

    /// Returns the classes that the network knows.
    pub fn classes(&self) -> &Classes {
        match self {
            Self::Jit(jit) => &jit.classes,
            Self::Uvit(uvit) => &uvit.classes,
            Self::Dit(dit) => &dit.classes,
        }
    }

    /// Returns the numbers of one pixel, or of one latent.
    pub fn channels(&self) -> usize {
        match self {
            Self::Dit(dit) => dit.channels,
            Self::Jit(_) | Self::Uvit(_) => RGB_CHANNELS,
        }
    }

    /// Returns the side of a latent in pixels; 1 for a network of pixels.
    pub fn factor(&self) -> usize {
        match self {
            Self::Dit(dit) => dit.codec.as_ref().map_or(1, |codec| codec.network.factor()),
            Self::Jit(_) | Self::Uvit(_) => 1,
        }
    }

    /// Returns rows and columns of patches, where the network has learned only one size.
    pub fn only_size(&self) -> Option<[usize; 2]> {
        match self {
            Self::Uvit(uvit) => Some([uvit.rows, uvit.cols]),
            Self::Jit(_) | Self::Dit(_) => None,
        }
    }

    /// Returns the least share of noise that a velocity is divided by; 0 for no limit.
    pub fn min_noise(&self) -> f64 {
        match self {
            Self::Jit(jit) => jit.min_noise,
            Self::Uvit(_) | Self::Dit(_) => 0.0,
        }
    }

    /// Returns the deviation of the noise.
    pub fn noise_scale(&self) -> f64 {
        match self {
            Self::Jit(jit) => jit.noise_scale,
            Self::Uvit(_) | Self::Dit(_) => 1.0,
        }
    }

    /// Counts the numbers that are learned, for patches of so many numbers; `time` gives those of an
    /// embedding of the time for a width.
    pub(crate) fn parameters(&self, numbers: f64, time: impl Fn(f64) -> f64) -> f64 {
        match self {
            Self::Jit(jit) => jit.parameters(numbers) + time(jit.width as f64),
            Self::Uvit(uvit) => uvit.parameters(numbers, self.channels() as f64),
            Self::Dit(dit) => dit.parameters(numbers, time(dit.width as f64)),
        }
    }
}

/// Fails with the field unless a condition holds.
pub(super) fn check(
    field: &'static str,
    holds: bool,
    found: impl ToString,
    wanted: &'static str,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Field { field, found: found.to_string(), wanted })
}

/// Checks the sizes that all networks have.
pub(super) fn check_heads(
    width: usize,
    depth: usize,
    heads: usize,
    inner: usize,
) -> Result<(), ConfigError> {
    let channels = 1..=MOST_CHANNELS;
    check("vit.width", channels.contains(&width), width, "1 to 65536 channels")?;
    check("vit.depth", (1..=MOST_BLOCKS).contains(&depth), depth, "1 to 1024 blocks")?;
    check("vit.inner", channels.contains(&inner), inner, "1 to 65536 channels")?;
    let divides = heads > 0 && width.is_multiple_of(4 * heads.min(MOST_CHANNELS));
    check("vit.heads", divides, heads, "a divisor of a quarter of `vit.width`")
}
