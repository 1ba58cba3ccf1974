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

use super::attention::{Head, Rows};
use super::buffer::{Buffer, take, take_zeroed};
use super::matrix::{Matrix, Target};
use super::rotary::{turn, turn_back};
use super::simd::{sigmoid, vectorised};
use super::{Forward, GRADIENT_ROWS, Op, Places, add_up, in_parts, next_pieces, norm};

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

/// What one task of the backward pass reads and writes. `joint` and `feed` turn into their own gradients.
struct BackPart<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    logs: &'a [f32],
    h: &'a [f32],
    joint: &'a mut [f32],
    feed: &'a mut [f32],
    dx: &'a mut [f32],
    dh: &'a mut [f32],
    n: &'a mut [f32],
    n2: &'a mut [f32],
    m: &'a mut [f32],
}

/// Keys and values of a prefix, and where those of new tokens go: `[rows, key_heads, tokens, head]` each.
pub(crate) struct Past<'a> {
    /// Keys and values before these tokens.
    pub old: [&'a [f32]; 2],
    /// How many tokens they hold.
    pub tokens: usize,
    /// Keys and values of these tokens.
    pub new: [&'a mut [f32]; 2],
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
        let mut n = take(tokens * self.width);
        norm::rows(part.x, w.norm, self.epsilon, &mut n);
        let jw = self.joint_width();
        Target::rows(part.joint, jw).set(
            Matrix::rows(&n, self.width),
            Matrix::rows(w.joint, jw),
            1.0,
        );
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

    /// The small gradients of a part: `dγ₁`, `dγ_q`, `dγ_k`, `dγ₂`.
    fn backward_part(&self, w: Weights<'_>, first_row: usize, part: BackPart<'_>) -> [Vec<f32>; 4] {
        let (width, inner, tokens) = (self.width, self.feed, part.x.len() / self.width);
        let mut small =
            [self.width, self.head(), self.head(), self.width].map(|size| vec![0.0; size]);
        let [dnorm, dquery, dkey, dfeed] = &mut small;

        norm::rows(part.h, w.feed_norm, self.epsilon, part.n2);
        let mut dm = take(tokens * inner);
        let down = Matrix::rows(w.down, width);
        Target::rows(&mut dm, inner).set(Matrix::rows(part.dy, width), down.t(), 1.0);
        swiglu_backward(inner, &dm, part.feed, part.m);
        drop(dm);
        let mut dn = take(tokens * width);
        let up = Matrix::rows(w.up, 2 * inner);
        Target::rows(&mut dn, width).set(Matrix::rows(part.feed, 2 * inner), up.t(), 1.0);
        part.dh.copy_from_slice(part.dy);
        norm::rows_backward([part.h, w.feed_norm, &dn], self.epsilon, part.dh, dfeed);

        let output = Matrix::rows(w.output, width);
        Target::rows(&mut dn, width).set(Matrix::rows(part.dh, width), output.t(), 1.0);
        let attended = [&*part.joint, &dn, part.logs];
        let [dq, dk, dv] = self.attention_backward(w, first_row, attended);
        self.joint_backward((w, first_row), [&dq, &dk, &dv], part.joint, [dquery, dkey]);

        norm::rows(part.x, w.norm, self.epsilon, part.n);
        let jw = self.joint_width();
        let joint = Matrix::rows(w.joint, jw);
        Target::rows(&mut dn, width).set(Matrix::rows(part.joint, jw), joint.t(), 1.0);
        part.dx.copy_from_slice(part.dh);
        norm::rows_backward([part.x, w.norm, &dn], self.epsilon, part.dx, dnorm);
        small
    }

    /// Gradients of rotated queries, rotated keys and values, token by token.
    fn attention_backward(
        &self,
        w: Weights<'_>,
        first_row: usize,
        [joint, dmixed, logs]: [&[f32]; 3],
    ) -> [Buffer; 3] {
        let (size, row_tokens, [heads, key_heads]) =
            (self.head(), self.places.tokens(), self.heads);
        let [q, k] = self.queries_and_keys(w, first_row, joint);
        let tokens = dmixed.len() / self.width;
        let (mut dq, mut dk) = (take_zeroed(q.len()), take_zeroed(k.len()));
        let mut dv = take_zeroed(k.len());
        for row in 0..tokens / row_tokens {
            for head in 0..heads {
                let first = row * row_tokens;
                let (wide, narrow) = (heads * size, key_heads * size);
                let key_head = head * key_heads / heads;
                let of_query = first * wide + head * size;
                let of_key = first * narrow + key_head * size;
                let dout = Matrix::strided(&dmixed[of_query..], [row_tokens, size], wide);
                let rows = |data, stride| Rows { data, channels: size, stride };
                let grads = [
                    rows(&mut dq[of_query..], wide),
                    rows(&mut dk[of_key..], narrow),
                    rows(&mut dv[of_key..], narrow),
                ];
                let logs = &logs[(row * heads + head) * row_tokens..][..row_tokens];
                self.one_head([&q, &k, joint], first_row, [row, head]).backward(dout, logs, grads);
            }
        }
        [dq, dk, dv]
    }

    /// Turns `J` into its gradient: back through rotation and norm for queries and keys, a copy for values.
    fn joint_backward(
        &self,
        (w, first_row): (Weights<'_>, usize),
        [dq, dk, dv]: [&[f32]; 3],
        joint: &mut [f32],
        [dquery, dkey]: [&mut Vec<f32>; 2],
    ) {
        let (head, jw, [heads, key_heads]) = (self.head(), self.joint_width(), self.heads);
        let tokens = joint.len() / jw;
        let [cos, sin] = self.places.angles(first_row * self.places.tokens(), tokens);
        let turns = |of, gamma| Turns { of, gamma, angles: [cos, sin], epsilon: self.epsilon };
        turn_back_and_norm(turns([jw, 0, heads], w.query_norm), dq, joint, dquery);
        turn_back_and_norm(turns([jw, heads * head, key_heads], w.key_norm), dk, joint, dkey);
        let (first, narrow) = ((heads + key_heads) * head, key_heads * head);
        for (joint, dv) in joint.chunks_exact_mut(jw).zip(dv.chunks_exact(narrow)) {
            joint[first..].copy_from_slice(dv);
        }
    }

    /// The block for tokens that follow a prefix: `y`, and keys and values into `past.new`. One task, no gradients.
    pub(crate) fn forward_cached(&self, inputs: &[&[f32]], past: Past<'_>) -> Vec<f32> {
        let w = Weights::new(inputs);
        let (x, width, jw, size) = (inputs[0], self.width, self.joint_width(), self.head());
        let [heads, key_heads] = self.heads;
        let (tokens, n_new, n_old) = (x.len() / width, self.places.tokens(), past.tokens);
        let mut n = take(tokens * width);
        norm::rows(x, w.norm, self.epsilon, &mut n);
        let mut joint = take(tokens * jw);
        Target::rows(&mut joint, jw).set(Matrix::rows(&n, width), Matrix::rows(w.joint, jw), 1.0);
        let [q, k] = self.queries_and_keys(w, 0, &joint);
        let (mut mixed, mut logs) = (take(tokens * width), take(n_new));
        let mut all = [take((n_old + n_new) * size), take((n_old + n_new) * size)];
        let [new_keys, new_values] = past.new;
        for row in 0..tokens / n_new {
            for key_head in 0..key_heads {
                let block = row * key_heads + key_head;
                let sources = [
                    (past.old[0], &k[..], key_heads * size, key_head * size, &mut *new_keys),
                    (
                        past.old[1],
                        &joint[..],
                        jw,
                        (heads + key_heads + key_head) * size,
                        &mut *new_values,
                    ),
                ];
                for ((old, now, stride, channel, new), all) in sources.into_iter().zip(&mut all) {
                    let (head, tail) = all.split_at_mut(n_old * size);
                    head.copy_from_slice(&old[block * n_old * size..][..n_old * size]);
                    for (token, to) in tail.chunks_exact_mut(size).enumerate() {
                        to.copy_from_slice(
                            &now[(row * n_new + token) * stride + channel..][..size],
                        );
                    }
                    new[block * n_new * size..][..n_new * size].copy_from_slice(tail);
                }
                let group = heads / key_heads;
                for head in key_head * group..(key_head + 1) * group {
                    let at = row * n_new * heads * size + head * size;
                    let one = Head {
                        q: Matrix::strided(&q[at..], [n_new, size], heads * size),
                        k: Matrix::rows(&all[0], size),
                        v: Matrix::rows(&all[1], size),
                        ranges: self.places.row(row),
                        scale: self.scale(),
                    };
                    let out = Rows { data: &mut mixed[at..], channels: size, stride: width };
                    one.forward(out, &mut logs);
                }
            }
        }
        let (mut h, mut feed, mut y) =
            (take(x.len()), take(tokens * 2 * self.feed), vec![0.0; x.len()]);
        h.copy_from_slice(x);
        self.finish(w, &mut n, [&mut mixed, &mut h, &mut feed, &mut y]);
        y
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

/// One row of [`swiglu_backward`], in blocks of sixteen that are loaded whole before anything is stored.
#[inline(always)]
fn swiglu_backward_row(dm: &[f32], gate: &mut [f32], rest: &mut [f32], m: &mut [f32]) {
    let ((dm, dm_end), (gate, gate_end)) = (dm.as_chunks::<16>(), gate.as_chunks_mut::<16>());
    let ((rest, rest_end), (m, m_end)) = (rest.as_chunks_mut::<16>(), m.as_chunks_mut::<16>());
    for (((dm, gate), rest), m) in dm.iter().zip(gate).zip(rest).zip(m) {
        let (d, g, r) = (*dm, *gate, *rest);
        let mut share = [0.0; 16];
        for i in 0..16 {
            share[i] = sigmoid(g[i]);
        }
        for i in 0..16 {
            let swish = g[i] * share[i];
            m[i] = swish * r[i];
            rest[i] = d[i] * swish;
            gate[i] = d[i] * r[i] * (share[i] + swish * (1.0 - share[i]));
        }
    }
    for (((d, g), r), m) in dm_end.iter().zip(gate_end).zip(rest_end).zip(m_end) {
        let share = sigmoid(*g);
        let swish = *g * share;
        *m = swish * *r;
        *g = d * *r * (share + swish * (1.0 - share));
        *r = d * swish;
    }
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

    /// Back from `dy`, `[tokens, heads * head]`: heads of `J` turn into their gradient.
    fn turn_back_and_norm(turns: Turns<'_>, dy: &[f32], joint: &mut [f32], dgamma: &mut [f32]) {
        let ([width, first, heads], head, [cos, sin]) = (turns.of, turns.gamma.len(), turns.angles);
        let angles = cos.chunks_exact(head / 2).zip(sin.chunks_exact(head / 2));
        let rows = joint.chunks_exact_mut(width).zip(dy.chunks_exact(heads * head));
        let mut scratch = vec![0.0; 2 * head];
        let (turned, dx) = scratch.split_at_mut(head);
        for ((joint, dy), (cos, sin)) in rows.zip(angles) {
            let joint = &mut joint[first..first + heads * head];
            for (x, dy) in joint.chunks_exact_mut(head).zip(dy.chunks_exact(head)) {
                turned.copy_from_slice(dy);
                turn_back(turned, cos, sin);
                dx.fill(0.0);
                norm::row_backward([x, turns.gamma, turned], turns.epsilon, dx, dgamma);
                x.copy_from_slice(dx);
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

    /// The same, and the gradients of `g` and `r` in place of them.
    fn swiglu_backward(inner: usize, dm: &[f32], feed: &mut [f32], m: &mut [f32]) {
        let rows = dm.chunks_exact(inner).zip(feed.chunks_exact_mut(2 * inner));
        for ((dm, feed), m) in rows.zip(m.chunks_exact_mut(inner)) {
            let (gate, rest) = feed.split_at_mut(inner);
            swiglu_backward_row(dm, gate, rest, m);
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
        let rows = self.places.rows_in_part();
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
        let (w, x, width, jw) = (Weights::new(inputs), inputs[0], self.width, self.joint_width());
        let [mut joint, mixed, logs, h, mut feed] =
            <[Buffer; 5]>::try_from(kept).expect("what forward kept");
        let tokens = x.len() / width;
        let (mut n, mut n2, mut dh) = (take(x.len()), take(x.len()), take(x.len()));
        let mut m = take(tokens * self.feed);
        let mut dx = vec![0.0; x.len()];
        let rows = self.places.rows_in_part();
        let size = rows * self.places.tokens();
        let mut tasks = vec![];
        {
            let (mut dy, mut h) = (dy.chunks(size * width), h.chunks(size * width));
            let mut logs = logs.chunks(size * self.heads[0]);
            let mut joint = joint.chunks_mut(size * jw);
            let mut feed = feed.chunks_mut(size * 2 * self.feed);
            let (mut dx, mut dh) = (dx.chunks_mut(size * width), dh.chunks_mut(size * width));
            let (mut n, mut n2) = (n.chunks_mut(size * width), n2.chunks_mut(size * width));
            let mut m = m.chunks_mut(size * self.feed);
            for x in x.chunks(size * width) {
                next_pieces!(dy, logs, h, joint, feed, dx, dh, n, n2, m);
                tasks.push(BackPart { x, dy, logs, h, joint, feed, dx, dh, n, n2, m });
            }
        }
        let parts = in_parts(tasks, |index, part| self.backward_part(w, index * rows, part));
        let [dnorm, dquery, dkey, dfeed] = add_up(parts);
        let [djoint, doutput, dup, ddown] = weight_gradients([
            (Matrix::rows(&n, width), Matrix::rows(&joint, jw), jw),
            (Matrix::rows(&mixed, width), Matrix::rows(&dh, width), width),
            (Matrix::rows(&n2, width), Matrix::rows(&feed, 2 * self.feed), 2 * self.feed),
            (Matrix::rows(&m, self.feed), Matrix::rows(dy, width), width),
        ]);
        vec![dx, dnorm, djoint, dquery, dkey, doutput, dfeed, dup, ddown]
    }
}

/// `aᵀ b` for each pair, whose second has that many columns; all products share the threads.
pub(super) fn weight_gradients<const N: usize>(
    pairs: [(Matrix<'_>, Matrix<'_>, usize); N],
) -> [Vec<f32>; N] {
    let mut products = pairs.each_ref().map(|(a, _, cols)| vec![0.0; a.t().height() * cols]);
    let tasks: Vec<_> = products
        .iter_mut()
        .zip(&pairs)
        .flat_map(|(product, (a, b, cols))| {
            let parts = product.chunks_mut(GRADIENT_ROWS * cols).enumerate();
            parts.map(move |(index, part)| {
                let first = index * GRADIENT_ROWS;
                (a.t().slice(first, part.len() / cols), *b, *cols, part)
            })
        })
        .collect();
    in_parts(tasks, |_, (a, b, cols, part)| Target::rows(part, cols).set(a, b, 1.0));
    products
}
