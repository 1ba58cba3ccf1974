//! The multi-head block for tokens that follow a prefix, without gradients.

use super::{MultiHeadOp, Weights};
use crate::flex::attention::{Head, Rows};
use crate::flex::buffer::take;
use crate::flex::matrix::Matrix;
use crate::flex::prefix::{KvPrefix, join, with_prefix};

impl MultiHeadOp {
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
        mut prefix: KvPrefix<'_>,
        y: &mut [f32],
    ) {
        let (width, qw, size) = (self.width, self.qkv_width(), self.head_size());
        let (heads, key_heads) = (self.heads, self.key_heads);
        let (tokens, n_new, n_old) = (x.len() / width, self.context.tokens(), prefix.tokens);
        let (mut n, mut qkv) = (take(x.len()), take(tokens * qw));
        self.project(w, x, &mut n, &mut qkv);
        let [q, k] = self.queries_and_keys(w, first_row, &qkv);
        let first_value = (heads + key_heads) * size;
        // Where keys and values of a token's first head stand: the slice, how far apart tokens are.
        let sources = [(&k[..], key_heads * size), (&qkv[first_value..], qw)];
        let (mut mixed, mut logs) = (take(x.len()), take(n_new));
        let mut all = [take((n_old + n_new) * size), take((n_old + n_new) * size)];
        for index in 0..tokens / n_new * heads {
            let (row, head) = (index / heads, index % heads);
            let key_head = head * key_heads / heads;
            let block = row * key_heads + key_head;
            for ((all, old), (new, stride)) in all.iter_mut().zip(prefix.old).zip(sources) {
                let old = &old[block * n_old * size..][..n_old * size];
                join(all, old, &new[row * n_new * stride + key_head * size..], stride, size);
            }
            for (new, all) in prefix.new.iter_mut().zip(&all).filter(|(new, _)| !new.is_empty()) {
                new[block * n_new * size..][..n_new * size].copy_from_slice(&all[n_old * size..]);
            }
            let at = row * n_new * width + head * size;
            let one = Head {
                q: Matrix::strided(&q[at..], [n_new, size], width),
                k: Matrix::rows(&all[0], size),
                v: Matrix::rows(&all[1], size),
                ranges: self.context.row(first_row + row),
                scale: self.scale(),
                queries_alone: true,
                precision: self.precision,
            };
            one.forward(Rows { data: &mut mixed[at..], channels: size, stride: width }, &mut logs);
        }
        let (mut h, mut gate_up) = (take(x.len()), take(tokens * 2 * self.feed_forward));
        h.copy_from_slice(x);
        self.finish(w, &mut n, &mixed, &mut h, &mut gate_up, y);
    }
}
