//! The multi-head block for tokens that follow a prefix, without gradients.

use super::{TransformerOp, Weights};
use crate::flex::attention::{Head, Rows};
use crate::flex::buffer::take;
use crate::flex::matrix::Matrix;
use crate::flex::past::{Past, behind, join};

impl TransformerOp {
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
        mut past: Past<'_>,
    ) {
        let (width, jw, size) = (self.width, self.joint_width(), self.head());
        let [heads, key_heads] = self.heads;
        let (tokens, n_new, n_old) = (x.len() / width, self.places.tokens(), past.tokens);
        let (mut n, mut joint) = (take(x.len()), take(tokens * jw));
        self.joint(w, x, &mut n, &mut joint);
        let [q, k] = self.queries_and_keys(w, first_row, &joint);
        let first_value = (heads + key_heads) * size;
        // Where keys and values of a token's first head stand: the slice, how far apart tokens are.
        let sources = [(&k[..], key_heads * size), (&joint[first_value..], jw)];
        let (mut mixed, mut logs) = (take(x.len()), take(n_new));
        let mut all = [take((n_old + n_new) * size), take((n_old + n_new) * size)];
        for index in 0..tokens / n_new * heads {
            let (row, head) = (index / heads, index % heads);
            let key_head = head * key_heads / heads;
            let block = row * key_heads + key_head;
            for ((all, old), (new, stride)) in all.iter_mut().zip(past.old).zip(sources) {
                let old = &old[block * n_old * size..][..n_old * size];
                join(all, old, &new[row * n_new * stride + key_head * size..], [stride, size]);
            }
            for (new, all) in past.new.iter_mut().zip(&all).filter(|(new, _)| !new.is_empty()) {
                new[block * n_new * size..][..n_new * size].copy_from_slice(&all[n_old * size..]);
            }
            let at = row * n_new * width + head * size;
            let one = Head {
                q: Matrix::strided(&q[at..], [n_new, size], width),
                k: Matrix::rows(&all[0], size),
                v: Matrix::rows(&all[1], size),
                ranges: self.places.row(first_row + row),
                scale: self.scale(),
            };
            one.forward(Rows { data: &mut mixed[at..], channels: size, stride: width }, &mut logs);
        }
        let (mut h, mut feed) = (take(x.len()), take(tokens * 2 * self.feed));
        h.copy_from_slice(x);
        self.finish(w, &mut n, [&mut mixed, &mut h, &mut feed, y]);
    }
}
