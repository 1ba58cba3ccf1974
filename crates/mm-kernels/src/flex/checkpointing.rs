//! An operation that keeps nothing: backward computes forward again. It is slower by a third, and
//! of a block only its input stays in memory (Chen et al. 2016, arXiv:1604.06174). The numbers are
//! the same, bit for bit.

use super::buffer::Buffer;
use super::{Forward, Op};

/// `O` without its kept memory.
#[derive(Debug)]
pub(crate) struct Checkpointed<O>(pub O);

impl<O: Op> Op for Checkpointed<O> {
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
    use crate::context::HostContext;
    use crate::flex::{GauOp, MultiHeadOp};
    use crate::{AxisFrequency, KeyRanges, Precision, RotaryTables, WorkArrays};

    const TOKENS: usize = 10;
    const WIDTH: usize = 16;

    /// Angles of heads of so many channels, and two rows whose tokens all see each other.
    fn context(channels: usize) -> HostContext {
        let ranges = KeyRanges::new(2, TOKENS / 2, vec![[0, TOKENS as u32 / 2]; TOKENS]).unwrap();
        let positions: Vec<[f64; 2]> = (0..TOKENS).map(|at| [at as f64, 1.0]).collect();
        let frequency =
            |pair: usize| AxisFrequency { axis: pair % 2, theta: 0.2f64.powi(pair as i32) };
        let frequencies: Vec<_> = (0..channels / 2).map(frequency).collect();
        HostContext { tables: RotaryTables::new(&frequencies, &positions), ranges }
    }

    fn compare(op: impl Op, arrays: &WorkArrays, sizes: &[usize]) {
        let numbers = |size: usize, seed: usize| -> Vec<f32> {
            (0..size).map(|at| ((at * 31 + seed * 17) % 23) as f32 / 23.0 - 0.4).collect()
        };
        let sizes = [&[TOKENS * WIDTH], sizes].concat();
        let inputs: Vec<Vec<f32>> =
            sizes.iter().enumerate().map(|(seed, size)| numbers(*size, seed)).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let dy = numbers(TOKENS * WIDTH, 99);
        let Forward { output, kept } = op.forward(&inputs);
        let found: Vec<usize> = kept.iter().map(|buffer| buffer.len() / TOKENS).collect();
        assert_eq!(found, arrays.kept, "what a plan counts is what is kept");
        let grads = op.backward(&inputs, kept, &dy);

        let again = Checkpointed(op);
        let found = again.forward(&inputs);
        assert!(found.output == output && found.kept.is_empty());
        assert!(again.backward(&inputs, found.kept, &dy) == grads, "some gradient differs");
    }

    #[test]
    fn a_block_computed_again_gives_the_same_bits_and_keeps_nothing() {
        compare_blocks(Precision::F32);
        compare_blocks(Precision::Bf16);
    }

    fn compare_blocks(precision: Precision) {
        let (heads, key_heads, feed_forward, head) = (2, 1, 24, WIDTH / 2);
        let op = MultiHeadOp {
            width: WIDTH,
            heads,
            key_heads,
            feed_forward,
            epsilon: 1e-6,
            precision,
            context: context(head),
        };
        let (qkv, down) = (WIDTH * (heads + 2 * key_heads) * head, feed_forward * WIDTH);
        let sizes = [WIDTH, qkv, head, head, WIDTH * WIDTH, WIDTH, 2 * down, down];
        compare(op, &WorkArrays::multi_head(WIDTH, heads, key_heads, feed_forward), &sizes);

        let (expanded, key_size) = (2 * WIDTH, 8);
        let context = context(key_size);
        let op = GauOp { width: WIDTH, expanded, key_size, epsilon: 1e-6, precision, context };
        let projected = WIDTH * (2 * expanded + key_size);
        let sizes = [WIDTH, projected, key_size, key_size, expanded * WIDTH];
        compare(op, &WorkArrays::gau(WIDTH, expanded, key_size), &sizes);
    }
}
