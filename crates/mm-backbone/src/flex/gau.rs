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

use super::attention::{Head, Rows};
use super::buffer::{Buffer, take, take_zeroed};
use super::matrix::{Matrix, Target};
use super::rotary::{turn, turn_back};
use super::simd::{self, sigmoid, vectorised};
use super::transformer::{Past, weight_gradients};
use super::{Forward, Op, Places, add_up, in_parts, next_pieces, norm};

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

/// What one task of the backward pass reads and writes. `joint` turns into its own gradient.
struct BackPart<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    mixed: &'a [f32],
    logs: &'a [f32],
    joint: &'a mut [f32],
    dx: &'a mut [f32],
    n: &'a mut [f32],
    gated: &'a mut [f32],
}

/// Gradients of `γ`, `γ_q`, `γ_k`, `b_i`, `β_q`, `β_k`, `b_o` of one part.
type Small = [Vec<f32>; 7];

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

    fn backward_part(&self, w: Weights<'_>, first_row: usize, part: BackPart<'_>) -> Small {
        let (e, size, jw, width) = (self.expanded, self.key_size, self.joint_width(), self.width);
        let (tokens, row_tokens) = (part.x.len() / width, self.places.tokens());
        let sizes = [width, size, size, jw, size, size, width];
        let mut small = sizes.map(|size| vec![0.0; size]);
        let mut active = take(part.joint.len());
        swish_and_slope(part.joint, &mut active);
        let mut dmixed = take(tokens * e);
        let output = Matrix::rows(w.output, width);
        Target::rows(&mut dmixed, e).set(Matrix::rows(part.dy, width), output.t(), 1.0);

        let mut dactive = take_zeroed(active.len());
        gate_backward([jw, e], [&active, part.mixed], [&mut dmixed, &mut dactive, part.gated]);
        let [q, k] = self.queries_and_keys(w, first_row, &active);
        let (mut dq, mut dk) = (take_zeroed(q.len()), take_zeroed(k.len()));
        for row in 0..tokens / row_tokens {
            let first = row * row_tokens;
            let dout = Matrix::strided(&dmixed[first * e..], [row_tokens, e], e);
            let grads = [
                Rows { data: &mut dq[first * size..], channels: size, stride: size },
                Rows { data: &mut dk[first * size..], channels: size, stride: size },
                Rows { data: &mut dactive[first * jw + e..], channels: e, stride: jw },
            ];
            let logs = &part.logs[first..first + row_tokens];
            self.head([&q, &k, &active], first_row, row).backward(dout, logs, grads);
        }
        self.projection_backward((w, first_row), [&active, &dq, &dk], &mut dactive, &mut small);
        simd::multiply(part.joint, &dactive);
        if w.biases.is_some() {
            column_sums(part.joint, &mut small[3]);
            column_sums(part.dy, &mut small[6]);
        }
        norm::rows(part.x, w.norm, self.epsilon, part.n);
        let mut dn = take(part.x.len());
        let joint = Matrix::rows(w.joint, jw);
        Target::rows(&mut dn, width).set(Matrix::rows(part.joint, jw), joint.t(), 1.0);
        part.dx.copy_from_slice(part.dy);
        norm::rows_backward([part.x, w.norm, &dn], self.epsilon, part.dx, &mut small[0]);
        small
    }

    /// Back from rotated queries and keys to `z`, and to their scales and offsets.
    fn projection_backward(
        &self,
        (w, first_row): (Weights<'_>, usize),
        [active, dq, dk]: [&[f32]; 3],
        dactive: &mut [f32],
        small: &mut Small,
    ) {
        let jw = self.joint_width();
        let tokens = active.len() / jw;
        let [cos, sin] = self.places.angles(first_row * self.places.tokens(), tokens);
        let (gammas, betas) = small.split_at_mut(4);
        let sums = gammas[1..3].iter_mut().zip(&mut betas[..2]);
        for (side, (dy, (dgamma, dbeta))) in [dq, dk].into_iter().zip(sums).enumerate() {
            let z = Projection {
                of: [jw, 2 * self.expanded],
                gamma: w.gammas[side],
                beta: None,
                angles: [cos, sin],
            };
            turn_back_and_scale(z, [active, dy], dactive, [dgamma, dbeta]);
        }
    }

    /// The unit for tokens that follow a prefix: `y`, and keys and values into `past.new`. One task, no gradients.
    pub(crate) fn forward_cached(&self, inputs: &[&[f32]], past: Past<'_>) -> Vec<f32> {
        let (w, x, jw) = (Weights::new(inputs), inputs[0], self.joint_width());
        let (e, size, n_old) = (self.expanded, self.key_size, past.tokens);
        let (tokens, n_new) = (x.len() / self.width, self.places.tokens());
        let (mut joint, mut active) = (take(tokens * jw), take(tokens * jw));
        self.joint(w, x, &mut joint);
        swish(&joint, &mut active);
        let [q, k] = self.queries_and_keys(w, 0, &active);
        let (mut mixed, mut logs) = (take(tokens * e), take(n_new));
        let (mut keys, mut values) = (take((n_old + n_new) * size), take((n_old + n_new) * e));
        let [new_keys, new_values] = past.new;
        new_keys.copy_from_slice(&k);
        for (active, new) in active.chunks_exact(jw).zip(new_values.chunks_exact_mut(e)) {
            new.copy_from_slice(&active[e..2 * e]);
        }
        for row in 0..tokens / n_new {
            let join = |all: &mut [f32], old: &[f32], new: &[f32], channels: usize| {
                let (head, tail) = all.split_at_mut(n_old * channels);
                head.copy_from_slice(&old[row * n_old * channels..][..n_old * channels]);
                tail.copy_from_slice(&new[row * n_new * channels..][..n_new * channels]);
            };
            join(&mut keys, past.old[0], new_keys, size);
            join(&mut values, past.old[1], new_values, e);
            let one = Head {
                q: Matrix::strided(&q[row * n_new * size..], [n_new, size], size),
                k: Matrix::rows(&keys, size),
                v: Matrix::rows(&values, e),
                ranges: self.places.row(row),
                scale: self.scale(),
            };
            let out = Rows { data: &mut mixed[row * n_new * e..], channels: e, stride: e };
            one.forward(out, &mut logs);
        }
        let mut y = vec![0.0; x.len()];
        self.finish(w, x, [&mut active, &mut mixed, &mut y]);
        y
    }
}

impl Op for GauOp {
    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let (w, x, width, jw) = (Weights::new(inputs), inputs[0], self.width, self.joint_width());
        let tokens = x.len() / width;
        let mut output = vec![0.0; x.len()];
        let (mut joint, mut mixed) = (take(tokens * jw), take(tokens * self.expanded));
        let mut logs = take(tokens);
        let rows = self.places.rows_in_part();
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
        let (w, x, width, jw) = (Weights::new(inputs), inputs[0], self.width, self.joint_width());
        let [mut joint, mixed, logs] = <[Buffer; 3]>::try_from(kept).expect("what forward kept");
        let e = self.expanded;
        let (mut n, mut gated) = (take(x.len()), take(mixed.len()));
        let mut dx = vec![0.0; x.len()];
        let rows = self.places.rows_in_part();
        let size = rows * self.places.tokens();
        let mut tasks = vec![];
        {
            let (mut dy, mut mixed) = (dy.chunks(size * width), mixed.chunks(size * e));
            let mut logs = logs.chunks(size);
            let mut joint = joint.chunks_mut(size * jw);
            let (mut dx, mut n) = (dx.chunks_mut(size * width), n.chunks_mut(size * width));
            let mut gated = gated.chunks_mut(size * e);
            for x in x.chunks(size * width) {
                next_pieces!(dy, mixed, logs, joint, dx, n, gated);
                tasks.push(BackPart { x, dy, mixed, logs, joint, dx, n, gated });
            }
        }
        let parts = in_parts(tasks, |index, part| self.backward_part(w, index * rows, part));
        let [dnorm, dquery, dkey, dbias, dbeta_q, dbeta_k, dbias_o] = add_up(parts);
        let [djoint, doutput] = weight_gradients([
            (Matrix::rows(&n, width), Matrix::rows(&joint, jw), jw),
            (Matrix::rows(&gated, e), Matrix::rows(dy, width), width),
        ]);
        let mut grads = vec![dx, dnorm, djoint, dquery, dkey, doutput];
        if w.biases.is_some() {
            grads.extend([dbias, dbeta_q, dbeta_k, dbias_o]);
        }
        grads
    }
}

/// One row, again and again.
fn repeat(row: &[f32], rows: &mut [f32]) {
    for to in rows.chunks_exact_mut(row.len()) {
        to.copy_from_slice(row);
    }
}

/// Adds every row to `sums`.
fn column_sums(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        simd::add(sums, row);
    }
}

/// Where `z` stands in rows of activated tokens (their width, its first channel), and what makes queries or keys of it.
struct Projection<'a> {
    of: [usize; 2],
    gamma: &'a [f32],
    beta: Option<&'a [f32]>,
    angles: [&'a [f32]; 2],
}

/// One row of [`gate_backward`].
#[inline(always)]
fn gate_backward_row([u, o]: [&[f32]; 2], d: &mut [f32], du: &mut [f32], gated: &mut [f32]) {
    for ((((u, o), d), du), g) in u.iter().zip(o).zip(d).zip(du).zip(gated) {
        *g = u * o;
        *du = *d * o;
        *d *= u;
    }
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

    /// Adds to the gradients of `z` inside `dactive`, of `γ` and of `β`; `given` holds the activated tokens and `dy`.
    fn turn_back_and_scale(
        z: Projection<'_>,
        given: [&[f32]; 2],
        dactive: &mut [f32],
        sums: [&mut Vec<f32>; 2],
    ) {
        let ([width, first], size, [cos, sin]) = (z.of, z.gamma.len(), z.angles);
        let [dgamma, dbeta] = sums;
        let angles = cos.chunks_exact(size / 2).zip(sin.chunks_exact(size / 2));
        let rows = given[0].chunks_exact(width).zip(given[1].chunks_exact(size));
        let mut turned = vec![0.0; size];
        for (((active, dy), dactive), (cos, sin)) in
            rows.zip(dactive.chunks_exact_mut(width)).zip(angles)
        {
            turned.copy_from_slice(dy);
            turn_back(&mut turned, cos, sin);
            let (values, dz) = (&active[first..][..size], &mut dactive[first..][..size]);
            for ((dz, gamma), d) in dz.iter_mut().zip(z.gamma).zip(&turned) {
                *dz += gamma * d;
            }
            for ((dgamma, z), d) in dgamma.iter_mut().zip(values).zip(&turned) {
                *dgamma += z * d;
            }
            for (dbeta, d) in dbeta.iter_mut().zip(&turned) {
                *dbeta += d;
            }
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

    /// Given activated tokens and `O`: `dG` turns into `dO`, and `du` and `G` are written. `sizes` are the channels of a
    /// token and of `u`.
    fn gate_backward(sizes: [usize; 2], given: [&[f32]; 2], outputs: [&mut [f32]; 3]) {
        let ([width, e], [dgated, dactive, gated]) = (sizes, outputs);
        let read = given[0].chunks_exact(width).zip(given[1].chunks_exact(e));
        let written = dactive.chunks_exact_mut(width).zip(gated.chunks_exact_mut(e));
        for (((active, mixed), (dactive, gated)), dgated) in
            read.zip(written).zip(dgated.chunks_exact_mut(e))
        {
            gate_backward_row([&active[..e], mixed], dgated, &mut dactive[..e], gated);
        }
    }

    /// `x σ(x)`
    fn swish(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            *y = x * sigmoid(*x);
        }
    }

    /// `y = x σ(x)`, and its derivative in place of `x`.
    fn swish_and_slope(x: &mut [f32], y: &mut [f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            let share = sigmoid(*x);
            *y = *x * share;
            *x = share + *y * (1.0 - share);
        }
    }
}
