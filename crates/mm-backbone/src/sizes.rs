//! What a stack costs: trained numbers, arithmetic, and the memory that the fused kernels of the CPU take to train it.
//!
//! The memory formulas count what the headers of `flex/transformer.rs` and `flex/gau.rs` say is kept, and the arrays that
//! their `backward.rs` takes; numbers are 32-bit floats.

use crate::{BackboneConfig, BlockConfig};

impl BackboneConfig {
    /// Numbers of one block's matrices, which is what a token is multiplied with.
    pub fn matrices(&self) -> usize {
        let width = self.width;
        match self.block {
            BlockConfig::Gau { expansion, key_size, .. } => {
                width * (2 * expansion * width + key_size) + expansion * width * width
            }
            BlockConfig::Transformer { heads, key_heads, feed_forward }
            | BlockConfig::Uvit { heads, key_heads, feed_forward }
            | BlockConfig::Dit { heads, key_heads, feed_forward } => {
                width * (heads + 2 * key_heads) * (width / heads)
                    + width * width
                    + 3 * width * feed_forward
            }
        }
    }

    /// Multiplications and additions of one forward pass over `tokens` tokens with `pairs` pairs of a query and a key that
    /// it may attend; a training step costs three times as much.
    pub fn flops_of(&self, tokens: f64, pairs: f64) -> f64 {
        let channels = match self.block {
            BlockConfig::Gau { expansion, key_size, .. } => key_size + expansion * self.width,
            BlockConfig::Transformer { .. }
            | BlockConfig::Uvit { .. }
            | BlockConfig::Dit { .. } => 2 * self.width,
        };
        let blocks = tokens * self.matrices() as f64 + pairs * channels as f64;
        let square = (self.width * self.width) as f64;
        let skips = tokens * 2.0 * square * self.skips() as f64;
        let modulations = square * self.modulations() as f64; // once for all tokens of an image
        2.0 * (self.depth as f64 * blocks + skips + modulations)
    }

    /// Arrays that one block keeps from its forward to its backward pass, its input not counted: numbers a token of each.
    pub fn kept_arrays(&self) -> Vec<usize> {
        match self.block {
            BlockConfig::Gau { expansion, key_size, .. } => {
                let expanded = expansion * self.width;
                vec![2 * expanded + key_size, expanded, 1]
            }
            BlockConfig::Transformer { heads, key_heads, feed_forward }
            | BlockConfig::Uvit { heads, key_heads, feed_forward }
            | BlockConfig::Dit { heads, key_heads, feed_forward } => {
                let joint = (heads + 2 * key_heads) * (self.width / heads);
                vec![joint, self.width, heads, self.width, 2 * feed_forward]
            }
        }
    }

    /// Numbers that one block keeps for a token from its forward to its backward pass, its input not counted.
    pub fn kept_numbers(&self) -> usize {
        self.kept_arrays().iter().sum()
    }

    /// Arrays of work memory that one block's backward pass takes for all tokens besides what was kept: numbers a token of each.
    pub fn backward_arrays(&self) -> Vec<usize> {
        match self.block {
            BlockConfig::Gau { expansion, .. } => vec![self.width, expansion * self.width],
            BlockConfig::Transformer { feed_forward, .. }
            | BlockConfig::Uvit { feed_forward, .. }
            | BlockConfig::Dit { feed_forward, .. } => {
                vec![self.width, self.width, self.width, feed_forward]
            }
        }
    }

    /// Numbers that one block's backward pass takes for a token besides what was kept: its arrays, and the gradients of the
    /// block's input and output.
    pub fn backward_numbers(&self) -> usize {
        self.backward_arrays().iter().sum::<usize>() + 2 * self.width
    }

    /// Arrays of work memory that one task of a block's backward pass takes for its own tokens alone: numbers a token of each.
    pub(crate) fn task_arrays(&self) -> Vec<usize> {
        let width = self.width;
        match self.block {
            BlockConfig::Gau { expansion, key_size, .. } => {
                let expanded = expansion * width;
                let joint = 2 * expanded + key_size;
                vec![joint, joint, expanded, key_size, key_size, key_size, key_size, width]
            }
            BlockConfig::Transformer { heads, key_heads, feed_forward }
            | BlockConfig::Uvit { heads, key_heads, feed_forward }
            | BlockConfig::Dit { heads, key_heads, feed_forward } => {
                let keys = key_heads * (width / heads);
                vec![width, feed_forward, width, keys, width, keys, keys]
            }
        }
    }
}
