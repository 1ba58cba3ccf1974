//! The gated attention unit for tokens that follow a prefix, without gradients.

use super::{GauOp, Weights, swish};
use crate::flex::attention::{Head, Rows};
use crate::flex::buffer::take;
use crate::flex::matrix::Matrix;
use crate::flex::past::{Past, behind, join};

impl GauOp {
    /// `y`, and keys and values into `past.new` where that has room.
    pub(crate) fn forward_cached(&self, inputs: &[&[f32]], past: Past<'_>) -> Vec<f32> {
        let w = Weights::new(inputs);
        behind(&self.places, inputs[0], past, |first, x, past, y| {
            self.cached_part(w, first, (x, y), past);
        })
    }

    fn cached_part(
        &self,
        w: Weights<'_>,
        first_row: usize,
        (x, y): (&[f32], &mut [f32]),
        past: Past<'_>,
    ) {
        let (e, size, jw) = (self.expanded, self.key_size, self.joint_width());
        let (tokens, n_new, n_old) = (x.len() / self.width, self.places.tokens(), past.tokens);
        let (mut joint, mut active) = (take(tokens * jw), take(tokens * jw));
        self.joint(w, x, &mut joint);
        swish(&joint, &mut active);
        let [q, k] = self.queries_and_keys(w, first_row, &active);
        let [new_keys, new_values] = past.new;
        let (mut mixed, mut logs) = (take(tokens * e), take(n_new));
        let (mut keys, mut values) = (take((n_old + n_new) * size), take((n_old + n_new) * e));
        for row in 0..tokens / n_new {
            let [old_keys, old_values] = past.old;
            let old = |channels: usize| row * n_old * channels..(row + 1) * n_old * channels;
            let first = row * n_new;
            join(&mut keys, &old_keys[old(size)], &k[first * size..], [size, size]);
            join(&mut values, &old_values[old(e)], &active[first * jw + e..], [jw, e]);
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
                ranges: self.places.row(first_row + row),
                scale: self.scale(),
            };
            let data = &mut mixed[row * n_new * e..];
            one.forward(Rows { data, channels: e, stride: e }, &mut logs);
        }
        self.finish(w, x, [&mut active, &mut mixed, y]);
    }
}
