//! The 3x3 convolution with a border of zeros as one operation.
//!
//! ```text
//! Y = W C(x)        W: [outputs, 9 inputs], C(x): [9 inputs, pixels]
//! dW = dY C(x)ᵀ,    dx = C⁺(Wᵀ dY)
//! ```
//!
//! `C(x)` holds the nine neighbors of every pixel, and `C⁺` adds every number of a column back to
//! the pixel that it was taken from.
//!
//! `C(x)` is made a tile at a time, as many pixels as a product needs to be fast and the cache can
//! hold; nothing is kept. (Burn takes the gradient of a kernel as a convolution whose kernel is as
//! large as the image; here all three are products.)

use std::ops::Range;

use burn::prelude::Shape;

use super::buffer::{Buffer, take};
use super::matrix::{Matrix, Target};
use super::{Forward, Op, add_up, in_parts};
use crate::Precision;

/// Numbers of `C(x)` that a tile holds, unless it has fewer pixels than [`LEAST`].
const TILE: usize = 1 << 16;
/// Pixels of a tile that are enough for fast products.
const LEAST: usize = 128;
/// Groups of images, each with its part of the kernel's gradient.
const PARTS: usize = 16;

/// The sizes of a convolution, whose inputs are `x` and `W`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvolutionOp {
    /// Channels that come in.
    pub inputs: usize,
    /// Channels that go out.
    pub outputs: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// The type that factors of products are rounded to.
    pub precision: Precision,
}

/// Some rows of some images.
struct Tile {
    images: Range<usize>,
    rows: Range<usize>,
}

impl ConvolutionOp {
    /// Pixels of an image.
    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Cuts so many images into tiles: whole images together, or rows of one.
    fn tiles(&self, images: usize) -> Vec<Tile> {
        let (height, width) = (self.height, self.width);
        let pixels = (TILE / (9 * self.inputs)).max(LEAST);
        let rows = (pixels / width).clamp(1, height);
        let together = if rows == height { (pixels / self.plane()).max(1) } else { 1 };
        let firsts = (0..images).step_by(together);
        let tiles = firsts.flat_map(|image| {
            let images = image..(image + together).min(images);
            (0..height).step_by(rows).map(move |row| Tile {
                images: images.clone(),
                rows: row..(row + rows).min(height),
            })
        });
        tiles.collect()
    }

    /// Counts the pixels of a tile.
    fn pixels(&self, tile: &Tile) -> usize {
        tile.images.len() * tile.rows.len() * self.width
    }

    /// Computes `C(x)` of a tile, `[9 inputs, pixels]`.
    fn gather(&self, tile: &Tile, x: &[f32], columns: &mut [f32]) {
        let width = self.width;
        for (line, to) in columns.chunks_exact_mut(self.pixels(tile)).enumerate() {
            let mut to = to.chunks_exact_mut(width);
            self.each_row(tile, line, |seen| {
                let to = to.next().expect("a row for each of the tile's");
                match seen {
                    Some(at) => shift(&x[at..at + width], line % 3, to),
                    None => to.fill(0.0),
                }
            });
        }
    }

    /// Adds columns back to `x`: the transpose of [`gather`](Self::gather).
    fn scatter(&self, tile: &Tile, columns: &[f32], x: &mut [f32]) {
        let width = self.width;
        for (line, from) in columns.chunks_exact(self.pixels(tile)).enumerate() {
            let mut from = from.chunks_exact(width);
            self.each_row(tile, line, |seen| {
                let from = from.next().expect("a row for each of the tile's");
                if let Some(at) = seen {
                    shift_back(from, line % 3, &mut x[at..at + width]);
                }
            });
        }
    }

    /// Calls `work` for every row of a tile with the start of the row of `x` that line
    /// `(channel, row, column)` of `C(x)` sees, and with nothing where that is outside.
    fn each_row(&self, tile: &Tile, line: usize, mut work: impl FnMut(Option<usize>)) {
        let (height, width) = (self.height, self.width);
        let (channel, down) = (line / 9, line % 9 / 3);
        for image in tile.images.clone() {
            let plane = (image * self.inputs + channel) * self.plane();
            for row in tile.rows.clone() {
                let seen = (row + down).checked_sub(1).filter(|row| *row < height);
                work(seen.map(|row| plane + row * width));
            }
        }
    }

    /// Says of every piece of a tile's `Y`, `[outputs, pixels]`, where it stands there, and where
    /// among whole images.
    fn pieces(&self, tile: &Tile) -> impl Iterator<Item = [Range<usize>; 2]> + use<> {
        let (outputs, plane, width) = (self.outputs, self.plane(), self.width);
        let (images, rows) = (tile.images.clone(), tile.rows.clone());
        let piece = rows.len() * width;
        let all = (0..outputs).flat_map(move |output| images.clone().map(move |i| (output, i)));
        all.enumerate().map(move |(at, (output, image))| {
            let start = (image * outputs + output) * plane + rows.start * width;
            [at * piece..(at + 1) * piece, start..start + piece]
        })
    }

    /// Gives a product the convolution's precision.
    fn product<'t>(&self, target: Target<'t>) -> Target<'t> {
        target.of(self.precision)
    }

    fn forward_part(&self, weight: &[f32], x: &[f32], y: &mut [f32]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        for tile in self.tiles(x.len() / (inputs * self.plane())) {
            let pixels = self.pixels(&tile);
            let (mut columns, mut out) = (take(9 * inputs * pixels), take(outputs * pixels));
            self.gather(&tile, x, &mut columns);
            let columns = Matrix::rows(&columns, pixels);
            let weight = Matrix::rows(weight, 9 * inputs);
            self.product(Target::rows(&mut out, pixels)).set(weight, columns, 1.0);
            for [here, there] in self.pieces(&tile) {
                y[there].copy_from_slice(&out[here]);
            }
        }
    }

    /// Adds to `dx`; returns `dW`.
    fn backward_part(
        &self,
        weight: &[f32],
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
    ) -> [Vec<f32>; 1] {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let mut dweight = vec![0.0; weight.len()];
        for tile in self.tiles(x.len() / (inputs * self.plane())) {
            let pixels = self.pixels(&tile);
            let (mut columns, mut out) = (take(9 * inputs * pixels), take(outputs * pixels));
            for [here, there] in self.pieces(&tile) {
                out[here].copy_from_slice(&dy[there]);
            }
            let out = Matrix::rows(&out, pixels);
            self.gather(&tile, x, &mut columns);
            let seen = Matrix::rows(&columns, pixels);
            self.product(Target::rows(&mut dweight, 9 * inputs)).add(out, seen.t(), 1.0);
            let weight = Matrix::rows(weight, 9 * inputs);
            self.product(Target::rows(&mut columns, pixels)).set(weight.t(), out, 1.0);
            self.scatter(&tile, &columns, dx);
        }
        [dweight]
    }

    /// Counts the numbers of `x` and of `y` in a group of images, of which there are at most
    /// [`PARTS`].
    fn group(&self, x: &[f32]) -> [usize; 2] {
        let images = x.len() / (self.inputs * self.plane());
        [self.inputs, self.outputs].map(|channels| images.div_ceil(PARTS) * channels * self.plane())
    }
}

/// Copies a row as its neighbors to the left (`kernel` 0), itself (1), its neighbors to the right
/// (2) see it.
fn shift(from: &[f32], kernel: usize, to: &mut [f32]) {
    let last = from.len() - 1;
    match kernel {
        0 => {
            to[0] = 0.0;
            to[1..].copy_from_slice(&from[..last]);
        }
        1 => to.copy_from_slice(from),
        _ => {
            to[..last].copy_from_slice(&from[1..]);
            to[last] = 0.0;
        }
    }
}

/// Adds back what [`shift`] took.
fn shift_back(from: &[f32], kernel: usize, to: &mut [f32]) {
    let last = from.len() - 1;
    let (from, to) = match kernel {
        0 => (&from[1..], &mut to[..last]),
        1 => (from, to),
        _ => (&from[..last], &mut to[1..]),
    };
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

impl Op for ConvolutionOp {
    fn shape(&self, first: Shape) -> Shape {
        Shape::new([first.dims::<4>()[0], self.outputs, self.height, self.width])
    }

    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let (x, weight) = (inputs[0], inputs[1]);
        let mut output = vec![0.0; x.len() / self.inputs * self.outputs];
        let [of_x, of_y] = self.group(x);
        let tasks = x.chunks(of_x).zip(output.chunks_mut(of_y)).collect();
        in_parts(tasks, |_, (x, y)| self.forward_part(weight, x, y));
        Forward { output, kept: vec![] }
    }

    fn backward(&self, inputs: &[&[f32]], _: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        let (x, weight) = (inputs[0], inputs[1]);
        let mut dx = vec![0.0; x.len()];
        let [of_x, of_y] = self.group(x);
        let tasks = x.chunks(of_x).zip(dy.chunks(of_y)).zip(dx.chunks_mut(of_x)).collect();
        let parts = in_parts(tasks, |_, ((x, dy), dx)| self.backward_part(weight, x, dy, dx));
        let [dweight] = add_up(parts);
        vec![dx, dweight]
    }
}

#[cfg(test)]
mod tests {
    use crate::flex::FlexKernels;
    use crate::testing::normal;
    use crate::{BlockKernels, Precision, Reference};
    use burn::tensor::Tolerance;

    #[test]
    fn a_convolution_and_its_gradients_equal_their_definition() {
        compare(Precision::F32, 1e-5);
    }

    #[test]
    fn a_convolution_of_rounded_factors_is_near_its_definition() {
        compare(Precision::Bf16, 2e-2);
    }

    /// Compares a convolution with the definition in 32 bits, within a share of the largest number.
    fn compare(precision: Precision, tolerance: f32) {
        let shapes = [
            [1, 3, 1, 1],
            [2, 3, 5, 7],
            [3, 24, 16, 16],
            [40, 8, 4, 4],
            [17, 2, 2, 3],
            [1, 9, 40, 9],
        ];
        for (seed, [images, inputs, height, width]) in (1..).zip(shapes) {
            let outputs = 2 * inputs + 1;
            let x = normal(seed, [images, inputs, height, width], 1.0);
            let weight = normal(seed + 100, [outputs, inputs, 3, 3], 0.3);
            let dy = normal(seed + 200, [images, outputs, height, width], 1.0);
            let of = |kernels: &dyn BlockKernels, precision: Precision| {
                let [x, weight] =
                    [x.clone(), weight.clone()].map(|tensor| tensor.autodiff().require_grad());
                let y = kernels.convolution(x.clone(), weight.clone(), precision);
                let grads = (y.clone() * dy.clone()).sum().backward();
                [y.without_autodiff(), x.grad(&grads).unwrap(), weight.grad(&grads).unwrap()]
            };
            let wanted = of(&Reference, Precision::F32);
            for (found, wanted) in of(&FlexKernels, precision).into_iter().zip(wanted) {
                assert_eq!(found.dims(), wanted.dims());
                let largest = wanted.clone().abs().max().into_scalar::<f32>();
                let close = Tolerance::<f32>::rel_abs(1e-5, tolerance * largest);
                found.into_data().assert_approx_eq::<f32>(&wanted.into_data(), close);
            }
        }
    }
}
