//! The joined transformer, and what an image is to it: raw pixels, codes, bytes or latents.

use mm_backbone::BackboneConfig;
use mm_codec::{CodeConfig, KlConfig};
use serde::{Deserialize, Serialize};

use crate::{ImageLayout, Order};

/// The transformer, and what is between it and raw pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct UnifiedConfig {
    /// Whether the maps to and from patches have biases (Su's script: no).
    pub patch_bias: bool,
    /// Rows and columns that have a learned embedding added to their patches, beside the rotary
    /// positions (Li and He 2025, arXiv:2511.13720, add absolute positions too); 0 for none, as in
    /// `su2024`.
    pub patch_pos_embed: usize,
    /// Whether a 3x3 convolution over the pixels of each image follows the map to patches, as in
    /// U-ViT (Bao et al. 2022); it starts as the identity and can smooth the borders of patches.
    pub patch_convolution: bool,
    /// The blocks.
    pub backbone: BackboneConfig,
}

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

    /// Returns how many token ids follow the words: one for every code, and one that stands for
    /// codes which are masked.
    pub fn token_ids(&self) -> usize {
        self.codes.count() + usize::from(self.order.is_masked()) // the last is that of `mask`
    }

    /// Returns the token id that stands for a masked code behind so many words, if codes are
    /// masked.
    pub fn mask(&self, words: usize) -> Option<u32> {
        self.order.is_masked().then(|| (words + self.codes.count()) as u32)
    }

    /// Returns which places the codes of an image take.
    pub fn layout(&self) -> ImageLayout {
        ImageLayout { order: self.order, each_value: self.codec().is_none() }
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
