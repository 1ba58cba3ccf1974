//! The backbone's sizes as plain data; every other size is derived.

use serde::{Deserialize, Serialize};

use crate::{BackboneError, PositionScheme};

/// Sizes and choices of a [`Backbone`](crate::Backbone).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// The kind of block and its sizes.
    pub block: BlockConfig,
    /// How text and patches are placed on the plane, and which channels turn with rows and which with columns.
    pub positions: PositionScheme,
    /// Base of the rotary frequencies: 10000 for text and mixed documents, 1000 in the seed.
    pub rotary_base: f64,
    /// Added to the mean square in every RMSNorm.
    pub norm_epsilon: f64,
}

/// The kind of residual block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BlockConfig {
    /// Gated attention unit: one head, one projection, attention and feed-forward in one.
    Gau {
        /// Channels of the gate and the values, in multiples of the width (the seed: 2).
        expansion: usize,
        /// Channels of queries and keys (the seed: 128).
        key_size: usize,
        /// Whether the projections and the scale-offsets have biases (the seed: yes).
        bias: bool,
    },
    /// Multi-head attention with normalised queries and keys, then SwiGLU.
    Transformer {
        /// Query heads; the head's size is width / heads.
        heads: usize,
        /// Key and value heads, each shared by heads / key_heads query heads.
        key_heads: usize,
        /// Hidden channels of the feed-forward.
        feed_forward: usize,
    },
    /// The same blocks with U-ViT's long skip connections (Bao et al. 2022): each block of the second half is joined with
    /// its mirror in the first. `depth` is odd, so that one block stands in the middle.
    Uvit {
        /// Query heads; the head's size is width / heads.
        heads: usize,
        /// Key and value heads, each shared by heads / key_heads query heads.
        key_heads: usize,
        /// Hidden channels of the feed-forward.
        feed_forward: usize,
    },
    /// The same blocks modulated by a condition, as DiT's with adaLN-Zero are (Peebles & Xie 2022): norms are shifted and scaled
    /// and branches gated by a linear map of each token's condition that starts at zero.
    Dit {
        /// Query heads; the head's size is width / heads.
        heads: usize,
        /// Key and value heads, each shared by heads / key_heads query heads.
        key_heads: usize,
        /// Hidden channels of the feed-forward.
        feed_forward: usize,
    },
}

impl BlockConfig {
    /// Whether blocks of this kind ask for a [`Condition`](crate::Condition).
    pub fn is_conditioned(&self) -> bool {
        matches!(self, Self::Dit { .. })
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
            BlockConfig::Gau { expansion, key_size, bias: _ } => {
                nonzero("expansion", expansion)?;
                nonzero("key_size", key_size)?;
                multiple("key_size", key_size, 4)
            }
            BlockConfig::Transformer { heads, key_heads, feed_forward }
            | BlockConfig::Uvit { heads, key_heads, feed_forward }
            | BlockConfig::Dit { heads, key_heads, feed_forward } => {
                nonzero("heads", heads)?;
                nonzero("key_heads", key_heads)?;
                nonzero("feed_forward", feed_forward)?;
                multiple("heads", heads, key_heads)?;
                multiple("width", self.width, heads.saturating_mul(4))?;
                let uvit = matches!(self.block, BlockConfig::Uvit { .. });
                if uvit && self.depth.is_multiple_of(2) {
                    return Err(BackboneError::Even { field: "depth", found: self.depth });
                }
                Ok(())
            }
        }
    }

    /// Channels of one query or key, the number that rotary embedding turns.
    pub fn rotary_channels(&self) -> usize {
        match self.block {
            BlockConfig::Gau { key_size, .. } => key_size,
            BlockConfig::Transformer { heads, .. }
            | BlockConfig::Uvit { heads, .. }
            | BlockConfig::Dit { heads, .. } => self.width / heads,
        }
    }

    /// Long skip connections of the stack.
    pub(crate) fn skips(&self) -> usize {
        if matches!(self.block, BlockConfig::Uvit { .. }) { self.depth / 2 } else { 0 }
    }

    /// Numbers that are learnt. They are counted in 64-bit floats, which hold every count that fits a machine exactly, so that
    /// sizes without sense give the largest number and no overflow.
    pub fn parameters(&self) -> usize {
        let [width, depth, skips, modulations] =
            [self.width, self.depth, self.skips(), self.modulations()].map(|size| size as f64);
        let block = match self.block {
            BlockConfig::Gau { expansion, key_size, bias } => {
                let (expanded, key_size) = (expansion as f64 * width, key_size as f64);
                let joint = 2.0 * expanded + key_size;
                let biases = if bias { joint + 2.0 * key_size + width } else { 0.0 };
                width + width * joint + 2.0 * key_size + expanded * width + biases
            }
            BlockConfig::Transformer { heads, key_heads, feed_forward }
            | BlockConfig::Uvit { heads, key_heads, feed_forward }
            | BlockConfig::Dit { heads, key_heads, feed_forward } => {
                let head = (self.width / heads) as f64;
                let [heads, key_heads, feed] = [heads, key_heads, feed_forward].map(|n| n as f64);
                let norms = 2.0 * width + 2.0 * head;
                norms + width * (2.0 * heads + 2.0 * key_heads) * head + 3.0 * width * feed
            }
        };
        let skips = skips * (2.0 * width + 1.0) * width;
        (depth * block + width + skips + modulations * (width + 1.0) * width) as usize
    }

    /// Vectors of `width` that modulate a token, in all blocks and the closing norm.
    pub(crate) fn modulations(&self) -> usize {
        if !self.block.is_conditioned() {
            return 0;
        }
        self.depth.saturating_mul(6).saturating_add(2)
    }

    /// Multiplications and additions of one forward pass over `tokens` tokens that all see each other; a training step
    /// costs three times as much.
    pub fn flops(&self, tokens: usize) -> u64 {
        self.flops_of(tokens as f64, (tokens * tokens) as f64) as u64
    }

    /// Numbers that the key-value cache holds for one token.
    pub fn cache_numbers_per_token(&self) -> usize {
        let block = match self.block {
            BlockConfig::Gau { expansion, key_size, .. } => key_size + expansion * self.width,
            BlockConfig::Transformer { heads, key_heads, .. }
            | BlockConfig::Uvit { heads, key_heads, .. }
            | BlockConfig::Dit { heads, key_heads, .. } => 2 * key_heads * (self.width / heads),
        };
        self.depth * block
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
            block: BlockConfig::Gau { expansion: 2, key_size: 128, bias: true },
            positions: PositionScheme::Halves,
            rotary_base: 1000.0,
            norm_epsilon: 1e-7,
        }
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
            |c| c.block = BlockConfig::Gau { expansion: 2, key_size: 6, bias: true },
            "`key_size` is 6, it must be a multiple of 4",
        );
        check(
            |c| c.block = BlockConfig::Transformer { heads: 5, key_heads: 5, feed_forward: 8 },
            "`width` is 768, it must be a multiple of 20",
        );
        check(
            |c| c.block = BlockConfig::Uvit { heads: 12, key_heads: 12, feed_forward: 8 },
            "`depth` is 24, it must be odd",
        );
        assert_eq!(gau().validate(), Ok(()));
    }

    #[test]
    fn parameters_are_counted_as_they_are_made() {
        use burn::module::Module;
        use burn::prelude::Device;
        let (heads, key_heads, feed_forward) = (4, 2, 40);
        let blocks = [
            BlockConfig::Gau { expansion: 2, key_size: 8, bias: true },
            BlockConfig::Gau { expansion: 3, key_size: 8, bias: false },
            BlockConfig::Transformer { heads, key_heads, feed_forward },
            BlockConfig::Uvit { heads, key_heads, feed_forward },
            BlockConfig::Dit { heads, key_heads, feed_forward },
        ];
        for block in blocks {
            let config = BackboneConfig { width: 32, depth: 5, block, ..gau() };
            let mut init = crate::Init::new(0, &Device::flex());
            let made = crate::Backbone::new(&config, &mut init).unwrap().num_params();
            assert_eq!(config.parameters(), made, "{config:?}");
        }
    }

    #[test]
    fn sizes_without_sense_are_counted_without_overflow() {
        let (heads, key_heads, feed_forward) = (1, 1, usize::MAX);
        for block in [
            BlockConfig::Gau { expansion: usize::MAX, key_size: 4, bias: true },
            BlockConfig::Dit { heads, key_heads, feed_forward },
        ] {
            let config = BackboneConfig { width: 1 << 62, depth: usize::MAX, block, ..gau() };
            assert_eq!((config.validate(), config.parameters()), (Ok(()), usize::MAX));
        }
        let heads = BlockConfig::Transformer { heads: usize::MAX, key_heads: 1, feed_forward: 1 };
        assert!(BackboneConfig { block: heads, ..gau() }.validate().is_err());
    }

    #[test]
    fn the_seed_costs_about_fifty_gflop_for_256_tokens() {
        let gflop = gau().flops(256) as f64 / 1e9;
        assert!((45.0..55.0).contains(&gflop), "{gflop}");
        assert_eq!(gau().cache_numbers_per_token(), 39_936);
    }
}
