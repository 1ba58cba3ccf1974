//! The gated attention unit as one operation (see [`crate::gau`] for its equations).
//!
//! ```text
//! J = n(x; γ) W_i + b_i;  u, v, z = split(swish(J));  q = rotate(γ_q z + β_q), k = rotate(γ_k z + β_k)
//! O = attention(q, k, v);  G = u ⊙ O;                 y = x + G W_o + b_o
//! ```
//!
//! Backward keeps `J`, `O` and the attention's logarithms: per token `3 expanded + key_size + 1` numbers. With
//! `dG = dy W_oᵀ`: `du = dG ⊙ O`, `dO = dG ⊙ u`, attention's own backward, `dz = γ_q q' + γ_k k'` where `q'`, `k'` are the
//! gradients turned back, `dJ = swish'(J) ⊙ (du, dv, dz)` with `swish' = σ (1 + J (1 - σ))`; then `dW_o = Gᵀ dy`,
//! `dW_i = n(x)ᵀ dJ` over all tokens.

mod backward;
mod cached;

use super::attention::{Head, Rows};
use super::buffer::{Buffer, take};
use super::matrix::{Matrix, Target};
use super::rotary::turn;
use super::simd::{self, sigmoid, vectorised};
use super::{Forward, Op, in_parts, next_pieces, norm};
use crate::rotary::Places;

/// One unit's sizes and where its tokens stand. Inputs, in order: `x`, `γ`, `W_i`, `γ_q`, `γ_k`, `W_o`, and with biases
/// `b_i`, `β_q`, `β_k`, `b_o`.
#[derive(Debug, Clone)]
pub(crate) struct GauOp {
    /// Channels of a token.
    pub width: usize,
    /// Channels of `u` and of `v`.
    pub expanded: usize,
    /// Channels of `z`.
    pub key_size: usize,
    /// Of the norm.
    pub epsilon: f32,
    /// Angles and mask.
    pub places: Places,
}

/// The inputs by name.
#[derive(Clone, Copy)]
struct Weights<'a> {
    norm: &'a [f32],
    joint: &'a [f32],
    gammas: [&'a [f32]; 2],
    output: &'a [f32],
    biases: Option<Biases<'a>>,
}

#[derive(Clone, Copy)]
struct Biases<'a> {
    joint: &'a [f32],
    betas: [&'a [f32]; 2],
    output: &'a [f32],
}

impl<'a> Weights<'a> {
    fn new(inputs: &[&'a [f32]]) -> Self {
        let biases = (inputs.len() > 6).then(|| Biases {
            joint: inputs[6],
            betas: [inputs[7], inputs[8]],
            output: inputs[9],
        });
        let gammas = [inputs[3], inputs[4]];
        Self { norm: inputs[1], joint: inputs[2], gammas, output: inputs[5], biases }
    }
}

impl GauOp {
    /// Columns of `J`.
    fn joint_width(&self) -> usize {
        2 * self.expanded + self.key_size
    }

    /// `J`, of tokens `[tokens, width]`.
    fn joint(&self, w: Weights<'_>, x: &[f32], joint: &mut [f32]) {
        let jw = self.joint_width();
        let mut n = take(x.len());
        norm::rows(x, w.norm, self.epsilon, &mut n);
        let product = (Matrix::rows(&n, self.width), Matrix::rows(w.joint, jw));
        match w.biases {
            Some(biases) => {
                repeat(biases.joint, joint);
                Target::rows(joint, jw).add(product.0, product.1, 1.0);
            }
            None => Target::rows(joint, jw).set(product.0, product.1, 1.0),
        }
    }

    /// Rotated queries and keys of activated tokens `[tokens, 2 expanded + key_size]`: `[tokens, key_size]` each.
    fn queries_and_keys(&self, w: Weights<'_>, first_row: usize, active: &[f32]) -> [Buffer; 2] {
        let (size, jw) = (self.key_size, self.joint_width());
        let tokens = active.len() / jw;
        let (mut q, mut k) = (take(tokens * size), take(tokens * size));
        let [cos, sin] = self.places.angles(first_row * self.places.tokens(), tokens);
        let zs = |side: usize| Projection {
            of: [jw, 2 * self.expanded],
            gamma: w.gammas[side],
            beta: w.biases.map(|biases| biases.betas[side]),
            angles: [cos, sin],
        };
        scale_and_turn(zs(0), active, &mut q);
        scale_and_turn(zs(1), active, &mut k);
        [q, k]
    }

    /// The attention of one row of a part, given queries, keys and activated tokens.
    fn head<'a>(
        &'a self,
        [q, k, active]: [&'a [f32]; 3],
        first_row: usize,
        row: usize,
    ) -> Head<'a> {
        let (size, jw, tokens) = (self.key_size, self.joint_width(), self.places.tokens());
        let first = row * tokens;
        Head {
            q: Matrix::strided(&q[first * size..], [tokens, size], size),
            k: Matrix::strided(&k[first * size..], [tokens, size], size),
            v: Matrix::strided(&active[first * jw + self.expanded..], [tokens, self.expanded], jw),
            ranges: self.places.row(first_row + row),
            scale: self.scale(),
        }
    }

    fn scale(&self) -> f32 {
        (self.key_size as f32).sqrt().recip()
    }

    fn forward_part(&self, w: Weights<'_>, first_row: usize, x: &[f32], out: [&mut [f32]; 4]) {
        let [y, joint, mixed, logs] = out;
        self.joint(w, x, joint);
        let mut active = take(joint.len());
        swish(joint, &mut active);
        let [q, k] = self.queries_and_keys(w, first_row, &active);
        let (tokens, e) = (self.places.tokens(), self.expanded);
        for row in 0..logs.len() / tokens {
            let out = Rows { data: &mut mixed[row * tokens * e..], channels: e, stride: e };
            let logs = &mut logs[row * tokens..][..tokens];
            self.head([&q, &k, &active], first_row, row).forward(out, logs);
        }
        self.finish(w, x, [&mut active, mixed, y]);
    }

    /// From the mixed values on; the gate overwrites `u` in the activated tokens.
    fn finish(&self, w: Weights<'_>, x: &[f32], [active, mixed, y]: [&mut [f32]; 3]) {
        let (e, jw, width) = (self.expanded, self.joint_width(), self.width);
        gate(jw, active, mixed, e);
        y.copy_from_slice(x);
        if let Some(biases) = w.biases {
            for y in y.chunks_exact_mut(width) {
                simd::add(y, biases.output);
            }
        }
        let gated = Matrix::strided(active, [x.len() / width, e], jw);
        Target::rows(y, width).add(gated, Matrix::rows(w.output, width), 1.0);
    }
}

impl Op for GauOp {
    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let (w, x, width, jw) = (Weights::new(inputs), inputs[0], self.width, self.joint_width());
        let tokens = x.len() / width;
        let mut output = vec![0.0; x.len()];
        let (mut joint, mut mixed) = (take(tokens * jw), take(tokens * self.expanded));
        let mut logs = take(tokens);
        let rows = self.places.rows_in_part(self.width);
        let size = rows * self.places.tokens();
        let mut tasks = vec![];
        {
            let mut y = output.chunks_mut(size * width);
            let mut joint = joint.chunks_mut(size * jw);
            let mut mixed = mixed.chunks_mut(size * self.expanded);
            let mut logs = logs.chunks_mut(size);
            for x in x.chunks(size * width) {
                next_pieces!(y, joint, mixed, logs);
                tasks.push((x, [y, joint, mixed, logs]));
            }
        }
        in_parts(tasks, |index, (x, written)| self.forward_part(w, index * rows, x, written));
        Forward { output, kept: vec![joint, mixed, logs] }
    }

    fn backward(&self, inputs: &[&[f32]], kept: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        self.gradients(inputs, kept, dy)
    }
}

/// One row, again and again.
fn repeat(row: &[f32], rows: &mut [f32]) {
    for to in rows.chunks_exact_mut(row.len()) {
        to.copy_from_slice(row);
    }
}

/// Where `z` stands in rows of activated tokens (their width, its first channel), and what makes queries or keys of it.
struct Projection<'a> {
    of: [usize; 2],
    gamma: &'a [f32],
    beta: Option<&'a [f32]>,
    angles: [&'a [f32]; 2],
}

vectorised! {
    /// `rotate(γ z + β)` of every token.
    fn scale_and_turn(z: Projection<'_>, active: &[f32], to: &mut [f32]) {
        let ([width, first], size, [cos, sin]) = (z.of, z.gamma.len(), z.angles);
        let angles = cos.chunks_exact(size / 2).zip(sin.chunks_exact(size / 2));
        let rows = active.chunks_exact(width).zip(to.chunks_exact_mut(size));
        for ((active, to), (cos, sin)) in rows.zip(angles) {
            for ((to, z), gamma) in to.iter_mut().zip(&active[first..]).zip(z.gamma) {
                *to = z * gamma;
            }
            if let Some(beta) = z.beta {
                for (to, beta) in to.iter_mut().zip(beta) {
                    *to += beta;
                }
            }
            turn(to, cos, sin);
        }
    }

    /// `u ⊙ O` in place of `u`, the first `expanded` of `width` channels.
    fn gate(width: usize, active: &mut [f32], mixed: &[f32], expanded: usize) {
        for (active, mixed) in active.chunks_exact_mut(width).zip(mixed.chunks_exact(expanded)) {
            for (u, o) in active.iter_mut().zip(mixed) {
                *u *= o;
            }
        }
    }

    /// `x σ(x)`
    fn swish(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            *y = x * sigmoid(*x);
        }
    }
}
