//! What one block keeps on a device that has no fused kernels, from forward to backward: the
//! outputs of recorded operations, with attention in tiles. Counted from the operations of
//! `mm-kernels/src/kernels`, and compared with the memory that a device reports.

use mm_backbone::{BackboneConfig, BlockConfig, GauConfig, MultiHeadConfig, MultiHeadVariant};
use mm_kernels::Precision;

/// The most scores of a tile of attention, over all rows and heads.
const TILE: f64 = 8_388_608.0;
/// The arrays of scores that the backward pass of a tile holds at once.
const TILE_ARRAYS: f64 = 4.0;

/// The bytes of one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BlockBytes {
    /// What a token keeps for the backward pass, the input of the block included.
    pub kept: f64,
    /// What a token takes while gradients are computed.
    pub backward: f64,
    /// The attention heads.
    heads: f64,
}

impl BlockBytes {
    /// Counts the bytes of a block of the stack, whose products have the type.
    pub fn of(backbone: &BackboneConfig, precision: Precision) -> Self {
        let short = match precision {
            Precision::F32 => 4.0,
            Precision::Bf16 | Precision::F16 => 2.0,
        };
        let width = backbone.width as f64;
        match backbone.block {
            BlockConfig::Gau(GauConfig { expansion, key_size, .. }) => {
                let (expanded, key) = (expansion as f64 * width, key_size as f64);
                let projected = 2.0 * expanded + key;
                // The input, divided by its norm, and normalised; what is projected, its sigmoid
                // and their product in parts; queries and keys; what is mixed, and gated.
                let kept =
                    (8.0 + short) * width + short * (3.0 * projected + 2.0 * key + 2.0 * expanded);
                let backward = 4.0 * (2.0 * width + 2.0 * projected + 2.0 * expanded);
                Self { kept, backward, heads: 1.0 }
            }
            BlockConfig::MultiHead(MultiHeadConfig { variant, heads, key_heads, feed_forward }) => {
                let keys = width * key_heads as f64 / heads as f64;
                let inner = feed_forward as f64;
                // The input and what is behind attention, each also divided by its norm and
                // normalised; queries and keys before and behind their norm, and turned; values;
                // what attention gives, twice; five arrays of the feed-forward half.
                let kept =
                    (24.0 + 5.0 * short) * width + (8.0 + 2.0 * short) * keys + 5.0 * short * inner;
                // Each half of a modulated block keeps its factors and what they multiply.
                let modulated = if variant == MultiHeadVariant::Dit { 32.0 * width } else { 0.0 };
                let backward = 4.0 * (5.0 * width + 4.0 * inner);
                Self { kept: kept + modulated, backward, heads: heads as f64 }
            }
        }
    }

    /// Returns the bytes of the scores of attention, for so many pairs of a query and a key.
    pub fn scores(&self, pairs: f64) -> f64 {
        // A tile holds the hidden pairs between the first key and the last as well.
        4.0 * TILE_ARRAYS * (2.0 * pairs * self.heads).min(TILE)
    }
}

#[cfg(test)]
mod tests {
    use mm_backbone::PositionScheme;

    use super::*;

    #[test]
    fn a_token_keeps_what_was_measured_on_a_device() {
        // 1024 tokens more took 84 MiB more by the counters of wgpu, 31 MiB with blocks computed
        // again: `mm compare-backends --memory`.
        let backbone = BackboneConfig {
            width: 256,
            depth: 4,
            block: BlockConfig::MultiHead(MultiHeadConfig {
                variant: MultiHeadVariant::Plain,
                heads: 4,
                key_heads: 4,
                feed_forward: 512,
            }),
            positions: PositionScheme::RopeTv,
            rotary_base: 10_000.0,
            norm_epsilon: 1e-6,
        };
        let bytes = BlockBytes::of(&backbone, Precision::F32);
        let near = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.15;
        let measured = |mib: f64, tokens: f64| mib * 1_048_576.0 / tokens;
        assert!(near(4.0 * bytes.kept + bytes.backward, measured(84.0, 768.0)), "{bytes:?}");
        let again = 4.0 * 4.0 * 256.0 + bytes.kept + bytes.backward;
        assert!(near(again, measured(134.0, 3072.0)), "{again}");
        let short = BlockBytes::of(&backbone, Precision::Bf16);
        assert!(short.kept < 0.8 * bytes.kept && short.kept > 0.5 * bytes.kept);
    }
}
