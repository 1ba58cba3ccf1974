//! The gated attention unit for tokens that follow a prefix, without gradients.

use super::{GauOp, Weights, swish};
use crate::flex::attention::{Head, Rows};
use crate::flex::buffer::take;
use crate::flex::matrix::Matrix;
use crate::flex::prefix::{KvPrefix, join, with_prefix};

impl GauOp {
    /// Computes `y`, and keys and values into `prefix.new` where that has room.
    pub(crate) fn forward_with_prefix(&self, inputs: &[&[f32]], prefix: KvPrefix<'_>) -> Vec<f32> {
        let w = &Weights::forward(self, inputs);
        with_prefix(&self.context, inputs[0], prefix, |first, x, prefix, y| {
            self.part_with_prefix(w, first, x, prefix, y);
        })
    }

    fn part_with_prefix(
        &self,
        w: &Weights<'_>,
        first_row: usize,
        x: &[f32],
        prefix: KvPrefix<'_>,
        y: &mut [f32],
    ) {
        let (e, size, pw) = (self.expanded, self.key_size, self.projected_width());
        let (tokens, n_new, n_old) = (x.len() / self.width, self.context.tokens(), prefix.tokens);
        let (mut projected, mut active) = (take(tokens * pw), take(tokens * pw));
        self.project(w, x, &mut projected);
        swish(&projected, &mut active);
        let [q, k] = self.queries_and_keys(w, first_row, &active);
        let [new_keys, new_values] = prefix.new;
        let (mut mixed, mut logs) = (take(tokens * e), take(n_new));
        let (mut keys, mut values) = (take((n_old + n_new) * size), take((n_old + n_new) * e));
        for row in 0..tokens / n_new {
            let [old_keys, old_values] = prefix.old;
            let old = |channels: usize| row * n_old * channels..(row + 1) * n_old * channels;
            let first = row * n_new;
            join(&mut keys, &old_keys[old(size)], &k[first * size..], size, size);
            join(&mut values, &old_values[old(e)], &active[first * pw + e..], pw, e);
            for (new, all) in [(&mut *new_keys, &keys), (&mut *new_values, &values)] {
                let of_row = all.len() / (n_old + n_new) * n_new;
                if !new.is_empty() {
                    new[row * of_row..][..of_row].copy_from_slice(&all[all.len() - of_row..]);
                }
            }
            let one = Head {
                q: Matrix::strided(&q[row * n_new * size..], [n_new, size], size),
                k: Matrix::rows(&keys, size),
                v: Matrix::rows(&values, e),
                ranges: self.context.row(first_row + row),
                scale: self.scale(),
                queries_alone: true,
                precision: self.precision,
            };
            let data = &mut mixed[row * n_new * e..];
            one.forward(Rows { data, channels: e, stride: e }, &mut logs);
        }
        self.finish(w, x, &mut active, &mixed, y);
    }
}
