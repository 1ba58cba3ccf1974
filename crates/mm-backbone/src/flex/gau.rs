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

use rayon::prelude::*;

use super::attention::{Head, Rows};
use super::buffer::{Buffer, take, take_zeroed};
use super::matrix::{Matrix, Target};
use super::rotary::{turn, turn_back};
use super::simd::{self, sigmoid, vectorised};
use super::transformer::{Past, weight_gradients};
use super::{Forward, Op, Places, add_up, norm};

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
        let pairs = size / 2;
        vectorised(|| {
            for token in 0..tokens {
                let (cos, sin) = (&cos[token * pairs..][..pairs], &sin[token * pairs..][..pairs]);
                let z = &active[token * jw + 2 * self.expanded..][..size];
                for (side, to) in [&mut q, &mut k].into_iter().enumerate() {
                    let to = &mut to[token * size..][..size];
                    for ((to, z), gamma) in to.iter_mut().zip(z).zip(w.gammas[side]) {
                        *to = z * gamma;
                    }
                    if let Some(biases) = w.biases {
                        for (to, beta) in to.iter_mut().zip(biases.betas[side]) {
                            *to += beta;
                        }
                    }
                    turn(to, cos, sin);
                }
            }
        });
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
        vectorised(|| {
            for (active, mixed) in active.chunks_exact_mut(jw).zip(mixed.chunks_exact(e)) {
                for (u, o) in active[..e].iter_mut().zip(mixed) {
                    *u *= o;
                }
            }
        });
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
        self.gate_backward(&active, part.mixed, [&mut dmixed, &mut dactive, part.gated]);
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
        vectorised(|| {
            for (joint, dactive) in part.joint.iter_mut().zip(&dactive[..]) {
                *joint *= dactive;
            }
        });
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

    /// `G`, `du` into the activated tokens' gradient, and `dG` into `dO`.
    fn gate_backward(
        &self,
        active: &[f32],
        mixed: &[f32],
        [dgated, dactive, gated]: [&mut [f32]; 3],
    ) {
        let (e, jw) = (self.expanded, self.joint_width());
        vectorised(|| {
            let read = active.chunks_exact(jw).zip(mixed.chunks_exact(e));
            let written = dactive.chunks_exact_mut(jw).zip(gated.chunks_exact_mut(e));
            for (((active, mixed), (dactive, gated)), dgated) in
                read.zip(written).zip(dgated.chunks_exact_mut(e))
            {
                let (u, du) = (&active[..e], &mut dactive[..e]);
                for ((((u, o), du), g), d) in u.iter().zip(mixed).zip(du).zip(gated).zip(dgated) {
                    *g = u * o;
                    *du = *d * o;
                    *d *= u;
                }
            }
        });
    }

    /// Back from rotated queries and keys to `z`, and to their scales and offsets.
    fn projection_backward(
        &self,
        (w, first_row): (Weights<'_>, usize),
        [active, dq, dk]: [&[f32]; 3],
        dactive: &mut [f32],
        small: &mut Small,
    ) {
        let (size, jw, at) = (self.key_size, self.joint_width(), 2 * self.expanded);
        let tokens = active.len() / jw;
        let [cos, sin] = self.places.angles(first_row * self.places.tokens(), tokens);
        let pairs = size / 2;
        let mut turned = take(size);
        let (gammas, betas) = small.split_at_mut(4);
        vectorised(|| {
            for token in 0..tokens {
                let (cos, sin) = (&cos[token * pairs..][..pairs], &sin[token * pairs..][..pairs]);
                let z = &active[token * jw + at..][..size];
                let dz = &mut dactive[token * jw + at..][..size];
                for (side, dy) in [dq, dk].into_iter().enumerate() {
                    turned.copy_from_slice(&dy[token * size..][..size]);
                    turn_back(&mut turned, cos, sin);
                    let sums = gammas[1 + side].iter_mut().zip(betas[side].iter_mut());
                    let values = z.iter().zip(dz.iter_mut()).zip(w.gammas[side]);
                    for (((z, dz), gamma), ((dgamma, dbeta), d)) in
                        values.zip(sums.zip(&turned[..]))
                    {
                        *dz += gamma * d;
                        *dgamma += z * d;
                        *dbeta += d;
                    }
                }
            }
        });
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
        (
            x.par_chunks(size * width),
            output.par_chunks_mut(size * width),
            joint.par_chunks_mut(size * jw),
            mixed.par_chunks_mut(size * self.expanded),
            logs.par_chunks_mut(size),
        )
            .into_par_iter()
            .enumerate()
            .for_each(|(index, (x, y, joint, mixed, logs))| {
                self.forward_part(w, index * rows, x, [y, joint, mixed, logs]);
            });
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
        let parts: Vec<Small> = (
            x.par_chunks(size * width),
            dy.par_chunks(size * width),
            mixed.par_chunks(size * e),
            logs.par_chunks(size),
            joint.par_chunks_mut(size * jw),
            dx.par_chunks_mut(size * width),
            n.par_chunks_mut(size * width),
            gated.par_chunks_mut(size * e),
        )
            .into_par_iter()
            .enumerate()
            .map(|(index, (x, dy, mixed, logs, joint, dx, n, gated))| {
                let part = BackPart { x, dy, mixed, logs, joint, dx, n, gated };
                self.backward_part(w, index * rows, part)
            })
            .collect();
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

/// `x σ(x)`
fn swish(x: &[f32], y: &mut [f32]) {
    vectorised(|| {
        for (x, y) in x.iter().zip(y) {
            *y = x * sigmoid(*x);
        }
    });
}

/// `y = x σ(x)`, and its derivative in place of `x`.
fn swish_and_slope(x: &mut [f32], y: &mut [f32]) {
    vectorised(|| {
        for (x, y) in x.iter_mut().zip(y) {
            let share = sigmoid(*x);
            *y = *x * share;
            *x = share + *y * (1.0 - share);
        }
    });
}
