//! Images twice as large, every pixel four times, and half as large, means of 2x2 pixels: each is
//! the other's gradient, but for a factor of four.

use burn::prelude::Shape;

use super::buffer::Buffer;
use super::simd::vectorised;
use super::{Forward, Op, in_parts};

/// Numbers of the small images that one task takes at least.
const PART: usize = 1 << 13;

/// A change of size, `[images, channels, height, width]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResizeOp {
    /// Whether the output is the larger one.
    pub doubles: bool,
    /// Rows of the smaller images.
    pub height: usize,
    /// Columns of the smaller images.
    pub width: usize,
}

impl ResizeOp {
    /// Sets every 2x2 pixels of the larger images to `share` times the pixel of the smaller.
    fn spread(&self, small: &[f32], share: f32) -> Vec<f32> {
        let mut large = vec![0.0; 4 * small.len()];
        let rows = (self.rows() * self.width).max(1);
        let tasks = small.chunks(rows).zip(large.chunks_mut(4 * rows)).collect();
        in_parts(tasks, |_, (small, large): (&[f32], &mut [f32])| {
            let lines = small.chunks_exact(self.width.max(1));
            for (small, large) in lines.zip(large.chunks_exact_mut(4 * self.width)) {
                let (first, second) = large.split_at_mut(2 * self.width);
                spread_line(small, share, first);
                second.copy_from_slice(first);
            }
        });
        large
    }

    /// Sums every 2x2 pixels of the larger images, times `share`.
    fn gather(&self, large: &[f32], share: f32) -> Vec<f32> {
        let mut small = vec![0.0; large.len() / 4];
        let rows = (self.rows() * self.width).max(1);
        let tasks = large.chunks(4 * rows).zip(small.chunks_mut(rows)).collect();
        in_parts(tasks, |_, (large, small): (&[f32], &mut [f32])| {
            let lines = large.chunks_exact(4 * self.width);
            for (large, small) in lines.zip(small.chunks_exact_mut(self.width)) {
                let (first, second) = large.split_at(2 * self.width);
                gather_line(first, second, share, small);
            }
        });
        small
    }

    /// Counts the rows of the small images that a task takes.
    fn rows(&self) -> usize {
        PART.div_ceil(self.width.max(1))
    }
}

vectorised! {
    /// Repeats every number of a line, times `share`.
    fn spread_line(small: &[f32], share: f32, large: &mut [f32]) {
        for (pair, number) in large.as_chunks_mut::<2>().0.iter_mut().zip(small) {
            *pair = [share * number; 2];
        }
    }

    /// Sums pairs of numbers of two lines, times `share`.
    fn gather_line(first: &[f32], second: &[f32], share: f32, small: &mut [f32]) {
        let pairs = first.as_chunks::<2>().0.iter().zip(second.as_chunks::<2>().0);
        for (small, (first, second)) in small.iter_mut().zip(pairs) {
            *small = share * ((first[0] + first[1]) + (second[0] + second[1]));
        }
    }
}

impl Op for ResizeOp {
    fn shape(&self, first: Shape) -> Shape {
        let [images, channels, ..] = first.dims::<4>();
        let times = if self.doubles { 2 } else { 1 };
        Shape::new([images, channels, times * self.height, times * self.width])
    }

    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let x = inputs[0];
        let output = if self.doubles { self.spread(x, 1.0) } else { self.gather(x, 0.25) };
        Forward { output, kept: vec![] }
    }

    fn backward(&self, _: &[&[f32]], _: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        vec![if self.doubles { self.gather(dy, 1.0) } else { self.spread(dy, 0.25) }]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;

    use crate::flex::FlexKernels;
    use crate::testing::normal;
    use crate::{BlockKernels, Reference};

    #[test]
    fn both_changes_of_size_and_their_gradients_equal_their_definition() {
        for [height, width] in [[2, 2], [4, 6], [2, 34], [64, 300]] {
            let x = normal(1, [2, 3, height, width], 1.0);
            for doubles in [true, false] {
                let of = |kernels: &dyn BlockKernels| {
                    let x = x.clone().autodiff().require_grad();
                    let y = if doubles {
                        kernels.doubled(x.clone())
                    } else {
                        kernels.halved(x.clone())
                    };
                    let dy = normal(2, y.dims(), 1.0);
                    let grads = (y.clone() * dy).sum().backward();
                    [y.without_autodiff(), x.grad(&grads).unwrap()]
                };
                for (found, wanted) in of(&FlexKernels).into_iter().zip(of(&Reference)) {
                    let close = Tolerance::<f32>::rel_abs(1e-6, 1e-6);
                    assert_eq!(found.dims(), wanted.dims());
                    found.into_data().assert_approx_eq::<f32>(&wanted.into_data(), close);
                }
            }
        }
    }

    #[test]
    fn what_was_doubled_is_halved_to_itself() {
        let x = normal(3, [1, 2, 3, 5], 1.0);
        let again = FlexKernels.halved(FlexKernels.doubled(x.clone()));
        assert_eq!(again.into_data(), x.into_data());
    }
}
