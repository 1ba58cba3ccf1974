//! The backward pass of the multi-head block.

use super::{MultiHeadOp, Turns, Weights};
use crate::flex::attention::{HeadGradients, Rows};
use crate::flex::buffer::{Buffer, take, take_zeroed};
use crate::flex::matrix::{Matrix, Product, Target, weight_gradients};
use crate::flex::rotary::turn_back;
use crate::flex::simd::{sigmoid, vectorised};
use crate::flex::{add_up, in_parts, next_pieces, norm};

/// What one task of the backward pass reads and writes. `qkv` and `gate_up` turn into their own
/// gradients.
struct BackPart<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    logs: &'a [f32],
    h: &'a [f32],
    qkv: &'a mut [f32],
    gate_up: &'a mut [f32],
    dx: &'a mut [f32],
    dh: &'a mut [f32],
    n: &'a mut [f32],
    n2: &'a mut [f32],
    m: &'a mut [f32],
}

/// Gradients of rotated queries, rotated keys and values, token by token.
struct QkvGradients {
    dq: Buffer,
    dk: Buffer,
    dv: Buffer,
}

impl MultiHeadOp {
    /// Computes the gradient of every input, in order.
    pub(super) fn gradients(
        &self,
        inputs: &[&[f32]],
        kept: Vec<Buffer>,
        dy: &[f32],
    ) -> Vec<Vec<f32>> {
        let (w, x) = (&Weights::backward(self, inputs), inputs[0]);
        let (width, qw) = (self.width, self.qkv_width());
        let [mut qkv, mixed, logs, h, mut gate_up] =
            <[Buffer; 5]>::try_from(kept).expect("what forward kept");
        let (tokens, inner) = (x.len() / width, self.feed_forward);
        let (mut n, mut n2, mut dh) = (take(x.len()), take(x.len()), take(x.len()));
        let mut m = take(tokens * inner);
        let mut dx = vec![0.0; x.len()];
        let rows = self.context.rows_in_part(self.width);
        let size = rows * self.context.tokens();
        let mut tasks = vec![];
        {
            let (mut dy, mut h) = (dy.chunks(size * width), h.chunks(size * width));
            let mut logs = logs.chunks(size * self.heads);
            let mut qkv = qkv.chunks_mut(size * qw);
            let mut gate_up = gate_up.chunks_mut(size * 2 * inner);
            let (mut dx, mut dh) = (dx.chunks_mut(size * width), dh.chunks_mut(size * width));
            let (mut n, mut n2) = (n.chunks_mut(size * width), n2.chunks_mut(size * width));
            let mut m = m.chunks_mut(size * inner);
            for x in x.chunks(size * width) {
                next_pieces!(dy, logs, h, qkv, gate_up, dx, dh, n, n2, m);
                tasks.push(BackPart { x, dy, logs, h, qkv, gate_up, dx, dh, n, n2, m });
            }
        }
        let parts = in_parts(tasks, |index, part| self.backward_part(w, index * rows, part));
        let [dnorm, dquery, dkey, dmlp_norm] = add_up(parts);
        let products = [
            Product::new(Matrix::rows(&n, width), Matrix::rows(&qkv, qw)),
            Product::new(Matrix::rows(&mixed, width), Matrix::rows(&dh, width)),
            Product::new(Matrix::rows(&n2, width), Matrix::rows(&gate_up, 2 * inner)),
            Product::new(Matrix::rows(&m, inner), Matrix::rows(dy, width)),
        ];
        let [dqkv, dout, dgate_up, ddown] = weight_gradients(products, self.precision);
        vec![dx, dnorm, dqkv, dquery, dkey, dout, dmlp_norm, dgate_up, ddown]
    }

    /// Returns the small gradients of a part: `dγ₁`, `dγ_q`, `dγ_k`, `dγ₂`.
    fn backward_part(
        &self,
        w: &Weights<'_>,
        first_row: usize,
        part: BackPart<'_>,
    ) -> [Vec<f32>; 4] {
        let (width, inner, tokens) = (self.width, self.feed_forward, part.x.len() / self.width);
        let sizes = [width, self.head_size(), self.head_size(), width];
        let mut small = sizes.map(|size| vec![0.0; size]);
        let [dnorm, dquery, dkey, dmlp_norm] = &mut small;

        norm::rows(part.h, w.mlp_norm, self.epsilon, part.n2);
        let mut dm = take(tokens * inner);
        w.down_proj.set(Target::rows(&mut dm, inner), Matrix::rows(part.dy, width));
        swiglu_backward(inner, &dm, part.gate_up, part.m);
        drop(dm);
        let mut dn = take(tokens * width);
        w.gate_up_proj.set(Target::rows(&mut dn, width), Matrix::rows(part.gate_up, 2 * inner));
        part.dh.copy_from_slice(part.dy);
        norm::rows_backward(part.h, w.mlp_norm, &dn, self.epsilon, part.dh, dmlp_norm);

        w.out_proj.set(Target::rows(&mut dn, width), Matrix::rows(part.dh, width));
        let grads = self.attention_backward(w, first_row, part.qkv, &dn, part.logs);
        self.qkv_backward(w, first_row, &grads, part.qkv, dquery, dkey);

        norm::rows(part.x, w.attention_norm, self.epsilon, part.n);
        let qw = self.qkv_width();
        w.qkv_proj.set(Target::rows(&mut dn, width), Matrix::rows(part.qkv, qw));
        part.dx.copy_from_slice(part.dh);
        norm::rows_backward(part.x, w.attention_norm, &dn, self.epsilon, part.dx, dnorm);
        small
    }

    /// Goes back through attention, given `J`, the gradient of the mixed values and the logarithms.
    fn attention_backward(
        &self,
        w: &Weights<'_>,
        first_row: usize,
        qkv: &[f32],
        dmixed: &[f32],
        logs: &[f32],
    ) -> QkvGradients {
        let (size, row_len) = (self.head_size(), self.context.tokens());
        let (heads, key_heads) = (self.heads, self.key_heads);
        let [q, k] = self.queries_and_keys(w, first_row, qkv);
        let tokens = dmixed.len() / self.width;
        let (mut dq, mut dk) = (take_zeroed(q.len()), take_zeroed(k.len()));
        let mut dv = take_zeroed(k.len());
        for row in 0..tokens / row_len {
            for head in 0..heads {
                let first = row * row_len;
                let (wide, narrow) = (heads * size, key_heads * size);
                let key_head = head * key_heads / heads;
                let of_query = first * wide + head * size;
                let of_key = first * narrow + key_head * size;
                let dout = Matrix::strided(&dmixed[of_query..], [row_len, size], wide);
                let grads = HeadGradients {
                    dq: Rows { data: &mut dq[of_query..], channels: size, stride: wide },
                    dk: Rows { data: &mut dk[of_key..], channels: size, stride: narrow },
                    dv: Rows { data: &mut dv[of_key..], channels: size, stride: narrow },
                };
                let logs = &logs[(row * heads + head) * row_len..][..row_len];
                self.one_head(&q, &k, qkv, first_row, row, head).backward(dout, logs, grads);
            }
        }
        QkvGradients { dq, dk, dv }
    }

    /// Turns `J` into its gradient: back through rotation and norm for queries and keys, a copy for
    /// values.
    fn qkv_backward(
        &self,
        w: &Weights<'_>,
        first_row: usize,
        grads: &QkvGradients,
        qkv: &mut [f32],
        dquery: &mut [f32],
        dkey: &mut [f32],
    ) {
        let (size, qw) = (self.head_size(), self.qkv_width());
        let tokens = qkv.len() / qw;
        turn_back_and_norm(self.query_turns(w, first_row, tokens), &grads.dq, qkv, dquery);
        turn_back_and_norm(self.key_turns(w, first_row, tokens), &grads.dk, qkv, dkey);
        let (first, narrow) = ((self.heads + self.key_heads) * size, self.key_heads * size);
        for (qkv, dv) in qkv.chunks_exact_mut(qw).zip(grads.dv.chunks_exact(narrow)) {
            qkv[first..].copy_from_slice(dv);
        }
    }
}

/// Does one row of [`swiglu_backward`], in blocks of sixteen that are loaded whole before anything
/// is stored.
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
    /// Goes back from `dy`, `[tokens, heads * head]`: heads of `J` turn into their gradient.
    fn turn_back_and_norm(turns: Turns<'_>, dy: &[f32], qkv: &mut [f32], dgamma: &mut [f32]) {
        let (first, channels, head) =
            (turns.first, turns.heads * turns.gamma.len(), turns.gamma.len());
        let angles = turns.cos.chunks_exact(head / 2).zip(turns.sin.chunks_exact(head / 2));
        let rows = qkv.chunks_exact_mut(turns.width).zip(dy.chunks_exact(channels));
        let mut scratch = vec![0.0; 2 * head];
        let (turned, dx) = scratch.split_at_mut(head);
        for ((qkv, dy), (cos, sin)) in rows.zip(angles) {
            let qkv = &mut qkv[first..first + channels];
            for (x, dy) in qkv.chunks_exact_mut(head).zip(dy.chunks_exact(head)) {
                turned.copy_from_slice(dy);
                turn_back(turned, cos, sin);
                dx.fill(0.0);
                norm::row_backward(x, turns.gamma, turned, turns.epsilon, dx, dgamma);
                x.copy_from_slice(dx);
            }
        }
    }

    /// Computes `m = swish(g) r`, and the gradients of `g` and `r` in place of them.
    fn swiglu_backward(inner: usize, dm: &[f32], gate_up: &mut [f32], m: &mut [f32]) {
        let rows = dm.chunks_exact(inner).zip(gate_up.chunks_exact_mut(2 * inner));
        for ((dm, gate_up), m) in rows.zip(m.chunks_exact_mut(inner)) {
            let (gate, rest) = gate_up.split_at_mut(inner);
            swiglu_backward_row(dm, gate, rest, m);
        }
    }
}
