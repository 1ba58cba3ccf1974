//! The multi-head block as one operation (see [`crate::transformer`] for its equations).
//!
//! ```text
//! J = n(x; γ₁) W_a;  q̂ = rotate(n(J_q; γ_q)), k̂ = rotate(n(J_k; γ_k)), v = J_v;   O = attention(q̂, k̂, v)
//! h = x + O W_o;     F = n(h; γ₂) W_f;  m = swish(F_g) ⊙ F_r;                     y = h + m W_d
//! ```
//!
//! Backward keeps `J`, `O`, the attention's logarithms, `h` and `F`: per token `(heads + 2 key_heads) head + 2 width +
//! heads + 2 feed_forward` numbers. Norms, rotations, swish and probabilities are computed again. Gradients of weights
//! are products over all tokens: `dW_d = mᵀ dy`, `dW_f = n(h)ᵀ dF`, `dW_o = Oᵀ dh`, `dW_a = n(x)ᵀ dJ`.

mod backward;
mod cached;

use super::attention::{Head, Rows};
use super::buffer::{Buffer, take};
use super::matrix::{Matrix, Target};
use super::rotary::turn;
use super::simd::{sigmoid, vectorised};
use super::{Forward, Op, in_parts, next_pieces, norm};
use crate::rotary::Places;

/// One block's sizes and where its tokens stand. Inputs, in order: `x`, `γ₁`, `W_a`, `γ_q`, `γ_k`, `W_o`, `γ₂`, `W_f`, `W_d`.
#[derive(Debug, Clone)]
pub(crate) struct TransformerOp {
    /// Channels of a token.
    pub width: usize,
    /// Heads of queries; of keys and values.
    pub heads: [usize; 2],
    /// Inner channels of the feed-forward half.
    pub feed: usize,
    /// Of all norms.
    pub epsilon: f32,
    /// Angles and mask.
    pub places: Places,
}

/// The inputs by name.
#[derive(Clone, Copy)]
struct Weights<'a> {
    norm: &'a [f32],
    joint: &'a [f32],
    query_norm: &'a [f32],
    key_norm: &'a [f32],
    output: &'a [f32],
    feed_norm: &'a [f32],
    up: &'a [f32],
    down: &'a [f32],
}

impl<'a> Weights<'a> {
    fn new(inputs: &[&'a [f32]]) -> Self {
        Self {
            norm: inputs[1],
            joint: inputs[2],
            query_norm: inputs[3],
            key_norm: inputs[4],
            output: inputs[5],
            feed_norm: inputs[6],
            up: inputs[7],
            down: inputs[8],
        }
    }
}

/// What one task of the forward pass writes: its tokens of every array.
struct Part<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    joint: &'a mut [f32],
    mixed: &'a mut [f32],
    logs: &'a mut [f32],
    h: &'a mut [f32],
    feed: &'a mut [f32],
}

impl TransformerOp {
    fn head(&self) -> usize {
        self.width / self.heads[0]
    }

    /// Columns of `J`: queries, keys, values.
    fn joint_width(&self) -> usize {
        (self.heads[0] + 2 * self.heads[1]) * self.head()
    }

    fn scale(&self) -> f32 {
        (self.head() as f32).sqrt().recip()
    }

    fn forward_part(&self, w: Weights<'_>, first_row: usize, part: Part<'_>) {
        let tokens = part.x.len() / self.width;
        let mut n = take(part.x.len());
        self.joint(w, part.x, &mut n, part.joint);
        let [q, k] = self.queries_and_keys(w, first_row, part.joint);
        let row_tokens = self.places.tokens();
        for row in 0..tokens / row_tokens {
            for head in 0..self.heads[0] {
                let logs =
                    &mut part.logs[(row * self.heads[0] + head) * row_tokens..][..row_tokens];
                let at = row * row_tokens * self.width + head * self.head();
                let out =
                    Rows { data: &mut part.mixed[at..], channels: self.head(), stride: self.width };
                self.one_head([&q, &k, part.joint], first_row, [row, head]).forward(out, logs);
            }
        }
        part.h.copy_from_slice(part.x);
        self.finish(w, &mut n, [part.mixed, part.h, part.feed, part.y]);
    }

    /// `J` of tokens `[tokens, width]`, and their norm.
    fn joint(&self, w: Weights<'_>, x: &[f32], n: &mut [f32], joint: &mut [f32]) {
        let jw = self.joint_width();
        norm::rows(x, w.norm, self.epsilon, n);
        Target::rows(joint, jw).set(Matrix::rows(n, self.width), Matrix::rows(w.joint, jw), 1.0);
    }

    /// From the mixed values on: `h`, which holds `x`, `F` and `y`.
    fn finish(&self, w: Weights<'_>, n: &mut [f32], [mixed, h, feed, y]: [&mut [f32]; 4]) {
        let (width, inner) = (self.width, self.feed);
        let tokens = h.len() / width;
        Target::rows(h, width).add(Matrix::rows(mixed, width), Matrix::rows(w.output, width), 1.0);
        norm::rows(h, w.feed_norm, self.epsilon, n);
        Target::rows(feed, 2 * inner).set(
            Matrix::rows(n, width),
            Matrix::rows(w.up, 2 * inner),
            1.0,
        );
        let mut m = take(tokens * inner);
        swiglu(inner, feed, &mut m);
        y.copy_from_slice(h);
        Target::rows(y, width).add(Matrix::rows(&m, inner), Matrix::rows(w.down, width), 1.0);
    }

    /// Normalised and rotated queries and keys, `[tokens, heads * head]` and `[tokens, key_heads * head]`.
    fn queries_and_keys(&self, w: Weights<'_>, first_row: usize, joint: &[f32]) -> [Buffer; 2] {
        let (head, jw, [heads, key_heads]) = (self.head(), self.joint_width(), self.heads);
        let tokens = joint.len() / jw;
        let (mut q, mut k) = (take(tokens * heads * head), take(tokens * key_heads * head));
        let [cos, sin] = self.places.angles(first_row * self.places.tokens(), tokens);
        let turns = |of, gamma| Turns { of, gamma, angles: [cos, sin], epsilon: self.epsilon };
        norm_and_turn(turns([jw, 0, heads], w.query_norm), joint, &mut q);
        norm_and_turn(turns([jw, heads * head, key_heads], w.key_norm), joint, &mut k);
        [q, k]
    }

    /// One head of one row of a part, given its queries, keys and `J`.
    fn one_head<'a>(
        &'a self,
        [q, k, joint]: [&'a [f32]; 3],
        first_row: usize,
        [row, head]: [usize; 2],
    ) -> Head<'a> {
        let (size, tokens, [heads, key_heads]) = (self.head(), self.places.tokens(), self.heads);
        let key_head = head * key_heads / heads;
        let at = |data: &'a [f32], stride: usize, channel: usize| {
            Matrix::strided(&data[row * tokens * stride + channel..], [tokens, size], stride)
        };
        Head {
            q: at(q, heads * size, head * size),
            k: at(k, key_heads * size, key_head * size),
            v: at(joint, self.joint_width(), (heads + key_heads + key_head) * size),
            ranges: self.places.row(first_row + row),
            scale: self.scale(),
        }
    }
}

/// Heads inside the rows of `J`: the rows' width, the first channel and the number of heads, the scale of their norm, the
/// angles.
struct Turns<'a> {
    of: [usize; 3],
    gamma: &'a [f32],
    angles: [&'a [f32]; 2],
    epsilon: f32,
}

vectorised! {
    /// Normalises and rotates heads of `J` into `to`, `[tokens, heads * head]`.
    fn norm_and_turn(turns: Turns<'_>, joint: &[f32], to: &mut [f32]) {
        let ([width, first, heads], head, [cos, sin]) = (turns.of, turns.gamma.len(), turns.angles);
        let angles = cos.chunks_exact(head / 2).zip(sin.chunks_exact(head / 2));
        let rows = joint.chunks_exact(width).zip(to.chunks_exact_mut(heads * head));
        for ((from, to), (cos, sin)) in rows.zip(angles) {
            let from = &from[first..first + heads * head];
            for (from, to) in from.chunks_exact(head).zip(to.chunks_exact_mut(head)) {
                norm::row(from, turns.gamma, turns.epsilon, to);
                turn(to, cos, sin);
            }
        }
    }

    /// `m = swish(g) r`, of rows `(g, r)` of `2 inner` numbers.
    fn swiglu(inner: usize, feed: &[f32], m: &mut [f32]) {
        for (m, feed) in m.chunks_exact_mut(inner).zip(feed.chunks_exact(2 * inner)) {
            let (gate, rest) = feed.split_at(inner);
            for ((m, g), r) in m.iter_mut().zip(gate).zip(rest) {
                *m = g * sigmoid(*g) * r;
            }
        }
    }
}

impl Op for TransformerOp {
    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let (w, x, width, jw) = (Weights::new(inputs), inputs[0], self.width, self.joint_width());
        let tokens = x.len() / width;
        let mut output = vec![0.0; x.len()];
        let mut joint = take(tokens * jw);
        let (mut mixed, mut h) = (take(x.len()), take(x.len()));
        let (mut logs, mut feed) = (take(tokens * self.heads[0]), take(tokens * 2 * self.feed));
        let rows = self.places.rows_in_part(self.width);
        let size = rows * self.places.tokens();
        let mut tasks = vec![];
        {
            let mut y = output.chunks_mut(size * width);
            let mut joint = joint.chunks_mut(size * jw);
            let (mut mixed, mut h) = (mixed.chunks_mut(size * width), h.chunks_mut(size * width));
            let mut logs = logs.chunks_mut(size * self.heads[0]);
            let mut feed = feed.chunks_mut(size * 2 * self.feed);
            for x in x.chunks(size * width) {
                next_pieces!(y, joint, mixed, logs, h, feed);
                tasks.push(Part { x, y, joint, mixed, logs, h, feed });
            }
        }
        in_parts(tasks, |index, part| self.forward_part(w, index * rows, part));
        Forward { output, kept: vec![joint, mixed, logs, h, feed] }
    }

    fn backward(&self, inputs: &[&[f32]], kept: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        self.gradients(inputs, kept, dy)
    }
}
