//! Fused kernels for the CPU: every block is one operation with its own forward and backward.
//!
//! ```text
//! Tensor ──► bridge ──► Op::forward / Op::backward on plain slices ──► Tensor
//!   kernels: the trait's methods          multi_head, gau: one block each
//!                                         norm, attention, rotary, simd: what they are made of
//!                                         convolution: over the pixels of images
//!                                         group_norm: over groups of channels, and swish
//!                                         resize: images twice or half as large
//!                                         half: a few rows times a matrix of 16-bit floats
//!                                         matrix: products, through the `gemm` crate
//!                                         bf16: products of factors rounded to 16 bits
//!                                         single: tiles of products of 32-bit floats
//!                                         neighbors: products over neighboring pixels
//!                                         tile: what one run of a product's kernel computes
//!                                         factor: matrices inside slices
//!                                         buffer: work memory that is used again
//! ```
//!
//! Work is cut into groups of batch rows, at most about [`part_tokens`] tokens each, then weight
//! gradients into groups of their rows; the cuts follow from the shapes alone, never from the
//! number of threads, so one thread and many give the same bits.

mod attention;
mod bf16;
mod bridge;
mod buffer;
mod checkpointing;
mod convolution;
mod factor;
mod gau;
mod group_norm;
pub(crate) mod half;
mod kernels;
mod matrix;
mod multi_head;
mod neighbors;
mod norm;
mod prefix;
mod resize;
mod rotary;
mod simd;
mod single;
#[cfg(test)]
mod tests;
mod tile;
mod update;

use checkpointing::Checkpointed;
use convolution::ConvolutionOp;
use gau::GauOp;
use group_norm::{GroupNormOp, SwishOp};
pub(crate) use kernels::FlexKernels;
use multi_head::MultiHeadOp;
use norm::NormOp;
use prefix::KvPrefix;
use resize::ResizeOp;

use burn::prelude::Shape;
use rayon::prelude::*;

use crate::context::HostContext;
use crate::work_memory::part_tokens;
use buffer::Buffer;

/// An operation's output, and what its backward pass needs.
pub(crate) struct Forward {
    /// The numbers of a tensor of the shape that [`Op::shape`] says.
    pub output: Vec<f32>,
    /// Work memory for the backward pass.
    pub kept: Vec<Buffer>,
}

/// One fused operation over contiguous 32-bit tensors.
pub(crate) trait Op: std::fmt::Debug + Send + Sync + 'static {
    /// Returns the output's shape, given that of the first input: the same, unless an operation
    /// says otherwise.
    fn shape(&self, first: Shape) -> Shape {
        first
    }

    /// Computes the output, and what `backward` needs besides the inputs.
    fn forward(&self, inputs: &[&[f32]]) -> Forward;

    /// Computes the gradient of every input, in order, given that of the output.
    fn backward(&self, inputs: &[&[f32]], kept: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>>;
}

impl HostContext {
    /// Tokens of one row.
    fn tokens(&self) -> usize {
        self.ranges.queries()
    }

    /// Rows of the batch that one task takes through a block of `width` channels: even shares of
    /// about [`part_tokens`].
    fn rows_in_part(&self, width: usize) -> usize {
        let (rows, tokens) = (self.ranges.batch(), self.tokens());
        let wanted = (rows * tokens).div_ceil(part_tokens(width)).clamp(1, rows);
        rows.div_ceil(wanted)
    }

    /// Returns the tasks that take a batch through a block of `width` channels.
    fn parts(&self, width: usize) -> usize {
        self.ranges.batch().div_ceil(self.rows_in_part(width))
    }

    /// Returns the angles of `tokens` tokens from the `first`: cosines and sines,
    /// `[tokens * pairs]` each.
    fn angles(&self, first: usize, tokens: usize) -> [&[f32]; 2] {
        let pairs = self.tables.pairs();
        let part = first * pairs..(first + tokens) * pairs;
        [&self.tables.cos()[part.clone()], &self.tables.sin()[part]]
    }

    /// Returns the key ranges of one row.
    fn row(&self, row: usize) -> &[[u32; 2]] {
        let tokens = self.tokens();
        &self.ranges.ranges()[row * tokens..(row + 1) * tokens]
    }
}

/// Does all tasks, each given its index, and returns their results in order, on the threads of the
/// caller's pool: a caller inside a pool of one thread keeps its kernels to itself. Whichever
/// thread is free takes the next task, so tasks of unequal size share the threads well when the
/// large ones come first.
fn in_parts<T: Send, R: Send>(tasks: Vec<T>, work: impl Fn(usize, T) -> R + Sync) -> Vec<R> {
    if tasks.len() <= 1 || rayon::current_num_threads() == 1 {
        return tasks.into_iter().enumerate().map(|(index, task)| work(index, task)).collect();
    }
    let queue = tasks.into_iter().enumerate().par_bridge();
    let mut results: Vec<_> = queue.map(|(index, task)| (index, work(index, task))).collect();
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Takes the next piece of each of several arrays, cut alike.
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
