//! The backbone's sizes as plain data; every other size is derived.

use serde::{Deserialize, Serialize};

use crate::{BackboneError, PositionScheme};

/// Sizes and choices of a [`Backbone`](crate::Backbone).
///
/// ```
/// use mm_backbone::{
///     BackboneConfig, BlockConfig, MultiHeadConfig, MultiHeadVariant, PositionScheme,
/// };
///
/// let config = BackboneConfig {
///     width: 64,
///     depth: 4,
///     block: BlockConfig::MultiHead(MultiHeadConfig {
///         variant: MultiHeadVariant::Plain,
///         heads: 4,
///         key_heads: 2,
///         feed_forward: 176,
///     }),
///     positions: PositionScheme::RopeTv,
///     rotary_base: 10_000.0,
///     norm_epsilon: 1e-6,
/// };
/// assert_eq!(config.validate(), Ok(()));
/// assert_eq!(config.rotary_channels(), 16);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// The kind of block and its sizes.
    pub block: BlockConfig,
    /// How text and patches are placed on the plane, and which channels turn with which axis.
    pub positions: PositionScheme,
    /// Base of the rotary frequencies: 10000 for text and mixed documents, 1000 in `su2024`.
    pub rotary_base: f64,
    /// The number added to the mean square in every RMSNorm.
    pub norm_epsilon: f64,
}

/// The kind of residual block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum BlockConfig {
    /// Gated attention unit: one head, one projection, attention and feed-forward in one.
    Gau(GauConfig),
    /// Multi-head attention with normalised queries and keys, then SwiGLU.
    MultiHead(MultiHeadConfig),
}

/// Sizes of a gated attention unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GauConfig {
    /// Channels of the gate and the values, in multiples of the width (2 in `su2024`).
    pub expansion: usize,
    /// Channels of queries and keys (128 in `su2024`).
    pub key_size: usize,
    /// Whether the projections and the scale-offsets have biases (true in `su2024`).
    pub bias: bool,
}

/// Sizes of a multi-head block, and what is around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiHeadConfig {
    /// What the stack adds to the blocks.
    #[serde(default)]
    pub variant: MultiHeadVariant,
    /// Query heads; a head has width / heads channels.
    pub heads: usize,
    /// Key and value heads, each shared by heads / key_heads query heads.
    pub key_heads: usize,
    /// Hidden channels of the feed-forward half.
    pub feed_forward: usize,
}

/// What a stack of multi-head blocks adds to its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MultiHeadVariant {
    /// Nothing.
    #[default]
    Plain,
    /// U-ViT's long skip connections (Bao et al. 2022): each block of the second half is joined
    /// with its mirror in the first. `depth` is odd, so that one block stands in the middle.
    Uvit,
    /// DiT's modulation by a condition, adaLN-Zero (Peebles & Xie 2022): norms are shifted and
    /// scaled, and branches gated, by a linear map of each token's condition that starts at zero.
    Dit,
    /// The block of Persimmon and Fuyu (Adept 2023): every norm is a LayerNorm with an offset, even
    /// of queries and keys; every map has a bias; the feed-forward half squares a ReLU and has no
    /// gate; half of the channels of a head turn with the position. Each query head has a key head
    /// of its own.
    Persimmon,
}

impl BlockConfig {
    /// Says whether blocks of this kind ask for a [`Condition`](crate::Condition).
    pub fn is_conditioned(&self) -> bool {
        self.is_variant(MultiHeadVariant::Dit)
    }

    /// Says whether the stack has long skip connections.
    pub(crate) fn has_skips(&self) -> bool {
        self.is_variant(MultiHeadVariant::Uvit)
    }

    /// Says whether norms are LayerNorms, maps have biases, and nothing gates.
    pub fn is_persimmon(&self) -> bool {
        self.is_variant(MultiHeadVariant::Persimmon)
    }

    fn is_variant(&self, wanted: MultiHeadVariant) -> bool {
        matches!(self, Self::MultiHead(config) if config.variant == wanted)
    }
}

impl BackboneConfig {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), BackboneError> {
        nonzero("width", self.width)?;
        nonzero("depth", self.depth)?;
        positive("rotary_base", self.rotary_base)?;
        positive("norm_epsilon", self.norm_epsilon)?;
        match self.block {
            BlockConfig::Gau(GauConfig { expansion, key_size, bias: _ }) => {
                nonzero("expansion", expansion)?;
                nonzero("key_size", key_size)?;
                multiple("key_size", key_size, 4)
            }
            BlockConfig::MultiHead(MultiHeadConfig { variant, heads, key_heads, feed_forward }) => {
                nonzero("heads", heads)?;
                nonzero("key_heads", key_heads)?;
                nonzero("feed_forward", feed_forward)?;
                multiple("heads", heads, key_heads)?;
                multiple("width", self.width, heads.saturating_mul(4))?;
                if variant == MultiHeadVariant::Uvit && self.depth.is_multiple_of(2) {
                    return Err(BackboneError::Even { field: "depth", found: self.depth });
                }
                if variant == MultiHeadVariant::Persimmon {
                    multiple("key_heads", key_heads, heads)?;
                }
                Ok(())
            }
        }
    }

    /// Returns the channels of one query or key, which is what rotary embedding turns.
    pub fn rotary_channels(&self) -> usize {
        match &self.block {
            BlockConfig::Gau(gau) => gau.key_size,
            BlockConfig::MultiHead(config) => self.width / config.heads,
        }
    }
}

fn nonzero(field: &'static str, found: usize) -> Result<(), BackboneError> {
    if found == 0 { Err(BackboneError::Zero { field }) } else { Ok(()) }
}

fn multiple(field: &'static str, found: usize, of: usize) -> Result<(), BackboneError> {
    if found.is_multiple_of(of) {
        Ok(())
    } else {
        Err(BackboneError::NotMultiple { field, found, of })
    }
}

fn positive(field: &'static str, found: f64) -> Result<(), BackboneError> {
    if found.is_finite() && found > 0.0 {
        Ok(())
    } else {
        Err(BackboneError::NotPositive { field, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gau() -> BackboneConfig {
        BackboneConfig {
            width: 768,
            depth: 24,
            block: BlockConfig::Gau(GauConfig { expansion: 2, key_size: 128, bias: true }),
            positions: PositionScheme::Halves,
            rotary_base: 1000.0,
            norm_epsilon: 1e-7,
        }
    }

    fn multi_head(variant: MultiHeadVariant, heads: usize) -> BlockConfig {
        let key_heads = heads;
        BlockConfig::MultiHead(MultiHeadConfig { variant, heads, key_heads, feed_forward: 8 })
    }

    #[test]
    fn a_wrong_size_is_named() {
        let check = |change: fn(&mut BackboneConfig), message: &str| {
            let mut config = gau();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        };
        check(|c| c.depth = 0, "`depth` is 0, it must be at least 1");
        check(|c| c.rotary_base = -1.0, "`rotary_base` is -1, it must be a positive number");
        check(
            |c| c.block = BlockConfig::Gau(GauConfig { expansion: 2, key_size: 6, bias: true }),
            "`key_size` is 6, it must be a multiple of 4",
        );
        check(
            |c| c.block = multi_head(MultiHeadVariant::Plain, 5),
            "`width` is 768, it must be a multiple of 20",
        );
        check(
            |c| c.block = multi_head(MultiHeadVariant::Uvit, 12),
            "`depth` is 24, it must be odd",
        );
        assert_eq!(gau().validate(), Ok(()));
    }
}
