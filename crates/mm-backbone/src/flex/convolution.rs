//! The 3x3 convolution with a border of zeros as one operation.
//!
//! ```text
//! Y = W C(x)        W: [outputs, 9 inputs], C(x): the nine neighbours of every pixel, [9 inputs, pixels]
//! dW = dY C(x)ᵀ,    dx = C⁺(Wᵀ dY), where C⁺ adds every number of a column back to the pixel that it was taken from
//! ```
//!
//! `C(x)` is made a tile at a time, as many pixels as a product needs to be fast and the cache can hold; nothing is kept.
//! (Burn takes the gradient of a kernel as a convolution whose kernel is as large as the image; here all three are products.)

use std::ops::Range;

use burn::prelude::Shape;

use super::buffer::{Buffer, take};
use super::matrix::{Matrix, Target};
use super::{Forward, Op, add_up, in_parts};

/// Numbers of `C(x)` that a tile holds, unless it has fewer pixels than [`LEAST`].
const TILE: usize = 1 << 16;
/// Pixels of a tile that are enough for fast products.
const LEAST: usize = 128;
/// Groups of images, each with its part of the kernel's gradient.
const PARTS: usize = 16;

/// Sizes; inputs of the operation are `x` and `W`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvolutionOp {
    /// Channels that come in and go out.
    pub channels: [usize; 2],
    /// Height and width.
    pub size: [usize; 2],
}

/// Some rows of some images.
struct Tile {
    images: Range<usize>,
    rows: Range<usize>,
}

impl ConvolutionOp {
    fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Whole images together, or rows of one.
    fn tiles(&self, images: usize) -> Vec<Tile> {
        let [height, width] = self.size;
        let pixels = (TILE / (9 * self.channels[0])).max(LEAST);
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

    /// Pixels of a tile.
    fn pixels(&self, tile: &Tile) -> usize {
        tile.images.len() * tile.rows.len() * self.size[1]
    }

    /// `C(x)` of a tile, `[9 inputs, pixels]`.
    fn gather(&self, tile: &Tile, x: &[f32], columns: &mut [f32]) {
        let width = self.size[1];
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
        let width = self.size[1];
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

    /// For every row of a tile, where the row of `x` starts that line `(channel, row, column)` of `C(x)` sees; nothing outside.
    fn each_row(&self, tile: &Tile, line: usize, mut work: impl FnMut(Option<usize>)) {
        let [height, width] = self.size;
        let (channel, down) = (line / 9, line % 9 / 3);
        for image in tile.images.clone() {
            let plane = (image * self.channels[0] + channel) * self.plane();
            for row in tile.rows.clone() {
                let seen = (row + down).checked_sub(1).filter(|row| *row < height);
                work(seen.map(|row| plane + row * width));
            }
        }
    }

    /// For every piece of a tile's `Y`, `[outputs, pixels]`: where it stands there, and where among whole images.
    fn pieces(&self, tile: &Tile) -> impl Iterator<Item = [Range<usize>; 2]> + use<> {
        let (outputs, plane, width) = (self.channels[1], self.plane(), self.size[1]);
        let (images, rows) = (tile.images.clone(), tile.rows.clone());
        let piece = rows.len() * width;
        let all = (0..outputs).flat_map(move |output| images.clone().map(move |i| (output, i)));
        all.enumerate().map(move |(at, (output, image))| {
            let start = (image * outputs + output) * plane + rows.start * width;
            [at * piece..(at + 1) * piece, start..start + piece]
        })
    }

    fn forward_part(&self, weight: &[f32], x: &[f32], y: &mut [f32]) {
        let [inputs, outputs] = self.channels;
        for tile in self.tiles(x.len() / (inputs * self.plane())) {
            let pixels = self.pixels(&tile);
            let (mut columns, mut out) = (take(9 * inputs * pixels), take(outputs * pixels));
            self.gather(&tile, x, &mut columns);
            let columns = Matrix::rows(&columns, pixels);
            Target::rows(&mut out, pixels).set(Matrix::rows(weight, 9 * inputs), columns, 1.0);
            for [here, there] in self.pieces(&tile) {
                y[there].copy_from_slice(&out[here]);
            }
        }
    }

    /// Adds to `dx`; returns `dW`.
    fn backward_part(&self, weight: &[f32], [x, dy]: [&[f32]; 2], dx: &mut [f32]) -> [Vec<f32>; 1] {
        let [inputs, outputs] = self.channels;
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
            Target::rows(&mut dweight, 9 * inputs).add(out, seen.t(), 1.0);
            let weight = Matrix::rows(weight, 9 * inputs);
            Target::rows(&mut columns, pixels).set(weight.t(), out, 1.0);
            self.scatter(&tile, &columns, dx);
        }
        [dweight]
    }

    /// Numbers of `x` and of `y` in a group of images, of which there are at most [`PARTS`].
    fn group(&self, x: &[f32]) -> [usize; 2] {
        let images = x.len() / (self.channels[0] * self.plane());
        self.channels.map(|channels| images.div_ceil(PARTS) * channels * self.plane())
    }
}

/// A row as its neighbours to the left (`kernel` 0), itself (1), its neighbours to the right (2) see it.
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
        let [height, width] = self.size;
        Shape::new([first.dims::<4>()[0], self.channels[1], height, width])
    }

    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let (x, weight) = (inputs[0], inputs[1]);
        let mut output = vec![0.0; x.len() / self.channels[0] * self.channels[1]];
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
        let parts = in_parts(tasks, |_, ((x, dy), dx)| self.backward_part(weight, [x, dy], dx));
        let [dweight] = add_up(parts);
        vec![dx, dweight]
    }
}

#[cfg(test)]
mod tests {
    use crate::Init;
    use crate::convolution::{convolution, ordinary};
    use burn::prelude::*;
    use burn::tensor::Tolerance;

    #[test]
    fn a_convolution_and_its_gradients_equal_their_definition() {
        let device = Device::flex();
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
            let mut init = Init::new(seed, &device);
            let x = init.normal([images, inputs, height, width], 1.0).val();
            let weight = init.normal([outputs, inputs, 3, 3], 0.3).val();
            let dy = init.normal([images, outputs, height, width], 1.0).val();
            let of = |convolve: fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
                let [x, weight] =
                    [x.clone(), weight.clone()].map(|tensor| tensor.autodiff().require_grad());
                let y = convolve(x.clone(), weight.clone());
                let grads = (y.clone() * dy.clone()).sum().backward();
                [y.without_autodiff(), x.grad(&grads).unwrap(), weight.grad(&grads).unwrap()]
            };
            for (found, wanted) in of(convolution).into_iter().zip(of(ordinary)) {
                assert_eq!(found.dims(), wanted.dims());
                let largest = wanted.clone().abs().max().into_scalar::<f32>();
                let close = Tolerance::<f32>::rel_abs(1e-5, 1e-5 * largest);
                found.into_data().assert_approx_eq::<f32>(&wanted.into_data(), close);
            }
        }
    }
}
