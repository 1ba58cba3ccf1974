//! RMSNorm over rows of `c` channels: `y = x r γ`, `r = 1 / sqrt(mean(x²) + ε)`.
//!
//! Backward, with `x̂ = x r` and `g = γ dy`: `dx = r (g - x̂ · mean(g x̂))`, `dγ = Σ dy x̂`.
//! Nothing is kept: `r` is computed again from `x`.

use super::buffer::Buffer;
use super::simd::{dot, dot3, vectorised};
use super::{Forward, Op, add_up, in_parts};

/// Numbers that one task takes.
const PART: usize = 1 << 15;

/// Computes `1 / sqrt(mean(x²) + ε)` of one row. Where the squares overflow, beyond about 1e19, it
/// is not a number: with 0 a model that has diverged would look finite.
#[inline(always)]
pub(crate) fn scale_of(x: &[f32], epsilon: f32) -> f32 {
    let squares = dot(x, x);
    let scale = 1.0 / (squares / x.len() as f32 + epsilon).sqrt();
    if squares == f32::INFINITY { f32::NAN } else { scale }
}

/// Normalises one row.
#[inline(always)]
pub(crate) fn row(x: &[f32], gamma: &[f32], epsilon: f32, y: &mut [f32]) {
    let r = scale_of(x, epsilon);
    for ((y, x), gamma) in y.iter_mut().zip(x).zip(gamma) {
        *y = x * r * gamma;
    }
}

/// Adds the gradient of one row to `dx`, and its part of the scale's gradient to `dgamma`.
#[inline(always)]
pub(crate) fn row_backward(
    x: &[f32],
    gamma: &[f32],
    dy: &[f32],
    epsilon: f32,
    dx: &mut [f32],
    dgamma: &mut [f32],
) {
    let r = scale_of(x, epsilon);
    let mean = r * dot3(x, gamma, dy) / x.len() as f32; // of g x̂
    for ((((dx, dgamma), x), gamma), dy) in dx.iter_mut().zip(dgamma).zip(x).zip(gamma).zip(dy) {
        let unit = x * r;
        *dx += r * (gamma * dy - unit * mean);
        *dgamma += dy * unit;
    }
}

vectorised! {
    /// Normalises rows of `gamma.len()` channels.
    pub(crate) fn rows(x: &[f32], gamma: &[f32], epsilon: f32, y: &mut [f32]) {
        let channels = gamma.len();
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            row(x, gamma, epsilon, y);
        }
    }

    /// Adds the gradients of rows to `dx` and `dgamma`.
    pub(crate) fn rows_backward(
        x: &[f32],
        gamma: &[f32],
        dy: &[f32],
        epsilon: f32,
        dx: &mut [f32],
        dgamma: &mut [f32],
    ) {
        let c = gamma.len();
        for ((x, dy), dx) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
            row_backward(x, gamma, dy, epsilon, dx, dgamma);
        }
    }
}

/// RMSNorm as an operation, of inputs `x`: `[…, channels]` and `γ`: `[channels]`.
#[derive(Debug)]
pub(crate) struct NormOp {
    /// The number added to the mean of squares.
    pub epsilon: f32,
}

impl Op for NormOp {
    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let (x, gamma) = (inputs[0], inputs[1]);
        let mut output = vec![0.0; x.len()];
        let part = part(gamma.len());
        let tasks = x.chunks(part).zip(output.chunks_mut(part)).collect();
        in_parts(tasks, |_, (x, y)| rows(x, gamma, self.epsilon, y));
        Forward { output, kept: vec![] }
    }

    fn backward(&self, inputs: &[&[f32]], _: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        let (x, gamma) = (inputs[0], inputs[1]);
        let mut dx = vec![0.0; x.len()];
        let part = part(gamma.len());
        let tasks = x.chunks(part).zip(dy.chunks(part)).zip(dx.chunks_mut(part)).collect();
        let parts = in_parts(tasks, |_, ((x, dy), dx)| {
            let mut dgamma = vec![0.0; gamma.len()];
            rows_backward(x, gamma, dy, self.epsilon, dx, &mut dgamma);
            [dgamma]
        });
        let [dgamma] = add_up(parts);
        vec![dx, dgamma]
    }
}

/// Returns the numbers of whole rows, about [`PART`] of them.
fn part(channels: usize) -> usize {
    (PART / channels).max(1) * channels
}
