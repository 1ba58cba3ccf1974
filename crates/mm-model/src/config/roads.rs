//! What an image is to the joined transformer, if it is not raw pixels: codes, bytes or latents.

use mm_codec::{CodeConfig, KlConfig};
use serde::{Deserialize, Serialize};

use super::UnifiedConfig;
use crate::{ImageLayout, Order};

/// A transformer over words and codes, and what makes codes of images.
#[derive(Debug, Clone, PartialEq)]
pub struct CodedConfig {
    /// The transformer.
    pub unified: UnifiedConfig,
    /// What a code is.
    pub codes: ImageCodes,
    /// The order in which the patches of an image are written.
    pub order: Order,
}

/// What a code of an image is.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageCodes {
    /// A cell of a codec.
    Codec(CodeConfig),
    /// A byte of a pixel.
    Bytes(BytesConfig),
}

/// How the bytes of pixels are codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BytesConfig {
    /// The number of levels that bytes are rounded to, evenly spaced; 256 keeps every byte.
    #[serde(default = "all_levels")]
    pub levels: usize,
    /// How many tokens a token sees, itself included: the local half of the Sparse Transformer's
    /// strided pattern (Child et al. 2019, arXiv:1904.10509, section 4.3), in every block. 0 for
    /// all. A prompt that is further away is not seen.
    #[serde(default)]
    pub window: usize,
}

fn all_levels() -> usize {
    256
}

impl Default for BytesConfig {
    fn default() -> Self {
        Self { levels: all_levels(), window: 0 }
    }
}

/// A transformer over words and latents, and the codec of the latents.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentConfig {
    /// The transformer, whose patches are squares of cells.
    pub unified: UnifiedConfig,
    /// The codec.
    pub codec: KlConfig,
}

impl CodedConfig {
    /// Returns the codec; there is none where bytes are codes.
    pub fn codec(&self) -> Option<&CodeConfig> {
        match &self.codes {
            ImageCodes::Codec(codec) => Some(codec),
            ImageCodes::Bytes(_) => None,
        }
    }

    /// Returns which places the codes of an image take.
    pub fn layout(&self) -> ImageLayout {
        ImageLayout { order: self.order, numbers: self.codec().is_none() }
    }
}

impl ImageCodes {
    /// Returns how many codes there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Codec(codec) => codec.codes(),
            Self::Bytes(bytes) => bytes.levels,
        }
    }

    /// Returns how many tokens a token sees, unless it sees all before it.
    pub fn window(&self) -> Option<usize> {
        match self {
            Self::Bytes(bytes) if bytes.window > 0 => Some(bytes.window),
            _ => None,
        }
    }
}
