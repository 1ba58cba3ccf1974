//! Masked softmax attention of one head in one row: `O = P V`, `P = softmax(s Q Kᵀ)` over each
//! query's key range.
//!
//! Queries are taken in tiles whose ranges start at the same key; a tile meets the union of its
//! queries' ranges and no other key, so what is hidden by structure (another document, the text
//! after a tile) is never computed. Inside a tile hidden pairs have the probability 0. Since
//! 0 · NaN is NaN, tiles are of one query each where a number of the head is not finite: what is
//! hidden from a query then never meets it. Only the logarithm of each softmax's denominator is
//! kept, `L = ln Σ exp`: backward computes a tile's `P = exp(s q k - L)` again.
//!
//! With `dP = dO Vᵀ` and `D = rowsum(P ⊙ dP)`: `dS = s P ⊙ (dP - D)`, `dQ = dS K`, `dK = dSᵀ Q`,
//! `dV = Pᵀ dO` (Dao et al. 2022, arXiv:2205.14135, appendix B).

use std::ops::Range;

use super::buffer::take;
use super::matrix::{CHUNK, Matrix, Target};
use super::simd::{dot, exp, max, sum, vectorised};
use crate::Precision;

/// Most queries in a tile.
const TILE: usize = 64;

/// One head of one row.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    /// `[queries, channels]`
    pub q: Matrix<'a>,
    /// `[keys, channels]`
    pub k: Matrix<'a>,
    /// `[keys, values]`
    pub v: Matrix<'a>,
    /// Key range of every query.
    pub ranges: &'a [[u32; 2]],
    /// What scores are multiplied by.
    pub scale: f32,
    /// Whether the bits of a query's output must be those that it has alone: the same in whatever
    /// pieces a row is computed and whatever stands beside its range of keys. Forward only. In 16
    /// bits they always are.
    pub queries_alone: bool,
    /// The type that factors of products are rounded to.
    pub precision: Precision,
}

/// Where one head's numbers lie inside rows of a larger matrix.
pub(crate) struct Rows<'a> {
    /// The numbers from the first row's first channel of this head.
    pub data: &'a mut [f32],
    /// Channels of the head.
    pub channels: usize,
    /// Numbers from one row to the next.
    pub stride: usize,
}

/// Where the gradients of one head go, which are added to what is there.
pub(crate) struct HeadGradients<'a> {
    /// The gradient of queries.
    pub dq: Rows<'a>,
    /// The gradient of keys.
    pub dk: Rows<'a>,
    /// The gradient of values.
    pub dv: Rows<'a>,
}

impl Rows<'_> {
    fn tile(&mut self, rows: &Range<usize>) -> Target<'_> {
        let data = &mut self.data[rows.start * self.stride..];
        Target::strided(data, [rows.len(), self.channels], self.stride)
    }
}

/// Queries, and the keys that any of them may attend.
struct Tile {
    queries: Range<usize>,
    keys: Range<usize>,
}

/// Joins neighboring queries whose ranges start at one key, at most `most` of them.
fn tiles(ranges: &[[u32; 2]], most: usize) -> impl Iterator<Item = Tile> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let [start, mut end] = *ranges.get(first)?;
        let mut last = first + 1;
        while last < ranges.len() && last - first < most && ranges[last][0] == start {
            end = end.max(ranges[last][1]);
            last += 1;
        }
        let queries = first..last;
        first = last;
        Some(Tile { queries, keys: start as usize..end as usize })
    })
}

/// Returns the numbers of the largest tile of at most `most` queries.
fn widest(ranges: &[[u32; 2]], most: usize) -> usize {
    let sizes = tiles(ranges, most).map(|tile| tile.queries.len() * tile.keys.len());
    sizes.max().unwrap_or(0)
}

/// Returns the most queries in a tile: one where any number is not finite.
fn tile_of<const N: usize>(numbers: [Matrix<'_>; N]) -> usize {
    if numbers.into_iter().all(|matrix| matrix.is_finite()) { TILE } else { 1 }
}

impl Head<'_> {
    /// Writes `O` and, one a query, `L`.
    pub fn forward(&self, mut out: Rows<'_>, logs: &mut [f32]) {
        let most = tile_of([self.q, self.k, self.v]);
        let mut scratch = take(widest(self.ranges, most));
        for tile in tiles(self.ranges, most) {
            let width = tile.keys.len();
            let p = &mut scratch[..tile.queries.len() * width];
            let one_by_one = self.queries_alone && self.precision == Precision::F32;
            if one_by_one {
                self.scores_alone(&tile, p);
            } else {
                self.scores(&tile, p);
            }
            softmax_rows(p, self.seen(&tile), &mut logs[tile.queries.clone()]);
            let (p, values) = (Matrix::rows(p, width), self.v.slice(tile.keys.start, width));
            if one_by_one {
                mix_alone(&mut out, &tile.queries, p, values);
            } else {
                self.product(out.tile(&tile.queries)).set(p, values, 1.0);
            }
        }
    }

    /// Adds to the gradients of queries, keys and values, given `dO`: `[queries, values]`.
    pub fn backward(&self, dout: Matrix<'_>, logs: &[f32], grads: HeadGradients<'_>) {
        let HeadGradients { mut dq, mut dk, mut dv } = grads;
        let most = tile_of([self.q, self.k, self.v, dout]);
        let widest = widest(self.ranges, most);
        let (mut scratch, mut more) = (take(widest), take(widest));
        for tile in tiles(self.ranges, most) {
            let (count, width) = (tile.queries.len(), tile.keys.len());
            let p = &mut scratch[..count * width];
            let ds = &mut more[..count * width];
            let dout = dout.slice(tile.queries.start, count);
            let (q, k) =
                (self.q.slice(tile.queries.start, count), self.k.slice(tile.keys.start, width));
            self.scores(&tile, p);
            let v = self.v.slice(tile.keys.start, width);
            self.product(Target::rows(ds, width)).set(dout, v.t(), 1.0);
            let logs = &logs[tile.queries.clone()];
            softmax_backward_rows(p, ds, self.seen(&tile), logs, self.scale);
            let (p, ds) = (Matrix::rows(p, width), Matrix::rows(ds, width));
            self.product(dv.tile(&tile.keys)).add(p.t(), dout, 1.0);
            self.product(dq.tile(&tile.queries)).add(ds, k, 1.0);
            self.product(dk.tile(&tile.keys)).add(ds.t(), q, 1.0);
        }
    }

    /// Gives a product the head's precision.
    fn product<'t>(&self, target: Target<'t>) -> Target<'t> {
        target.of(self.precision)
    }

    /// Computes `s Q Kᵀ` of a tile.
    fn scores(&self, tile: &Tile, p: &mut [f32]) {
        let q = self.q.slice(tile.queries.start, tile.queries.len());
        let k = self.k.slice(tile.keys.start, tile.keys.len());
        self.product(Target::rows(p, tile.keys.len())).set(q, k.t(), self.scale);
    }

    /// Computes `s Q Kᵀ` of a tile with the same bits in every tile.
    ///
    /// Where both factors have their channels one after another, `gemm` sums small products over
    /// lanes and larger ones in order. Here queries are turned first, so that it is always the
    /// latter.
    fn scores_alone(&self, tile: &Tile, p: &mut [f32]) {
        let (first, count) = (tile.queries.start, tile.queries.len());
        let (channels, stride) = (self.q.width(), count.max(2));
        let mut turned = take(channels * stride);
        for query in 0..count {
            for (channel, x) in self.q.row(first + query).iter().enumerate() {
                turned[channel * stride + query] = x * self.scale;
            }
        }
        let q = Matrix::transposed(&turned, [count, channels], stride);
        let k = self.k.slice(tile.keys.start, tile.keys.len());
        Target::rows(p, tile.keys.len()).set(q, k.t(), 1.0);
    }

    /// Returns what the queries of a tile may attend, and the tile's first key.
    fn seen(&self, tile: &Tile) -> Seen<'_> {
        Seen {
            ranges: &self.ranges[tile.queries.clone()],
            first: tile.keys.start as u32,
            width: tile.keys.len(),
        }
    }
}

/// Computes `P V` of a tile, whose keys begin where the range of each of its queries does, with the
/// same bits in every tile: sums over keys are cut at the same keys, and what is hidden adds zeros.
fn mix_alone(out: &mut Rows<'_>, queries: &Range<usize>, p: Matrix<'_>, values: Matrix<'_>) {
    for start in (0..p.width()).step_by(CHUNK) {
        let keys = CHUNK.min(p.width() - start);
        let (p, values) = (p.columns(start, keys), values.slice(start, keys));
        let target = out.tile(queries);
        if start == 0 { target.set_rows(p, values) } else { target.add_rows(p, values) }
    }
}

/// The key ranges of a tile's queries.
#[derive(Clone, Copy)]
struct Seen<'a> {
    ranges: &'a [[u32; 2]],
    first: u32,
    width: usize,
}

impl Seen<'_> {
    /// Returns the columns of the tile that one of its queries may attend.
    #[inline(always)]
    fn columns(&self, query: usize) -> Range<usize> {
        let [start, end] = self.ranges[query];
        (start - self.first) as usize..(end - self.first) as usize
    }
}

vectorised! {
    /// Turns scores of a tile into probabilities, and writes the logarithms.
    fn softmax_rows(p: &mut [f32], seen: Seen<'_>, logs: &mut [f32]) {
        for (query, (row, log)) in p.chunks_exact_mut(seen.width).zip(logs).enumerate() {
            *log = softmax(row, seen.columns(query));
        }
    }

    /// Turns scores of a tile into probabilities, and `dP` into `dS`.
    fn softmax_backward_rows(
        p: &mut [f32],
        ds: &mut [f32],
        seen: Seen<'_>,
        logs: &[f32],
        scale: f32,
    ) {
        let rows = p.chunks_exact_mut(seen.width).zip(ds.chunks_exact_mut(seen.width));
        for (query, ((p, ds), log)) in rows.zip(logs).enumerate() {
            softmax_backward(p, ds, seen.columns(query), *log, scale);
        }
    }
}

/// Turns scores of one query into probabilities, zero outside `seen`, and returns `ln Σ exp`.
#[inline(always)]
fn softmax(row: &mut [f32], seen: Range<usize>) -> f32 {
    row[..seen.start].fill(0.0);
    row[seen.end..].fill(0.0);
    let row = &mut row[seen];
    let most = max(row);
    for x in row.iter_mut() {
        *x = exp(*x - most);
    }
    let total = sum(row);
    let share = 1.0 / total;
    for x in row.iter_mut() {
        *x *= share;
    }
    most + total.ln()
}

/// Turns scores into probabilities, and `dP` into `dS`, zero outside `seen`.
#[inline(always)]
fn softmax_backward(p: &mut [f32], ds: &mut [f32], seen: Range<usize>, log: f32, scale: f32) {
    for row in [&mut *p, &mut *ds] {
        row[..seen.start].fill(0.0);
        row[seen.end..].fill(0.0);
    }
    let (p, ds) = (&mut p[seen.clone()], &mut ds[seen]);
    for p in p.iter_mut() {
        *p = exp(*p - log);
    }
    let all = dot(p, ds);
    for (p, ds) in p.iter().zip(ds) {
        *ds = scale * p * (*ds - all);
    }
}
