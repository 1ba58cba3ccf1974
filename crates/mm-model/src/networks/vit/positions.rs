//! Where patches stand for networks of one image: a fixed table of sines and cosines, rotary angles
//! of rows and columns, and who sees whom.

use burn::prelude::*;
use mm_backbone::{AttentionContext, KeyRanges};
use mm_kernels::{AxisFrequency, RotaryTables};
use mm_patch::Grid;

/// The base of all frequencies.
const BASE: f64 = 10_000.0;

/// Returns the fixed embedding of every patch (He et al. 2021, arXiv:2111.06377, as in DiT): sines
/// and cosines of the column, then of the row, with frequencies `10000^(-4k/width)`:
/// `[1, patches, width]`.
pub(crate) fn sines_of_places(grid: Grid, width: usize, device: &Device) -> Tensor<3> {
    let numbers = numbers_of_places(grid.rows, grid.cols, width);
    Tensor::from_data(TensorData::new(numbers, [1, grid.tokens(), width]), device)
}

/// Returns the fixed embedding of every patch in JiT and DiT, last axis fastest: sines and cosines of
/// the column, then of the row, `rows * cols` times `width` numbers.
pub fn numbers_of_places(rows: usize, cols: usize, width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let angle = |place: usize, k: usize| place as f64 * BASE.powf(-(k as f64) / quarter as f64);
    let mut numbers = Vec::with_capacity(rows * cols * width);
    for place in 0..rows * cols {
        for coordinate in [place % cols, place / cols] {
            numbers.extend((0..quarter).map(|k| angle(coordinate, k).sin() as f32));
            numbers.extend((0..quarter).map(|k| angle(coordinate, k).cos() as f32));
        }
    }
    numbers
}

/// Returns what blocks need of `images` images whose patches all see each other, with `before`
/// tokens in front, which do not turn. Heads have `head` channels: the first half turns with the
/// row, the second with the column.
pub(crate) fn context(
    images: usize,
    grid: Grid,
    before: usize,
    head: usize,
    device: &Device,
) -> AttentionContext {
    let quarter = (head / 4).max(1);
    let theta = |pair: usize| BASE.powf(-((pair % quarter) as f64) / quarter as f64);
    let frequency = |pair| AxisFrequency { axis: pair / quarter, theta: theta(pair) };
    let frequencies: Vec<AxisFrequency> = (0..2 * quarter).map(frequency).collect();
    let mut places = vec![[0.0; 2]; before];
    let patch = |at: usize| [(at / grid.cols) as f64, (at % grid.cols) as f64];
    places.extend((0..grid.tokens()).map(patch));
    let tokens = places.len();
    let ranges = vec![[0, tokens as u32]; images * tokens];
    let ranges = KeyRanges::new(images, tokens, ranges).expect("every token sees all");
    let tables = RotaryTables::new(&frequencies, &places.repeat(images));
    AttentionContext::new(tables, ranges, device)
}
