//! The multi-head block as one operation; its definition is in `kernels/multi_head.rs`.
//!
//! ```text
//! J = n(x; γ₁) W_a;  q̂ = rotate(n(J_q; γ_q)), k̂ = rotate(n(J_k; γ_k)), v = J_v
//! O = attention(q̂, k̂, v);  h = x + O W_o
//! F = n(h; γ₂) W_f;  m = swish(F_g) ⊙ F_r;  y = h + m W_d
//! ```
//!
//! Backward keeps `J`, `O`, the attention's logarithms, `h` and `F`: per token
//! `(heads + 2 key_heads) head + 2 width + heads + 2 feed_forward` numbers. Norms, rotations, swish
//! and probabilities are computed again. Gradients of weights are products over all tokens:
//! `dW_d = mᵀ dy`, `dW_f = n(h)ᵀ dF`, `dW_o = Oᵀ dh`, `dW_a = n(x)ᵀ dJ`.

mod backward;
mod prefix;

use super::attention::{Head, Rows};
use super::buffer::{Buffer, take};
use super::matrix::{Matrix, Target, Weight};
use super::rotary::turn;
use super::simd::{sigmoid, vectorised};
use super::{Forward, Op, in_parts, next_pieces, norm};
use crate::Precision;
use crate::context::HostContext;

/// One block's sizes and where its tokens stand. Inputs, in order: `x`, `γ₁`, `W_a`, `γ_q`, `γ_k`,
/// `W_o`, `γ₂`, `W_f`, `W_d`.
#[derive(Debug, Clone)]
pub(crate) struct MultiHeadOp {
    /// Channels of a token.
    pub width: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub key_heads: usize,
    /// Inner channels of the feed-forward half.
    pub feed_forward: usize,
    /// The number added to the mean square in all norms.
    pub epsilon: f32,
    /// The type that factors of products are rounded to.
    pub precision: Precision,
    /// Angles and mask.
    pub context: HostContext,
}

/// The inputs by name. In the backward pass the linear maps are transposed.
struct Weights<'a> {
    attention_norm: &'a [f32],
    qkv_proj: Weight<'a>,
    query_norm: &'a [f32],
    key_norm: &'a [f32],
    out_proj: Weight<'a>,
    mlp_norm: &'a [f32],
    gate_up_proj: Weight<'a>,
    down_proj: Weight<'a>,
}

impl<'a> Weights<'a> {
    fn forward(op: &MultiHeadOp, inputs: &[&'a [f32]]) -> Self {
        Self::new(op, inputs, |matrix| matrix)
    }

    fn backward(op: &MultiHeadOp, inputs: &[&'a [f32]]) -> Self {
        Self::new(op, inputs, Matrix::t)
    }

    fn new(
        op: &MultiHeadOp,
        inputs: &[&'a [f32]],
        turn: impl Fn(Matrix<'a>) -> Matrix<'a>,
    ) -> Self {
        let parts = op.context.parts(op.width);
        let map = |data, cols| Weight::new(turn(Matrix::rows(data, cols)), op.precision, parts);
        Self {
            attention_norm: inputs[1],
            qkv_proj: map(inputs[2], op.qkv_width()),
            query_norm: inputs[3],
            key_norm: inputs[4],
            out_proj: map(inputs[5], op.width),
            mlp_norm: inputs[6],
            gate_up_proj: map(inputs[7], 2 * op.feed_forward),
            down_proj: map(inputs[8], op.width),
        }
    }
}

/// What one task of the forward pass reads and writes: its tokens of every array.
struct Part<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    qkv: &'a mut [f32],
    mixed: &'a mut [f32],
    logs: &'a mut [f32],
    h: &'a mut [f32],
    gate_up: &'a mut [f32],
}

impl MultiHeadOp {
    /// Channels of a head.
    fn head_size(&self) -> usize {
        self.width / self.heads
    }

    /// Columns of `J`: queries, keys, values.
    fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.key_heads) * self.head_size()
    }

    fn scale(&self) -> f32 {
        (self.head_size() as f32).sqrt().recip()
    }

    fn forward_part(&self, w: &Weights<'_>, first_row: usize, part: Part<'_>) {
        let (width, size, tokens) = (self.width, self.head_size(), part.x.len() / self.width);
        let mut n = take(part.x.len());
        self.project(w, part.x, &mut n, part.qkv);
        let [q, k] = self.queries_and_keys(w, first_row, part.qkv);
        let row_len = self.context.tokens();
        for row in 0..tokens / row_len {
            for head in 0..self.heads {
                let logs = &mut part.logs[(row * self.heads + head) * row_len..][..row_len];
                let at = row * row_len * width + head * size;
                let out = Rows { data: &mut part.mixed[at..], channels: size, stride: width };
                self.one_head(&q, &k, part.qkv, first_row, row, head).forward(out, logs);
            }
        }
        part.h.copy_from_slice(part.x);
        self.finish(w, &mut n, part.mixed, part.h, part.gate_up, part.y);
    }

    /// Computes `J` of tokens `[tokens, width]`, and their norm.
    fn project(&self, w: &Weights<'_>, x: &[f32], n: &mut [f32], qkv: &mut [f32]) {
        let qw = self.qkv_width();
        norm::rows(x, w.attention_norm, self.epsilon, n);
        w.qkv_proj.set_rows(Target::rows(qkv, qw), Matrix::rows(n, self.width));
    }

    /// Goes on from the mixed values: `h`, which holds `x`, `F` and `y`.
    fn finish(
        &self,
        w: &Weights<'_>,
        n: &mut [f32],
        mixed: &[f32],
        h: &mut [f32],
        gate_up: &mut [f32],
        y: &mut [f32],
    ) {
        let (width, inner) = (self.width, self.feed_forward);
        let tokens = h.len() / width;
        w.out_proj.add_rows(Target::rows(h, width), Matrix::rows(mixed, width));
        norm::rows(h, w.mlp_norm, self.epsilon, n);
        w.gate_up_proj.set_rows(Target::rows(gate_up, 2 * inner), Matrix::rows(n, width));
        let mut m = take(tokens * inner);
        swiglu(inner, gate_up, &mut m);
        y.copy_from_slice(h);
        w.down_proj.add_rows(Target::rows(y, width), Matrix::rows(&m, inner));
    }

    /// Computes normalised and rotated queries and keys, `[tokens, heads * head]` and
    /// `[tokens, key_heads * head]`.
    fn queries_and_keys(&self, w: &Weights<'_>, first_row: usize, qkv: &[f32]) -> [Buffer; 2] {
        let (size, tokens) = (self.head_size(), qkv.len() / self.qkv_width());
        let (mut q, mut k) =
            (take(tokens * self.heads * size), take(tokens * self.key_heads * size));
        norm_and_turn(self.query_turns(w, first_row, tokens), qkv, &mut q);
        norm_and_turn(self.key_turns(w, first_row, tokens), qkv, &mut k);
        [q, k]
    }

    /// Says how the queries of so many tokens are normalised and turned.
    fn query_turns<'a>(&'a self, w: &Weights<'a>, first_row: usize, tokens: usize) -> Turns<'a> {
        let [cos, sin] = self.context.angles(first_row * self.context.tokens(), tokens);
        let (width, epsilon) = (self.qkv_width(), self.epsilon);
        Turns { width, first: 0, heads: self.heads, gamma: w.query_norm, cos, sin, epsilon }
    }

    /// Says how the keys of so many tokens are normalised and turned.
    fn key_turns<'a>(&'a self, w: &Weights<'a>, first_row: usize, tokens: usize) -> Turns<'a> {
        Turns {
            first: self.heads * self.head_size(),
            heads: self.key_heads,
            gamma: w.key_norm,
            ..self.query_turns(w, first_row, tokens)
        }
    }

    /// Returns one head of one row of a part, given its queries, keys and `J`.
    fn one_head<'a>(
        &'a self,
        q: &'a [f32],
        k: &'a [f32],
        qkv: &'a [f32],
        first_row: usize,
        row: usize,
        head: usize,
    ) -> Head<'a> {
        let (size, tokens) = (self.head_size(), self.context.tokens());
        let (heads, key_heads) = (self.heads, self.key_heads);
        let key_head = head * key_heads / heads;
        let at = |data: &'a [f32], stride: usize, channel: usize| {
            Matrix::strided(&data[row * tokens * stride + channel..], [tokens, size], stride)
        };
        Head {
            q: at(q, heads * size, head * size),
            k: at(k, key_heads * size, key_head * size),
            v: at(qkv, self.qkv_width(), (heads + key_heads + key_head) * size),
            ranges: self.context.row(first_row + row),
            scale: self.scale(),
            queries_alone: false,
            precision: self.precision,
        }
    }
}

/// Heads inside the rows of `J`, and what their norm and rotation take.
struct Turns<'a> {
    /// Numbers of a row.
    width: usize,
    /// The first channel of the first head.
    first: usize,
    heads: usize,
    gamma: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    epsilon: f32,
}

vectorised! {
    /// Normalises and rotates heads of `J` into `to`, `[tokens, heads * head]`.
    fn norm_and_turn(turns: Turns<'_>, qkv: &[f32], to: &mut [f32]) {
        let (first, channels, head) =
            (turns.first, turns.heads * turns.gamma.len(), turns.gamma.len());
        let angles = turns.cos.chunks_exact(head / 2).zip(turns.sin.chunks_exact(head / 2));
        let rows = qkv.chunks_exact(turns.width).zip(to.chunks_exact_mut(channels));
        for ((from, to), (cos, sin)) in rows.zip(angles) {
            let from = &from[first..first + channels];
            for (from, to) in from.chunks_exact(head).zip(to.chunks_exact_mut(head)) {
                norm::row(from, turns.gamma, turns.epsilon, to);
                turn(to, cos, sin);
            }
        }
    }

    /// Computes `m = swish(g) r` of rows `(g, r)` of `2 inner` numbers.
    fn swiglu(inner: usize, gate_up: &[f32], m: &mut [f32]) {
        for (m, gate_up) in m.chunks_exact_mut(inner).zip(gate_up.chunks_exact(2 * inner)) {
            let (gate, rest) = gate_up.split_at(inner);
            for ((m, g), r) in m.iter_mut().zip(gate).zip(rest) {
                *m = g * sigmoid(*g) * r;
            }
        }
    }
}

impl Op for MultiHeadOp {
    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let (w, x) = (&Weights::forward(self, inputs), inputs[0]);
        let (width, qw) = (self.width, self.qkv_width());
        let (tokens, inner) = (x.len() / width, self.feed_forward);
        let mut output = vec![0.0; x.len()];
        let mut qkv = take(tokens * qw);
        let (mut mixed, mut h) = (take(x.len()), take(x.len()));
        let (mut logs, mut gate_up) = (take(tokens * self.heads), take(tokens * 2 * inner));
        let rows = self.context.rows_in_part(self.width);
        let size = rows * self.context.tokens();
        let mut tasks = vec![];
        {
            let mut y = output.chunks_mut(size * width);
            let mut qkv = qkv.chunks_mut(size * qw);
            let (mut mixed, mut h) = (mixed.chunks_mut(size * width), h.chunks_mut(size * width));
            let mut logs = logs.chunks_mut(size * self.heads);
            let mut gate_up = gate_up.chunks_mut(size * 2 * inner);
            for x in x.chunks(size * width) {
                next_pieces!(y, qkv, mixed, logs, h, gate_up);
                tasks.push(Part { x, y, qkv, mixed, logs, h, gate_up });
            }
        }
        in_parts(tasks, |index, part| self.forward_part(w, index * rows, part));
        Forward { output, kept: vec![qkv, mixed, logs, h, gate_up] }
    }

    fn backward(&self, inputs: &[&[f32]], kept: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        self.gradients(inputs, kept, dy)
    }
}
