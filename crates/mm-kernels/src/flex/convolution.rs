//! The 3x3 convolution with a border of zeros as one operation.
//!
//! ```text
//! Y = W C(x)          W: [outputs, 9 inputs],  C(x): [9 inputs, pixels]
//! dx = W' C(dY),      dW' = C(dY) xᵀ           W': [inputs, 9 outputs],  C(dY): [9 outputs, pixels]
//! ```
//!
//! `C(x)` holds the nine neighbors of every pixel. Pixel `p` gives `dx` to all whose neighbor it
//! is, which are its own neighbors on the opposite sides: `W'` is `W` with its kernels turned by
//! half a turn, inputs and outputs changed over. So one `C(dY)` serves both gradients.
//!
//! `C` is made a tile at a time, as many pixels as a product needs to be fast and the cache can
//! hold; nothing is kept. Where a tile lies in one image, products read and write the image where
//! it stands. (Burn takes the gradient of a kernel as a convolution whose kernel is as large as the
//! image; here all three are products.)
//!
//! Products of rounded factors, and of 32-bit ones where the processor has AVX2, take the neighbors
//! [where they stand](super::neighbors), and there is no `C`; the rest is for other processors.

use std::ops::Range;

use burn::prelude::Shape;

use super::bf16::Way;
use super::buffer::{Buffer, take};
use super::matrix::{Matrix, Target};
use super::neighbors::{Factors, Image, Kernels};
use super::single::Single;
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

/// A group of images for the backward pass: `x` and `dy`, and where `dx` goes.
type BackTask<'a> = ((&'a [f32], &'a [f32]), &'a mut [f32]);

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

    /// Cuts so many images into tiles for columns of so many channels: whole images together, or
    /// rows of one.
    fn tiles(&self, images: usize, channels: usize) -> Vec<Tile> {
        let (height, width) = (self.height, self.width);
        let pixels = (TILE / (9 * channels)).max(LEAST);
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

    /// Computes `C(x)` of a tile of images of so many channels, `[9 channels, pixels]`.
    fn gather(&self, tile: &Tile, channels: usize, x: &[f32], columns: &mut [f32]) {
        let (height, width) = (self.height, self.width);
        for (line, to) in columns.chunks_exact_mut(self.pixels(tile)).enumerate() {
            let (channel, down) = (line / 9, line % 9 / 3);
            let mut to = to.chunks_exact_mut(width);
            for image in tile.images.clone() {
                let plane = (image * channels + channel) * self.plane();
                for row in tile.rows.clone() {
                    let to = to.next().expect("a row for each of the tile's");
                    match (row + down).checked_sub(1).filter(|row| *row < height) {
                        Some(row) => shift(&x[plane + row * width..][..width], line % 3, to),
                        None => to.fill(0.0),
                    }
                }
            }
        }
    }

    /// Returns where a tile of one image begins in images of so many channels, or nothing if it has
    /// several images.
    fn start(&self, tile: &Tile, channels: usize) -> Option<usize> {
        let start = tile.images.start * channels * self.plane() + tile.rows.start * self.width;
        (tile.images.len() == 1).then_some(start)
    }

    /// Says of every piece of a tile of so many channels, `[channels, pixels]`, where it stands
    /// there, and where among whole images.
    fn pieces(
        &self,
        tile: &Tile,
        channels: usize,
    ) -> impl Iterator<Item = [Range<usize>; 2]> + use<> {
        let (plane, width) = (self.plane(), self.width);
        let (images, rows) = (tile.images.clone(), tile.rows.clone());
        let piece = rows.len() * width;
        let all = (0..channels).flat_map(move |one| images.clone().map(move |i| (one, i)));
        all.enumerate().map(move |(at, (channel, image))| {
            let start = (image * channels + channel) * plane + rows.start * width;
            [at * piece..(at + 1) * piece, start..start + piece]
        })
    }

    /// Computes `[channels, pixels] = map columns` of a tile inside whole images.
    fn set(&self, tile: &Tile, map: Matrix<'_>, columns: Matrix<'_>, images: &mut [f32]) {
        let shape = [map.height(), self.pixels(tile)];
        if let Some(start) = self.start(tile, shape[0]) {
            let target = Target::strided(&mut images[start..], shape, self.plane());
            return target.set(map, columns, 1.0);
        }
        let mut out = take(shape[0] * shape[1]);
        Target::rows(&mut out, shape[1]).set(map, columns, 1.0);
        for [here, there] in self.pieces(tile, shape[0]) {
            images[there].copy_from_slice(&out[here]);
        }
    }

    fn forward_part(&self, weight: &[f32], x: &[f32], y: &mut [f32]) {
        let inputs = self.inputs;
        let weight = Matrix::rows(weight, 9 * inputs);
        for tile in self.tiles(x.len() / (inputs * self.plane()), inputs) {
            let pixels = self.pixels(&tile);
            let mut columns = take(9 * inputs * pixels);
            self.gather(&tile, inputs, x, &mut columns);
            self.set(&tile, weight, Matrix::rows(&columns, pixels), y);
        }
    }

    /// Writes `dx`; returns `dW'`, `[9 outputs, inputs]`. `turned` is `W'`.
    fn backward_part(
        &self,
        turned: &[f32],
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
    ) -> [Vec<f32>; 1] {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let mut dturned = vec![0.0; turned.len()];
        for tile in self.tiles(x.len() / (inputs * self.plane()), outputs) {
            let pixels = self.pixels(&tile);
            let mut columns = take(9 * outputs * pixels);
            self.gather(&tile, outputs, dy, &mut columns);
            let columns = Matrix::rows(&columns, pixels);
            self.set(&tile, Matrix::rows(turned, 9 * outputs), columns, dx);
            let target = Target::rows(&mut dturned, inputs);
            if let Some(start) = self.start(&tile, inputs) {
                let x = Matrix::strided(&x[start..], [inputs, pixels], self.plane());
                target.add(columns, x.t(), 1.0);
                continue;
            }
            let mut seen = take(inputs * pixels);
            for [here, there] in self.pieces(&tile, inputs) {
                seen[here].copy_from_slice(&x[there]);
            }
            target.add(columns, Matrix::rows(&seen, pixels).t(), 1.0);
        }
        [dturned]
    }

    /// Cuts images of so many channels.
    fn images<'a>(&self, data: &'a [f32], channels: usize) -> impl Iterator<Item = Image<'a>> {
        let (height, width) = (self.height, self.width);
        let each = data.chunks_exact(channels * self.plane());
        each.map(move |data| Image { data, height, width })
    }

    /// Computes all images by products that take neighbors where they stand.
    fn convolve<F: Factors>(&self, factors: F, weight: &[f32], tasks: Vec<(&[f32], &mut [f32])>) {
        let kernels = Kernels::new(factors, weight, self.outputs);
        in_parts(tasks, |_, (x, y)| {
            let outputs = y.chunks_exact_mut(self.outputs * self.plane());
            self.images(x, self.inputs).zip(outputs).for_each(|(x, y)| kernels.convolve(x, y));
        });
    }

    /// Writes `dx` by such products; returns `dW`.
    fn turn_back<F: Factors>(
        &self,
        factors: F,
        turned: &[f32],
        tasks: Vec<BackTask<'_>>,
    ) -> Vec<f32> {
        let turned = Kernels::new(factors, turned, self.inputs);
        let parts = in_parts(tasks, |_, ((x, dy), dx)| {
            let mut dweight = vec![0.0; self.outputs * 9 * self.inputs];
            let grads = self.images(dy, self.outputs);
            let to = dx.chunks_exact_mut(self.inputs * self.plane());
            for ((x, dy), dx) in self.images(x, self.inputs).zip(grads).zip(to) {
                turned.turn_back(x, dy, dx, &mut dweight);
            }
            [dweight]
        });
        let [dweight] = add_up(parts);
        let mut swapped = vec![0.0; dweight.len()]; // [outputs, inputs, 9]
        let kernels = dweight.chunks_exact(9 * self.inputs);
        for (from, to) in kernels.zip(swapped.chunks_exact_mut(9 * self.inputs)) {
            for (neighbor, from) in from.chunks_exact(self.inputs).enumerate() {
                let to = to[neighbor..].iter_mut().step_by(9);
                to.zip(from).for_each(|(to, from)| *to = *from);
            }
        }
        swapped
    }

    /// Returns `W'`, whose row `i` holds `W[o, i, 8 - k]` at `9 o + k`.
    fn turned(&self, weight: &[f32]) -> Vec<f32> {
        let mut turned = vec![0.0; weight.len()];
        for (at, kernel) in weight.chunks_exact(9).enumerate() {
            let (output, input) = (at / self.inputs, at % self.inputs);
            let to = &mut turned[(input * self.outputs + output) * 9..][..9];
            to.copy_from_slice(kernel);
            to.reverse();
        }
        turned
    }

    /// Returns `dW`, given the gradient of `W'` with rows and columns changed over:
    /// `[9 outputs, inputs]`.
    fn turned_back(&self, dturned: &[f32]) -> Vec<f32> {
        let mut dweight = vec![0.0; dturned.len()];
        for (line, numbers) in dturned.chunks_exact(self.inputs).enumerate() {
            let (output, kernel) = (line / 9, 8 - line % 9);
            for (input, number) in numbers.iter().enumerate() {
                dweight[(output * self.inputs + input) * 9 + kernel] = *number;
            }
        }
        dweight
    }

    /// Computes `y`, 32-bit products by this way or else by `C`.
    fn forward_by(&self, single: Option<Single>, inputs: &[&[f32]]) -> Vec<f32> {
        let (x, weight) = (inputs[0], inputs[1]);
        let mut output = vec![0.0; x.len() / self.inputs * self.outputs];
        let [of_x, of_y] = self.group(x);
        let tasks: Vec<_> = x.chunks(of_x).zip(output.chunks_mut(of_y)).collect();
        match (self.precision, single) {
            (Precision::Bf16, _) => self.convolve(Way::of_this_processor(), weight, tasks),
            (_, Some(single)) => self.convolve(single, weight, tasks),
            (_, None) => {
                in_parts(tasks, |_, (x, y)| self.forward_part(weight, x, y));
            }
        }
        output
    }

    /// Computes `dx` and `dW`, 32-bit products by this way or else by `C`.
    fn backward_by(&self, single: Option<Single>, inputs: &[&[f32]], dy: &[f32]) -> [Vec<f32>; 2] {
        let (x, weight) = (inputs[0], inputs[1]);
        let mut dx = vec![0.0; x.len()];
        let [of_x, of_y] = self.group(x);
        let tasks: Vec<_> = x.chunks(of_x).zip(dy.chunks(of_y)).zip(dx.chunks_mut(of_x)).collect();
        let turned = self.turned(weight);
        let dweight = match (self.precision, single) {
            (Precision::Bf16, _) => self.turn_back(Way::of_this_processor(), &turned, tasks),
            (_, Some(single)) => self.turn_back(single, &turned, tasks),
            (_, None) => {
                let part = |_, ((x, dy), dx): BackTask<'_>| self.backward_part(&turned, x, dy, dx);
                let [dturned] = add_up(in_parts(tasks, part));
                self.turned_back(&dturned)
            }
        };
        [dx, dweight]
    }

    /// Counts the numbers of `x` and of `y` in a group of images, of which there are at most
    /// [`PARTS`].
    fn group(&self, x: &[f32]) -> [usize; 2] {
        let images = x.len() / (self.inputs * self.plane());
        let images = images.div_ceil(PARTS).max(1);
        [self.inputs, self.outputs].map(|channels| images * channels * self.plane())
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

impl Op for ConvolutionOp {
    fn shape(&self, first: Shape) -> Shape {
        Shape::new([first.dims::<4>()[0], self.outputs, self.height, self.width])
    }

    fn forward(&self, inputs: &[&[f32]]) -> Forward {
        let output = self.forward_by(Single::of_this_processor(), inputs);
        Forward { output, kept: vec![] }
    }

    fn backward(&self, inputs: &[&[f32]], _: Vec<Buffer>, dy: &[f32]) -> Vec<Vec<f32>> {
        self.backward_by(Single::of_this_processor(), inputs, dy).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::FlexKernels;
    use crate::testing::normal;
    use crate::{BlockKernels, Reference};
    use burn::prelude::*;
    use burn::tensor::DType;

    #[test]
    fn a_convolution_and_its_gradients_equal_their_definition() {
        compare(Precision::F32, 1e-5);
    }

    #[test]
    fn a_convolution_rounds_its_factors_and_nothing_else() {
        compare(Precision::Bf16, 1e-5);
    }

    fn numbers_of(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    /// Compares every way of a convolution with the definition in 32 bits, given numbers that have
    /// the precision, within a share of the largest number.
    fn compare(precision: Precision, tolerance: f32) {
        let shapes = [
            [1, 3, 1, 1],
            [2, 3, 5, 7],
            [3, 24, 16, 16],
            [40, 8, 4, 4],
            [17, 2, 2, 3],
            [1, 9, 40, 9],
            [1, 3, 16, 2000], // these two are not packed in one go
            [1, 5, 17, 1998],
            [1, 17, 9, 31],
        ];
        for (seed, [images, inputs, height, width]) in (1..).zip(shapes) {
            let outputs = 2 * inputs + 1;
            let numbers = |seed, shape: [usize; 4], size| {
                let numbers = normal(seed, shape, size);
                if precision == Precision::Bf16 {
                    return numbers.cast(DType::BF16).cast(DType::F32);
                }
                numbers
            };
            let x = numbers(seed, [images, inputs, height, width], 1.0);
            let weight = numbers(seed + 100, [outputs, inputs, 3, 3], 0.3);
            let dy = numbers(seed + 200, [images, outputs, height, width], 1.0);
            let of = |kernels: &dyn BlockKernels, precision: Precision| {
                let [x, weight] =
                    [x.clone(), weight.clone()].map(|tensor| tensor.autodiff().require_grad());
                let y = kernels.convolution(x.clone(), weight.clone(), precision);
                let grads = (y.clone() * dy.clone()).sum().backward();
                let [dx, dweight] = [x.grad(&grads).unwrap(), weight.grad(&grads).unwrap()];
                [y.without_autodiff(), dx, dweight].map(numbers_of)
            };
            let wanted = of(&Reference, Precision::F32);
            let mut all = vec![of(&FlexKernels, precision)];
            if precision == Precision::F32 {
                let op = ConvolutionOp { inputs, outputs, height, width, precision };
                let [x, weight, dy] = [x, weight, dy].map(numbers_of);
                let both = [&x[..], &weight[..]];
                for way in Single::all().into_iter().map(Some).chain([None]) {
                    let [dx, dweight] = op.backward_by(way, &both, &dy);
                    all.push([op.forward_by(way, &both), dx, dweight]);
                }
            }
            for (found, wanted) in all.iter().flat_map(|found| found.iter().zip(&wanted)) {
                assert_eq!(found.len(), wanted.len());
                let largest = wanted.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= tolerance * (largest + b.abs());
                assert!(
                    found.iter().zip(wanted).all(close),
                    "{inputs} channels, {height} x {width}"
                );
            }
        }
    }
}
