//! U-ViT's long skip connections (Bao et al. 2022, arXiv:2209.12152, section 3), around multi-head
//! blocks:
//!
//! ```text
//! h_i = block_i(h_{i-1})                          i = 1 … n + 1, the last of them in the middle
//! h_i = block_i(W [h_{i-1}, h_{2n+2-i}] + b)      i = n + 2 … 2n + 1: joined with its mirror
//! ```
//!
//! The first block's output meets the input of the last, as levels of a U-Net do. The join looks
//! at one token at a time, which leaves masks, packed rows, text and the key-value cache as they
//! are, and the blocks keep their kernels.
//!
//! Where this departs from the paper:
//! - The blocks are this project's (RMSNorm, normalised queries and keys, rotary positions, SwiGLU;
//!   no biases) where the paper has LayerNorm, learned absolute positions and a GELU perceptron.
//! - Time is added to the patches, which the paper tried too (table 1), and is not a token of its
//!   own. A token of time would belong to its image alone: it changes with every denoising step, so
//!   it could not stand in the cached prefix, and inside the image it would be one more token than
//!   `rows * cols`, which sizes, positions and grammar all count on.
//! - Conditions are text in the same sequence.
//! - First weights of a join are normal with deviation `1/sqrt(2 width)` where the paper has 0.02
//!   for all.

use burn::prelude::*;

use crate::{Init, Linear};

/// The join of one block of the second half with its mirror in the first.
#[derive(Module, Debug)]
pub struct LongSkip {
    proj: Linear,
}

impl LongSkip {
    /// Makes `count` joins, in the order in which they are met.
    pub fn all(init: &mut Init, width: usize, count: usize) -> Vec<Self> {
        (0..count).map(|_| Self { proj: Linear::new(init, 2 * width, width, true) }).collect()
    }

    /// Joins `x` from the block before with `mirror` from the first half, both
    /// `[batch, tokens, channels]` -> the same shape.
    pub fn forward(&self, x: Tensor<3>, mirror: Tensor<3>) -> Tensor<3> {
        self.proj.forward(Tensor::cat(vec![x, mirror], 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Backbone, BackboneConfig, BlockConfig, BlockOptions, KeyRanges, MultiHeadConfig,
        MultiHeadVariant, PositionScheme, Positions,
    };

    #[test]
    fn the_first_blocks_output_meets_the_last_blocks_input() {
        let device = Device::flex();
        let config = BackboneConfig {
            width: 8,
            depth: 5,
            block: BlockConfig::MultiHead(MultiHeadConfig {
                variant: MultiHeadVariant::Uvit,
                heads: 2,
                key_heads: 1,
                feed_forward: 16,
            }),
            positions: PositionScheme::RopeTv,
            rotary_base: 100.0,
            norm_epsilon: 1e-6,
        };
        let backbone = Backbone::new(&config, &mut Init::new(1, &device)).unwrap();
        let mut positions = Positions::new(config.positions);
        let positions = [positions.text(), positions.text()];
        let ranges = KeyRanges::new(1, 2, vec![[0, 1], [0, 2]]).unwrap();
        let context = config.attention_context(&positions, ranges, &device);
        let options = BlockOptions::default();
        let x = Init::new(2, &device).normal([1, 2, 8], 1.0).val();
        let [inner, outer] = &backbone.skips[..] else { panic!("two skips") };
        let block = |index: usize, x| backbone.blocks[index].forward(x, &context, None, options);
        let h1 = block(0, x.clone());
        let h2 = block(1, h1.clone());
        let h3 = block(2, h2.clone());
        let h4 = block(3, inner.forward(h3, h2));
        let h5 = block(4, outer.forward(h4, h1));
        let by_hand = backbone.norm.forward(h5);
        let found = backbone.forward(x, &context, None, options);
        assert_eq!(found.into_data(), by_hand.into_data());
    }
}
