//! Backward through the multi-head block.

use super::{TransformerOp, Turns, Weights};
use crate::flex::attention::Rows;
use crate::flex::buffer::{Buffer, take, take_zeroed};
use crate::flex::matrix::{Matrix, Target, weight_gradients};
use crate::flex::rotary::turn_back;
use crate::flex::simd::{sigmoid, vectorised};
use crate::flex::{add_up, in_parts, next_pieces, norm};

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

impl TransformerOp {
    /// The gradient of every input, in order.
    pub(super) fn gradients(
        &self,
        inputs: &[&[f32]],
        kept: Vec<Buffer>,
        dy: &[f32],
    ) -> Vec<Vec<f32>> {
        let (w, x, width, jw) = (Weights::new(inputs), inputs[0], self.width, self.joint_width());
        let [mut joint, mixed, logs, h, mut feed] =
            <[Buffer; 5]>::try_from(kept).expect("what forward kept");
        let tokens = x.len() / width;
        let (mut n, mut n2, mut dh) = (take(x.len()), take(x.len()), take(x.len()));
        let mut m = take(tokens * self.feed);
        let mut dx = vec![0.0; x.len()];
        let rows = self.places.rows_in_part(self.width);
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

    /// The same, and the gradients of `g` and `r` in place of them.
    fn swiglu_backward(inner: usize, dm: &[f32], feed: &mut [f32], m: &mut [f32]) {
        let rows = dm.chunks_exact(inner).zip(feed.chunks_exact_mut(2 * inner));
        for ((dm, feed), m) in rows.zip(m.chunks_exact_mut(inner)) {
            let (gate, rest) = feed.split_at_mut(inner);
            swiglu_backward_row(dm, gate, rest, m);
        }
    }
}
