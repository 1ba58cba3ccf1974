//! The backward pass of the gated attention unit.

use super::{GauOp, Projection, Weights};
use crate::flex::attention::{HeadGradients, Rows};
use crate::flex::buffer::{Buffer, take, take_zeroed};
use crate::flex::matrix::{Matrix, Product, Target, weight_gradients};
use crate::flex::rotary::turn_back;
use crate::flex::simd::{self, sigmoid, vectorised};
use crate::flex::{add_up, in_parts, next_pieces, norm};

/// What one task of the backward pass reads and writes. `projected` turns into its own gradient.
struct BackPart<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    mixed: &'a [f32],
    logs: &'a [f32],
    projected: &'a mut [f32],
    dx: &'a mut [f32],
    n: &'a mut [f32],
    gated: &'a mut [f32],
}

/// Gradients of `γ`, `γ_q`, `γ_k`, `b_i`, `β_q`, `β_k`, `b_o` of one part.
type Small = [Vec<f32>; 7];

impl GauOp {
    /// Computes the gradient of every input, in order.
    pub(super) fn gradients(
        &self,
        inputs: &[&[f32]],
        kept: Vec<Buffer>,
        dy: &[f32],
    ) -> Vec<Vec<f32>> {
        let (w, x) = (&Weights::backward(self, inputs), inputs[0]);
        let (width, pw, e) = (self.width, self.projected_width(), self.expanded);
        let [mut projected, mixed, logs] =
            <[Buffer; 3]>::try_from(kept).expect("what forward kept");
        let (mut n, mut gated) = (take(x.len()), take(mixed.len()));
        let mut dx = vec![0.0; x.len()];
        let rows = self.context.rows_in_part(self.width);
        let size = rows * self.context.tokens();
        let mut tasks = vec![];
        {
            let (mut dy, mut mixed) = (dy.chunks(size * width), mixed.chunks(size * e));
            let mut logs = logs.chunks(size);
            let mut projected = projected.chunks_mut(size * pw);
            let (mut dx, mut n) = (dx.chunks_mut(size * width), n.chunks_mut(size * width));
            let mut gated = gated.chunks_mut(size * e);
            for x in x.chunks(size * width) {
                next_pieces!(dy, mixed, logs, projected, dx, n, gated);
                tasks.push(BackPart { x, dy, mixed, logs, projected, dx, n, gated });
            }
        }
        let parts = in_parts(tasks, |index, part| self.backward_part(w, index * rows, part));
        let [dnorm, dquery, dkey, dbias, dbeta_q, dbeta_k, dbias_o] = add_up(parts);
        let products = [
            Product::new(Matrix::rows(&n, width), Matrix::rows(&projected, pw)),
            Product::new(Matrix::rows(&gated, e), Matrix::rows(dy, width)),
        ];
        let [din_proj, dout_proj] = weight_gradients(products, self.precision);
        let mut grads = vec![dx, dnorm, din_proj, dquery, dkey, dout_proj];
        if w.biases.is_some() {
            grads.extend([dbias, dbeta_q, dbeta_k, dbias_o]);
        }
        grads
    }

    fn backward_part(&self, w: &Weights<'_>, first_row: usize, part: BackPart<'_>) -> Small {
        let (e, size, pw, width) =
            (self.expanded, self.key_size, self.projected_width(), self.width);
        let (tokens, row_len) = (part.x.len() / width, self.context.tokens());
        let sizes = [width, size, size, pw, size, size, width];
        let mut small = sizes.map(|size| vec![0.0; size]);
        let mut active = take(part.projected.len());
        swish_and_slope(part.projected, &mut active);
        let mut dmixed = take(tokens * e);
        w.out_proj.set(Target::rows(&mut dmixed, e), Matrix::rows(part.dy, width));

        let mut dactive = take_zeroed(active.len());
        gate_backward(pw, &active, part.mixed, &mut dmixed, &mut dactive, part.gated);
        let [q, k] = self.queries_and_keys(w, first_row, &active);
        let (mut dq, mut dk) = (take_zeroed(q.len()), take_zeroed(k.len()));
        for row in 0..tokens / row_len {
            let first = row * row_len;
            let dout = Matrix::strided(&dmixed[first * e..], [row_len, e], e);
            let grads = HeadGradients {
                dq: Rows { data: &mut dq[first * size..], channels: size, stride: size },
                dk: Rows { data: &mut dk[first * size..], channels: size, stride: size },
                dv: Rows { data: &mut dactive[first * pw + e..], channels: e, stride: pw },
            };
            let logs = &part.logs[first..first + row_len];
            self.head(&q, &k, &active, first_row, row).backward(dout, logs, grads);
        }
        self.projection_backward(w, first_row, &active, [&dq, &dk], &mut dactive, &mut small);
        simd::multiply(part.projected, &dactive);
        if w.biases.is_some() {
            column_sums(part.projected, &mut small[3]);
            column_sums(part.dy, &mut small[6]);
        }
        norm::rows(part.x, w.norm, self.epsilon, part.n);
        let mut dn = take(part.x.len());
        w.in_proj.set(Target::rows(&mut dn, width), Matrix::rows(part.projected, pw));
        part.dx.copy_from_slice(part.dy);
        norm::rows_backward(part.x, w.norm, &dn, self.epsilon, part.dx, &mut small[0]);
        small
    }

    /// Goes back from rotated queries and keys, of which `dy` are the gradients, to `z`, and to
    /// their scales and offsets.
    fn projection_backward(
        &self,
        w: &Weights<'_>,
        first_row: usize,
        active: &[f32],
        dy: [&[f32]; 2],
        dactive: &mut [f32],
        small: &mut Small,
    ) {
        let pw = self.projected_width();
        let tokens = active.len() / pw;
        let [cos, sin] = self.context.angles(first_row * self.context.tokens(), tokens);
        let (gammas, betas) = small.split_at_mut(4);
        let sums = gammas[1..3].iter_mut().zip(&mut betas[..2]);
        for (side, (dy, (dgamma, dbeta))) in dy.into_iter().zip(sums).enumerate() {
            let (first, gamma) = (2 * self.expanded, w.gammas[side]);
            let z = Projection { width: pw, first, gamma, beta: None, cos, sin };
            turn_back_and_scale(z, active, dy, dactive, dgamma, dbeta);
        }
    }
}

/// Adds every row to `sums`.
fn column_sums(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        simd::add(sums, row);
    }
}

/// Does one row of [`gate_backward`].
#[inline(always)]
fn gate_backward_row(u: &[f32], o: &[f32], d: &mut [f32], du: &mut [f32], gated: &mut [f32]) {
    for ((((u, o), d), du), g) in u.iter().zip(o).zip(d).zip(du).zip(gated) {
        *g = u * o;
        *du = *d * o;
        *d *= u;
    }
}

vectorised! {
    /// Adds to the gradients of `z` inside `dactive`, of `γ` and of `β`, given the activated tokens
    /// and the gradient `dy` of queries or keys.
    fn turn_back_and_scale(
        z: Projection<'_>,
        active: &[f32],
        dy: &[f32],
        dactive: &mut [f32],
        dgamma: &mut [f32],
        dbeta: &mut [f32],
    ) {
        let size = z.gamma.len();
        let angles = z.cos.chunks_exact(size / 2).zip(z.sin.chunks_exact(size / 2));
        let rows = active.chunks_exact(z.width).zip(dy.chunks_exact(size));
        let mut turned = vec![0.0; size];
        for (((active, dy), dactive), (cos, sin)) in
            rows.zip(dactive.chunks_exact_mut(z.width)).zip(angles)
        {
            turned.copy_from_slice(dy);
            turn_back(&mut turned, cos, sin);
            let (values, dz) = (&active[z.first..][..size], &mut dactive[z.first..][..size]);
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

    /// Turns `dG` into `dO` and writes `du` and `G`, given activated tokens of `width` channels and
    /// `O`.
    fn gate_backward(
        width: usize,
        active: &[f32],
        mixed: &[f32],
        dgated: &mut [f32],
        dactive: &mut [f32],
        gated: &mut [f32],
    ) {
        let tokens = active.len() / width;
        let e = mixed.len() / tokens;
        let read = active.chunks_exact(width).zip(mixed.chunks_exact(e));
        let written = dactive.chunks_exact_mut(width).zip(gated.chunks_exact_mut(e));
        for (((active, mixed), (dactive, gated)), dgated) in
            read.zip(written).zip(dgated.chunks_exact_mut(e))
        {
            gate_backward_row(&active[..e], mixed, dgated, &mut dactive[..e], gated);
        }
    }

    /// Computes `y = x σ(x)`, and its derivative in place of `x`.
    fn swish_and_slope(x: &mut [f32], y: &mut [f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            let share = sigmoid(*x);
            *y = *x * share;
            *x = share + *y * (1.0 - share);
        }
    }
}
