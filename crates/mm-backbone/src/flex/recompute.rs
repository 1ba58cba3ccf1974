//! An operation that keeps nothing: backward computes forward again. Slower by a third, and of a block only its input stays in
//! memory (Chen et al. 2016, arXiv:1604.06174). The numbers are the same, bit for bit.

use super::buffer::Buffer;
use super::{Forward, Op};

/// `O` without its kept memory.
#[derive(Debug)]
pub(crate) struct Recomputed<O>(pub O);

impl<O: Op> Op for Recomputed<O> {
    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        Forward { output: self.0.forward(inputs).output, kept: vec![] }
    }

    fn backward(&self, inputs: &[&[f32]], _: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        self.0.backward(inputs, self.0.forward(inputs).kept, dy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::{GauOp, TransformerOp};
    use crate::{Attend, BackboneConfig, BlockConfig, KeyRanges, PositionScheme};
    use burn::prelude::Device;

    const TOKENS: usize = 10;
    const WIDTH: usize = 16;

    fn check(block: BlockConfig) {
        let config = BackboneConfig {
            width: WIDTH,
            depth: 1,
            block: block.clone(),
            positions: PositionScheme::RopeTv,
            rotary_base: 100.0,
            norm_epsilon: 1e-6,
        };
        let ranges = KeyRanges::new(2, TOKENS / 2, vec![[0, TOKENS as u32 / 2]; TOKENS]).unwrap();
        let places: Vec<[f64; 2]> = (0..TOKENS).map(|at| [at as f64, 1.0]).collect();
        let places = Attend::new(&config, &places, ranges, &Device::flex()).places;
        match block {
            BlockConfig::Transformer { heads, key_heads, feed_forward: feed } => {
                let head = WIDTH / heads;
                let op = TransformerOp {
                    width: WIDTH,
                    heads: [heads, key_heads],
                    feed,
                    epsilon: 1e-6,
                    places,
                };
                let joint = WIDTH * (heads + 2 * key_heads) * head;
                let down = feed * WIDTH;
                let sizes = [WIDTH, joint, head, head, WIDTH * WIDTH, WIDTH, 2 * down, down];
                compare(&config, op, &sizes);
            }
            BlockConfig::Gau { expansion, key_size, .. } => {
                let expanded = expansion * WIDTH;
                let op = GauOp { width: WIDTH, expanded, key_size, epsilon: 1e-6, places };
                let joint = WIDTH * (2 * expanded + key_size);
                compare(&config, op, &[WIDTH, joint, key_size, key_size, expanded * WIDTH]);
            }
            other => panic!("no operation of its own: {other:?}"),
        }
    }

    fn compare(config: &BackboneConfig, op: impl Op, sizes: &[usize]) {
        let numbers = |size: usize, seed: usize| -> Vec<f32> {
            (0..size).map(|at| ((at * 31 + seed * 17) % 23) as f32 / 23.0 - 0.4).collect()
        };
        let sizes = [&[TOKENS * WIDTH], sizes].concat();
        let inputs: Vec<Vec<f32>> =
            sizes.iter().enumerate().map(|(seed, size)| numbers(*size, seed)).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let dy = numbers(TOKENS * WIDTH, 99);
        let Forward { output, kept } = op.forward(&inputs);
        let arrays: Vec<usize> = kept.iter().map(|buffer| buffer.len() / TOKENS).collect();
        assert_eq!(arrays, config.kept_arrays(), "what a plan counts is what is kept");
        let grads = op.backward(&inputs, kept, &dy);

        let again = Recomputed(op);
        let found = again.forward(&inputs);
        assert!(found.output == output && found.kept.is_empty());
        assert!(again.backward(&inputs, found.kept, &dy) == grads, "some gradient differs");
    }

    #[test]
    fn a_block_computed_again_gives_the_same_bits_and_keeps_nothing() {
        check(BlockConfig::Transformer { heads: 2, key_heads: 1, feed_forward: 24 });
        check(BlockConfig::Gau { expansion: 2, key_size: 8, bias: false });
    }
}
