//! Fused kernels for the CPU: every block is one operation with its own forward and backward.
//!
//! ```text
//! Tensor ──► bridge ──► Op::forward / Op::backward on plain slices ──► Tensor
//!                         transformer, gau: one block each
//!                         norm, attention, rotary, simd: what they are made of
//!                         convolution: over the pixels of images, for networks that have one
//!                         matrix: products, through the `gemm` crate;  buffer: work memory that is used again
//! ```
//!
//! Work is cut into groups of batch rows, at most about [`part_tokens`] tokens each, then weight gradients into groups of
//! their rows; the cuts follow from the shapes alone, never from the number of threads, so one thread and many give
//! the same bits.

mod attention;
mod bridge;
mod buffer;
mod convolution;
mod gau;
mod matrix;
mod norm;
mod past;
mod recompute;
mod rotary;
mod simd;
#[cfg(test)]
mod tests;
mod transformer;
pub(crate) mod update;

pub(crate) use bridge::{Primitive, apply, in_place, primitive, with_past};
pub(crate) use convolution::ConvolutionOp;
pub(crate) use gau::GauOp;
pub(crate) use norm::NormOp;
pub(crate) use past::Past;
pub(crate) use recompute::Recomputed;
pub(crate) use transformer::TransformerOp;

use burn::prelude::Shape;
use rayon::prelude::*;

use crate::rotary::Places;
use crate::work_memory::part_tokens;
use buffer::Buffer;

/// What an operation gives back: its output, and what its backward pass needs.
pub(crate) struct Forward {
    /// As many numbers as [`Op::shape`] says: those of the first input, most often.
    pub output: Vec<f32>,
    /// Work memory for the backward pass.
    pub kept: Vec<Buffer>,
}

/// One fused operation over contiguous 32-bit tensors.
pub(crate) trait Op: std::fmt::Debug + Send + Sync + 'static {
    /// The output's shape, given that of the first input: the same, unless an operation says otherwise.
    fn shape(&self, first: Shape) -> Shape {
        first
    }

    /// The output, and what `backward` needs besides the inputs.
    fn forward(&self, inputs: &[&[f32]]) -> Forward;

    /// The gradient of every input, in order, given that of the output.
    fn backward(&self, inputs: &[&[f32]], kept: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>>;
}

impl Places {
    fn tokens(&self) -> usize {
        self.ranges.queries()
    }

    /// Rows of the batch that one task takes through a block of `width` channels: even shares of about [`part_tokens`].
    fn rows_in_part(&self, width: usize) -> usize {
        let (rows, tokens) = (self.ranges.batch(), self.tokens());
        let wanted = (rows * tokens).div_ceil(part_tokens(width)).clamp(1, rows);
        rows.div_ceil(wanted)
    }

    /// The angles of `tokens` tokens from the `first`: cosines and sines, `[tokens * pairs]` each.
    fn angles(&self, first: usize, tokens: usize) -> [&[f32]; 2] {
        let all = self.ranges.batch() * self.tokens();
        let pairs = self.cos.len() / all;
        let part = first * pairs..(first + tokens) * pairs;
        [&self.cos[part.clone()], &self.sin[part]]
    }

    /// The key ranges of one row.
    fn row(&self, row: usize) -> &[[u32; 2]] {
        let tokens = self.tokens();
        &self.ranges.ranges()[row * tokens..(row + 1) * tokens]
    }
}

/// Does all tasks, each given its index, and returns their results in order, on the threads of the caller's pool: a caller
/// inside a pool of one thread keeps its kernels to itself. Whichever thread is free takes the next task, so tasks of
/// unequal size share the threads well when the large ones come first.
fn in_parts<T: Send, R: Send>(tasks: Vec<T>, work: impl Fn(usize, T) -> R + Sync) -> Vec<R> {
    if tasks.len() <= 1 || rayon::current_num_threads() == 1 {
        return tasks.into_iter().enumerate().map(|(index, task)| work(index, task)).collect();
    }
    let queue = tasks.into_iter().enumerate().par_bridge();
    let mut results: Vec<_> = queue.map(|(index, task)| (index, work(index, task))).collect();
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The next piece of each of several arrays, cut alike.
macro_rules! next_pieces {
    ($($chunks:ident),+) => {$(
        let $chunks = $chunks.next().expect("arrays of equally many pieces");
    )+};
}
use next_pieces;

/// Adds small gradients of all parts, in order.
fn add_up<const N: usize>(parts: Vec<[Vec<f32>; N]>) -> [Vec<f32>; N] {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().expect("a batch has a row");
    for part in parts {
        for (sum, part) in sum.iter_mut().zip(part) {
            for (sum, part) in sum.iter_mut().zip(part) {
                *sum += part;
            }
        }
    }
    sum
}
