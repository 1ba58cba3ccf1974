//! U-ViT's long skip connections (Bao et al. 2022, arXiv:2209.12152, section 3), around multi-head blocks:
//!
//! ```text
//! h_i = block_i(h_{i-1})                                        i = 1 … n + 1, the last of them in the middle
//! h_i = block_i(W [h_{i-1}, h_{2n+2-i}] + b)                    i = n + 2 … 2n + 1: joined with its mirror
//! ```
//!
//! so the first block's output meets the input of the last, as levels of a U-Net do. The join looks at one token at a time,
//! which leaves masks, packed rows, text and the key-value cache as they are, and the blocks keep their kernels.
//!
//! Where this departs from the paper:
//! - The blocks are this project's (RMSNorm, normalised queries and keys, rotary positions, SwiGLU; no biases) where the
//!   paper has LayerNorm, learnt absolute positions and a GELU perceptron.
//! - Time is added to the patches, which the paper tried too (table 1), and is not a token of its own. A token of time would
//!   belong to its image alone: it changes with every denoising step, so it could not stand in the cached prefix, and inside
//!   the image it would be one more place than `rows * cols`, which sizes, positions and grammar all count on.
//! - Conditions are text in the same sequence.
//! - First weights of a join are normal with deviation `1/sqrt(2 width)` where the paper has 0.02 for all.

use burn::prelude::*;

use crate::{Init, Linear};

/// The join of one block of the second half with its mirror in the first.
#[derive(Module, Debug)]
pub struct LongSkip {
    join: Linear,
}

impl LongSkip {
    /// The skips of a stack of `depth` blocks, in the order in which they are met.
    pub(crate) fn all(init: &mut Init, width: usize, depth: usize) -> Vec<Self> {
        (0..depth / 2).map(|_| Self { join: Linear::new(init, 2 * width, width, true) }).collect()
    }

    /// `x` from the block before, `mirror` from the first half, both `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn forward(&self, x: Tensor<3>, mirror: Tensor<3>) -> Tensor<3> {
        self.join.forward(Tensor::cat(vec![x, mirror], 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Attend, Backbone, BackboneConfig, BlockConfig, KeyRanges, PositionScheme, Positions,
    };

    #[test]
    fn the_first_blocks_output_meets_the_last_blocks_input() {
        let device = Device::flex();
        let config = BackboneConfig {
            width: 8,
            depth: 5,
            block: BlockConfig::Uvit { heads: 2, key_heads: 1, feed_forward: 16 },
            positions: PositionScheme::RopeTv,
            rotary_base: 100.0,
            norm_epsilon: 1e-6,
        };
        let backbone = Backbone::new(&config, &mut Init::new(1, &device)).unwrap();
        let mut positions = Positions::new(config.positions);
        let places = [positions.text(), positions.text()];
        let ranges = KeyRanges::new(1, 2, vec![[0, 1], [0, 2]]).unwrap();
        let attend = Attend::new(&config, &places, ranges, &device);
        let x = Init::new(2, &device).normal([1, 2, 8], 1.0).val();
        let [a, b, c, d, e] = &backbone.blocks[..] else { panic!("five blocks") };
        let [inner, outer] = &backbone.skips[..] else { panic!("two skips") };
        let h1 = a.forward(x.clone(), &attend);
        let h2 = b.forward(h1.clone(), &attend);
        let h3 = c.forward(h2.clone(), &attend);
        let h4 = d.forward(inner.forward(h3, h2), &attend);
        let h5 = e.forward(outer.forward(h4, h1), &attend);
        let by_hand = backbone.norm.forward(h5);
        assert_eq!(backbone.forward(x, &attend).into_data(), by_hand.into_data());
    }
}
