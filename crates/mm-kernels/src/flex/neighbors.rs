//! The 3x3 convolution with a border of zeros as products that take the neighbors of a pixel where
//! they stand.
//!
//! ```text
//! y[o, p]      = Σ_k Σ_i W[o, i, k] x[i, p + k]
//! dW[o, k, i]  = Σ_p dy[o, p] x[i, p + k]
//! ```
//!
//! Rows of an image are [framed](Framed) by zeros, one between two rows. So the step from a pixel
//! to its neighbor `k` is equally long everywhere, and a product needs no copy of the
//! neighbors: the right factor is the image itself, begun nine times, a [section](Tile::sections)
//! of the inner index each. What comes out between the rows is left out.
//!
//! The gradient of the kernels sums over pixels. [Rounded factors](super::bf16) stand two in a
//! word, and half of the steps are odd, so that their image is packed twice, from an even and from
//! an odd pixel on.

use std::ops::Range;

use super::buffer::{Buffer, Word, Words, take};
use super::tile::{Columns, TILE_COLUMNS, Tile};

/// The pixels that a pixel is computed of.
const NEIGHBORS: usize = 9;
/// Numbers of an image that are packed at a time, unless they are fewer rows than [`LEAST_ROWS`].
const BAND: usize = 1 << 17;
/// Rows that are worth their two neighboring ones.
const LEAST_ROWS: usize = 8;
/// Words of pixels that a tile of the kernels' gradient sums over.
const MOST_INNER: usize = 384;
/// Words between packed lines besides their own: lines then do not all begin in the same set of
/// the first cache.
pub(super) const GAP: usize = 16;

/// How factors are packed and multiplied.
///
/// # Safety
///
/// Products are computed through pointers into what [`channels`](Self::channels) and
/// [`pixels`](Self::pixels) return, so these are as long as they say, and a tile is no larger than
/// [`tile_size`](Self::tile_size) says.
pub(super) unsafe trait Factors: Copy + Sync {
    /// What holds [`Self::NUMBERS`] numbers.
    type Word: Word;
    /// Numbers that follow each other in a word: 1 or 2.
    const NUMBERS: usize;

    /// Returns the rows and the columns of a full tile; there are at most [`TILE_COLUMNS`].
    fn tile_size(self) -> [usize; 2];

    /// Computes a tile.
    ///
    /// # Safety
    ///
    /// The pointers of the tile reach as far as it says, where rows of the right factor are read in
    /// whole vectors. It has at least one row and one vector of columns, and at most those of
    /// [`tile_size`](Self::tile_size).
    unsafe fn tile(self, tile: &Tile<'_, Self::Word>);

    /// Packs numbers that follow each other, at the front of `to`. What is behind them in their
    /// last word is zero.
    fn line(self, numbers: &[f32], to: &mut [Self::Word]);

    /// Packs channels that follow each other, `[channels / NUMBERS, stride]` and
    /// [`TILE_COLUMNS`] words more.
    fn channels(self, image: &Framed) -> Words<'_, Self::Word>;

    /// Packs pixels that follow each other from a number below [`Self::NUMBERS`] on,
    /// `[stride / NUMBERS, channels]`, where channels are rounded up to sixteen.
    fn pixels(self, image: &Framed, first: usize) -> Words<'_, Self::Word>;
}

/// An image, `[channels, height, width]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image<'a> {
    pub data: &'a [f32],
    pub height: usize,
    pub width: usize,
}

impl Image<'_> {
    fn plane(&self) -> usize {
        self.height * self.width
    }

    fn channels(&self) -> usize {
        self.data.len() / self.plane()
    }

    /// Cuts the rows, given the most channels that are packed.
    fn bands(&self, channels: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let height = self.height;
        let rows = (BAND / (channels * (self.width + 1))).max(LEAST_ROWS);
        (0..height).step_by(rows).map(move |row| row..(row + rows).min(height))
    }
}

/// The kernels of a convolution, packed: of every neighbor, the channels that follow each other.
#[derive(Debug)]
pub(super) struct Kernels<F: Factors> {
    factors: F,
    /// `[outputs, 9, inputs / NUMBERS]`, and more behind each output.
    words: Vec<F::Word>,
    outputs: usize,
    inputs: usize,
}

impl<F: Factors> Kernels<F> {
    /// Packs `[outputs, inputs, 9]`.
    pub fn new(factors: F, weight: &[f32], outputs: usize) -> Self {
        let inputs = weight.len() / (NEIGHBORS * outputs);
        let (row, whole) = (Self::row(inputs), inputs.next_multiple_of(F::NUMBERS));
        let mut line = vec![0.0; NEIGHBORS * whole];
        let mut words = vec![F::Word::default(); outputs * row];
        let kernels = weight.chunks_exact(NEIGHBORS * inputs);
        for (from, to) in kernels.zip(words.chunks_exact_mut(row)) {
            for (neighbor, line) in line.chunks_exact_mut(whole).enumerate() {
                for (to, from) in line.iter_mut().zip(from.chunks_exact(NEIGHBORS)) {
                    *to = from[neighbor];
                }
            }
            factors.line(&line, to);
        }
        Self { factors, words, outputs, inputs }
    }

    /// Counts the words from one output to the next.
    fn row(inputs: usize) -> usize {
        line_words::<F>(NEIGHBORS * inputs.next_multiple_of(F::NUMBERS))
    }

    /// Computes `y`, `[outputs, height, width]`.
    pub fn convolve(&self, x: Image<'_>, y: &mut [f32]) {
        assert_eq!(y.len(), self.outputs * x.plane(), "the numbers of an image");
        for rows in x.bands(self.inputs) {
            self.set_rows(&Framed::new(x, rows.clone()), rows, y);
        }
    }

    /// Writes `dx` and adds the gradient of the kernels to `dweight`, `[channels of dy, 9, channels
    /// of x]`, where these are the kernels turned by half a turn, inputs and outputs changed over.
    pub fn turn_back(&self, x: Image<'_>, dy: Image<'_>, dx: &mut [f32], dweight: &mut [f32]) {
        assert_eq!([x.height, x.width], [dy.height, dy.width], "sides of both images");
        assert_eq!(dx.len(), self.outputs * x.plane(), "the numbers of an image");
        for rows in x.bands(self.inputs.max(self.outputs)) {
            let dy = Framed::new(dy, rows.clone());
            self.set_rows(&dy, rows.clone(), dx);
            add_gradient(self.factors, &Framed::new(x, rows), &dy, dweight);
        }
    }

    /// Computes these rows of `y`, given them of `x`.
    fn set_rows(&self, x: &Framed, rows: Range<usize>, y: &mut [f32]) {
        assert_eq!(x.channels, self.inputs, "channels of a convolution");
        let packed = self.factors.channels(x);
        let (width, plane) = (x.pitch - 1, y.len() / self.outputs);
        let vectors = self.factors.tile_size()[1] / 16;
        if width.is_multiple_of(16) {
            let to = y.as_mut_ptr();
            let vector = |at: usize| {
                let (row, column) = (at / (width / 16), at % (width / 16) * 16);
                let b = packed[row * x.pitch + column..].as_ptr();
                let out = to.wrapping_add((rows.start + row) * width + column);
                Columns { b, out, count: 16 }
            };
            let columns: Vec<_> = (0..x.rows * width / 16).map(vector).collect();
            for columns in columns.chunks(vectors) {
                // SAFETY: these are pixels of the band in `x` and in `y`.
                unsafe { self.set(x, columns, plane) };
            }
            return;
        }
        let cols = 16 * vectors;
        let mut out = take(self.outputs * cols);
        for col in (0..x.pixels()).step_by(cols) {
            let count = cols.min(x.pixels() - col);
            // SAFETY: behind all columns, the packed image has a tile's words more; a row of `out`
            // is a tile's columns.
            unsafe {
                let right = packed[col..].as_ptr();
                let (columns, vectors) = Columns::side_by_side(right, out.as_mut_ptr(), count);
                self.set(x, &columns[..vectors], cols);
            }
            let mut at = col;
            while at < col + count {
                let (row, column) = (at / x.pitch, at % x.pitch);
                let next = (x.pitch - column).min(col + count - at);
                let shown = next.min(width - column); // not the zero behind a row
                let start = (rows.start + row) * width + column;
                for (out, y) in out.chunks_exact(cols).zip(y.chunks_exact_mut(plane)) {
                    y[start..start + shown].copy_from_slice(&out[at - col..][..shown]);
                }
                at += next;
            }
        }
    }

    /// Computes some columns of a product for all outputs, which go `out_row` numbers apart.
    ///
    /// # Safety
    ///
    /// The columns are of pixels of `x`, and there is room for them in each output.
    unsafe fn set(&self, x: &Framed, columns: &[Columns<F::Word>], out_row: usize) {
        let [tile_rows, _] = self.factors.tile_size();
        let row = Self::row(self.inputs);
        for first in (0..self.outputs).step_by(tile_rows) {
            // SAFETY: the kernels hold these rows, and every neighbor of a pixel is in the frame.
            unsafe {
                self.factors.tile(&Tile {
                    a: self.words[first * row..].as_ptr(),
                    a_row: row,
                    a_step: 1,
                    columns,
                    b_step: x.stride,
                    sections: &x.neighbors(),
                    inner: self.inputs.div_ceil(F::NUMBERS),
                    rows: tile_rows.min(self.outputs - first),
                    out_first: first * out_row,
                    out_row,
                    scale: 1.0,
                    keep: false,
                });
            }
        }
    }
}

/// Counts the words of a packed line, rounded up to whole vectors, and of the gap behind it.
fn line_words<F: Factors>(numbers: usize) -> usize {
    numbers.next_multiple_of(32) / F::NUMBERS + GAP
}

/// Adds the gradient of the kernels, `[channels of dy, 9, channels of x]`, of some rows of images
/// of one width.
fn add_gradient<F: Factors>(factors: F, x: &Framed, dy: &Framed, dweight: &mut [f32]) {
    let (inputs, outputs) = (x.channels, dy.channels);
    assert_eq!(dweight.len(), outputs * NEIGHBORS * inputs, "the gradient of kernels");
    let [tile_rows, tile_cols] = factors.tile_size();
    let row = line_words::<F>(dy.pixels());
    let mut left = Words::take(outputs * row);
    for (from, to) in dy.numbers().chunks_exact(dy.stride).zip(left.chunks_exact_mut(row)) {
        factors.line(&from[1 + dy.pitch..][..dy.pixels()], to);
    }
    let packed: Vec<_> = (0..F::NUMBERS).map(|first| factors.pixels(x, first)).collect();
    let step = inputs.next_multiple_of(16);
    let to = dweight.as_mut_ptr();
    let columns = x.neighbors().into_iter().enumerate().flat_map(|(neighbor, at)| {
        let (packed, pixel) = (&packed[at % F::NUMBERS], at / F::NUMBERS);
        (0..inputs).step_by(16).map(move |input| Columns {
            b: packed[pixel * step + input..].as_ptr(),
            out: to.wrapping_add(neighbor * inputs + input),
            count: 16.min(inputs - input),
        })
    });
    let columns: Vec<_> = columns.collect();
    let pixels = dy.pixels().div_ceil(F::NUMBERS);
    for pixel in (0..pixels).step_by(MOST_INNER) {
        for columns in columns.chunks(tile_cols / 16) {
            for first in (0..outputs).step_by(tile_rows) {
                // SAFETY: the lines hold these pixels, and the packed image each with its
                // neighbors; the columns of the gradient are apart.
                unsafe {
                    factors.tile(&Tile {
                        a: left[first * row + pixel..].as_ptr(),
                        a_row: row,
                        a_step: 1,
                        columns,
                        b_step: step,
                        sections: &[pixel * step],
                        inner: (pixels - pixel).min(MOST_INNER),
                        rows: tile_rows.min(outputs - first),
                        out_first: first * NEIGHBORS * inputs,
                        out_row: NEIGHBORS * inputs,
                        scale: 1.0,
                        keep: true,
                    });
                }
            }
        }
    }
}

/// Some rows of an image and the two around them, with a zero behind each, and one in front of all:
/// a pixel at the left has the zero behind the row above as its neighbor.
pub(super) struct Framed {
    numbers: Buffer,
    channels: usize,
    rows: usize,
    /// Numbers from one row to the next.
    pitch: usize,
    /// Numbers from one channel to the next, a multiple of 32.
    stride: usize,
}

impl Framed {
    fn new(image: Image<'_>, rows: Range<usize>) -> Self {
        let (pitch, channels) = (image.width + 1, image.channels());
        // Behind the last row a zero more, which the odd packing reads.
        let stride = (1 + (rows.len() + 2) * pitch + 2).next_multiple_of(32);
        let mut numbers = take(channels * stride + TILE_COLUMNS);
        let planes = image.data.chunks_exact(image.plane());
        for (plane, to) in planes.zip(numbers.chunks_exact_mut(stride)) {
            to[0] = 0.0;
            let (lines, behind) = to[1..].split_at_mut((rows.len() + 2) * pitch);
            behind.fill(0.0);
            for (at, line) in lines.chunks_exact_mut(pitch).enumerate() {
                match (rows.start + at).checked_sub(1).filter(|row| *row < image.height) {
                    Some(row) => {
                        let from = &plane[row * image.width..][..image.width];
                        line[..image.width].copy_from_slice(from);
                        line[image.width] = 0.0;
                    }
                    None => line.fill(0.0),
                }
            }
        }
        Self { numbers, channels, rows: rows.len(), pitch, stride }
    }

    /// Returns all numbers, `[channels, stride]`, and [`TILE_COLUMNS`] more.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Returns the numbers from one channel to the next, a multiple of 32.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Counts the pixels, with the zero behind each row.
    fn pixels(&self) -> usize {
        self.rows * self.pitch
    }

    /// Says at which numbers of a channel the first pixel's neighbors stand.
    fn neighbors(&self) -> [usize; NEIGHBORS] {
        std::array::from_fn(|neighbor| neighbor / 3 * self.pitch + neighbor % 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::bf16::Way;

    fn wave(seed: f32, count: usize) -> Vec<f32> {
        (0..count).map(|at| (at as f32 * 0.7 + seed).sin()).collect()
    }

    /// Returns `y`, `dx` and the kernels' gradient of a convolution.
    fn computed<F: Factors>(factors: F, sizes: [usize; 4]) -> [Vec<f32>; 3] {
        let [inputs, outputs, height, width] = sizes;
        let [x, dy] = [(1.0, inputs), (2.0, outputs)]
            .map(|(seed, channels)| wave(seed, channels * height * width));
        let weight = wave(3.0, 9 * inputs * outputs);
        let kernels = Kernels::new(factors, &weight, outputs);
        let turned = Kernels::new(factors, &wave(4.0, 9 * inputs * outputs), inputs);
        let (mut y, mut dx, mut dweight) = (dy.clone(), x.clone(), weight.clone());
        let [x, dy] = [&x, &dy].map(|data| Image { data, height, width });
        kernels.convolve(x, &mut y);
        turned.turn_back(x, dy, &mut dx, &mut dweight);
        [y, dx, dweight]
    }

    const SIZES: [[usize; 4]; 4] = [[1, 1, 1, 1], [3, 5, 4, 7], [33, 18, 9, 16], [6, 7, 3, 40]];

    #[test]
    fn every_way_gives_rounded_factors_the_same_bits() {
        for sizes in SIZES {
            let own = computed(Way::of_this_processor(), sizes);
            assert!(own == computed(Way::Portable, sizes), "{sizes:?}");
        }
    }
}
