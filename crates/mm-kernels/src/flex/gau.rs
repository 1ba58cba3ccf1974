//! The gated attention unit as one operation; its definition is in `kernels/gau.rs`.
//!
//! ```text
//! J = n(x; γ) W_i + b_i;   u, v, z = split(swish(J))
//! q = rotate(γ_q z + β_q), k = rotate(γ_k z + β_k)
//! O = attention(q, k, v);  G = u ⊙ O;   y = x + G W_o + b_o
//! ```
//!
//! Backward keeps `J`, `O` and the attention's logarithms: per token `3 expanded + key_size + 1`
//! numbers. With `dG = dy W_oᵀ`: `du = dG ⊙ O`, `dO = dG ⊙ u`, attention's own backward,
//! `dz = γ_q q' + γ_k k'` where `q'`, `k'` are the gradients turned back,
//! `dJ = swish'(J) ⊙ (du, dv, dz)` with `swish' = σ (1 + J (1 - σ))`; then `dW_o = Gᵀ dy`,
//! `dW_i = n(x)ᵀ dJ` over all tokens.

mod backward;
mod prefix;

use super::attention::{Head, Rows};
use super::buffer::{Buffer, take};
use super::matrix::{Matrix, Target, Weight};
use super::rotary::turn;
use super::simd::{self, sigmoid, vectorised};
use super::{Forward, Op, in_parts, next_pieces, norm};
use crate::Precision;
use crate::context::HostContext;

/// One unit's sizes and where its tokens stand. Inputs, in order: `x`, `γ`, `W_i`, `γ_q`, `γ_k`,
/// `W_o`, and with biases `b_i`, `β_q`, `β_k`, `b_o`.
#[derive(Debug, Clone)]
pub(crate) struct GauOp {
    /// Channels of a token.
    pub width: usize,
    /// Channels of `u` and of `v`.
    pub expanded: usize,
    /// Channels of `z`.
    pub key_size: usize,
    /// The number added to the mean square in the norm.
    pub epsilon: f32,
    /// The type that factors of products are rounded to.
    pub precision: Precision,
    /// Angles and mask.
    pub context: HostContext,
}

/// The inputs by name. In the backward pass the linear maps are transposed.
struct Weights<'a> {
    norm: &'a [f32],
    in_proj: Weight<'a>,
    /// The scales of queries and of keys.
    gammas: [&'a [f32]; 2],
    out_proj: Weight<'a>,
    biases: Option<Biases<'a>>,
}

#[derive(Clone, Copy)]
struct Biases<'a> {
    in_proj: &'a [f32],
    /// The offsets of queries and of keys.
    betas: [&'a [f32]; 2],
    out_proj: &'a [f32],
}

impl<'a> Weights<'a> {
    fn forward(op: &GauOp, inputs: &[&'a [f32]]) -> Self {
        Self::new(op, inputs, |matrix| matrix)
    }

    fn backward(op: &GauOp, inputs: &[&'a [f32]]) -> Self {
        Self::new(op, inputs, Matrix::t)
    }

    fn new(op: &GauOp, inputs: &[&'a [f32]], turn: impl Fn(Matrix<'a>) -> Matrix<'a>) -> Self {
        let biases = (inputs.len() > 6).then(|| Biases {
            in_proj: inputs[6],
            betas: [inputs[7], inputs[8]],
            out_proj: inputs[9],
        });
        let gammas = [inputs[3], inputs[4]];
        let parts = op.context.parts(op.width);
        let map = |data, cols| Weight::new(turn(Matrix::rows(data, cols)), op.precision, parts);
        let in_proj = map(inputs[2], op.projected_width());
        Self { norm: inputs[1], in_proj, gammas, out_proj: map(inputs[5], op.width), biases }
    }
}

/// What one task of the forward pass reads and writes: its tokens of every array.
struct Part<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    projected: &'a mut [f32],
    mixed: &'a mut [f32],
    logs: &'a mut [f32],
}

impl GauOp {
    /// Columns of `J`.
    fn projected_width(&self) -> usize {
        2 * self.expanded + self.key_size
    }

    /// Computes `J` of tokens `[tokens, width]`.
    fn project(&self, w: &Weights<'_>, x: &[f32], projected: &mut [f32]) {
        let pw = self.projected_width();
        let mut n = take(x.len());
        norm::rows(x, w.norm, self.epsilon, &mut n);
        let n = Matrix::rows(&n, self.width);
        match w.biases {
            Some(biases) => {
                repeat(biases.in_proj, projected);
                w.in_proj.add_rows(Target::rows(projected, pw), n);
            }
            None => w.in_proj.set_rows(Target::rows(projected, pw), n),
        }
    }

    /// Computes rotated queries and keys of activated tokens `[tokens, 2 expanded + key_size]`:
    /// `[tokens, key_size]` each.
    fn queries_and_keys(&self, w: &Weights<'_>, first_row: usize, active: &[f32]) -> [Buffer; 2] {
        let (size, pw) = (self.key_size, self.projected_width());
        let tokens = active.len() / pw;
        let (mut q, mut k) = (take(tokens * size), take(tokens * size));
        let [cos, sin] = self.context.angles(first_row * self.context.tokens(), tokens);
        let zs = |side: usize| Projection {
            width: pw,
            first: 2 * self.expanded,
            gamma: w.gammas[side],
            beta: w.biases.map(|biases| biases.betas[side]),
            cos,
            sin,
        };
        scale_and_turn(zs(0), active, &mut q);
        scale_and_turn(zs(1), active, &mut k);
        [q, k]
    }

    /// Returns the attention of one row of a part, given queries, keys and activated tokens.
    fn head<'a>(
        &'a self,
        q: &'a [f32],
        k: &'a [f32],
        active: &'a [f32],
        first_row: usize,
        row: usize,
    ) -> Head<'a> {
        let (size, pw, tokens) = (self.key_size, self.projected_width(), self.context.tokens());
        let first = row * tokens;
        Head {
            q: Matrix::strided(&q[first * size..], [tokens, size], size),
            k: Matrix::strided(&k[first * size..], [tokens, size], size),
            v: Matrix::strided(&active[first * pw + self.expanded..], [tokens, self.expanded], pw),
            ranges: self.context.row(first_row + row),
            scale: self.scale(),
            queries_alone: false,
            precision: self.precision,
        }
    }

    fn scale(&self) -> f32 {
        (self.key_size as f32).sqrt().recip()
    }

    fn forward_part(&self, w: &Weights<'_>, first_row: usize, part: Part<'_>) {
        self.project(w, part.x, part.projected);
        let mut active = take(part.projected.len());
        swish(part.projected, &mut active);
        let [q, k] = self.queries_and_keys(w, first_row, &active);
        let (tokens, e) = (self.context.tokens(), self.expanded);
        for row in 0..part.logs.len() / tokens {
            let out = Rows { data: &mut part.mixed[row * tokens * e..], channels: e, stride: e };
            let logs = &mut part.logs[row * tokens..][..tokens];
            self.head(&q, &k, &active, first_row, row).forward(out, logs);
        }
        self.finish(w, part.x, &mut active, part.mixed, part.y);
    }

    /// Goes on from the mixed values; the gate overwrites `u` in the activated tokens.
    fn finish(&self, w: &Weights<'_>, x: &[f32], active: &mut [f32], mixed: &[f32], y: &mut [f32]) {
        let (e, pw, width) = (self.expanded, self.projected_width(), self.width);
        gate(pw, active, mixed, e);
        y.copy_from_slice(x);
        if let Some(biases) = w.biases {
            for y in y.chunks_exact_mut(width) {
                simd::add(y, biases.out_proj);
            }
        }
        let gated = Matrix::strided(active, [x.len() / width, e], pw);
        w.out_proj.add_rows(Target::rows(y, width), gated);
    }
}

impl Op for GauOp {
    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let (w, x) = (&Weights::forward(self, inputs), inputs[0]);
        let (width, pw) = (self.width, self.projected_width());
        let tokens = x.len() / width;
        let mut output = vec![0.0; x.len()];
        let (mut projected, mut mixed) = (take(tokens * pw), take(tokens * self.expanded));
        let mut logs = take(tokens);
        let rows = self.context.rows_in_part(self.width);
        let size = rows * self.context.tokens();
        let mut tasks = vec![];
        {
            let mut y = output.chunks_mut(size * width);
            let mut projected = projected.chunks_mut(size * pw);
            let mut mixed = mixed.chunks_mut(size * self.expanded);
            let mut logs = logs.chunks_mut(size);
            for x in x.chunks(size * width) {
                next_pieces!(y, projected, mixed, logs);
                tasks.push(Part { x, y, projected, mixed, logs });
            }
        }
        in_parts(tasks, |index, part| self.forward_part(w, index * rows, part));
        Forward { output, kept: vec![projected, mixed, logs] }
    }

    fn backward(&self, inputs: &[&[f32]], kept: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        self.gradients(inputs, kept, dy)
    }
}

/// Writes one row again and again.
fn repeat(row: &[f32], rows: &mut [f32]) {
    for to in rows.chunks_exact_mut(row.len()) {
        to.copy_from_slice(row);
    }
}

/// Where `z` stands in rows of activated tokens, and what makes queries or keys of it.
struct Projection<'a> {
    /// Numbers of a row.
    width: usize,
    /// The first channel of `z`.
    first: usize,
    gamma: &'a [f32],
    beta: Option<&'a [f32]>,
    cos: &'a [f32],
    sin: &'a [f32],
}

vectorised! {
    /// Computes `rotate(γ z + β)` of every token.
    fn scale_and_turn(z: Projection<'_>, active: &[f32], to: &mut [f32]) {
        let size = z.gamma.len();
        let angles = z.cos.chunks_exact(size / 2).zip(z.sin.chunks_exact(size / 2));
        let rows = active.chunks_exact(z.width).zip(to.chunks_exact_mut(size));
        for ((active, to), (cos, sin)) in rows.zip(angles) {
            for ((to, z), gamma) in to.iter_mut().zip(&active[z.first..]).zip(z.gamma) {
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

    /// Puts `u ⊙ O` in place of `u`, the first `expanded` of `width` channels.
    fn gate(width: usize, active: &mut [f32], mixed: &[f32], expanded: usize) {
        for (active, mixed) in active.chunks_exact_mut(width).zip(mixed.chunks_exact(expanded)) {
            for (u, o) in active.iter_mut().zip(mixed) {
                *u *= o;
            }
        }
    }

    /// Computes `x σ(x)`.
    fn swish(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            *y = x * sigmoid(*x);
        }
    }
}
