//! Attention in tiles of queries with its own backward pass, in device operations.
//!
//! Recorded operations keep every probability for the backward pass, `heads x queries x keys`
//! numbers. Here forward keeps the output and one logarithm a query, and backward computes the
//! probabilities again, a tile of queries at a time (Dao et al. 2022, arXiv:2205.14135, algorithms
//! 1 and 4, with tiles of queries alone):
//!
//! ```text
//! S = q kᵀ / sqrt(channels),  l = ln Σ exp(S),  P = exp(S - l),  O = P v
//! dv = Pᵀ dO,  dS = P ⊙ (dO vᵀ - Σ dO ⊙ O),  dq = dS k / sqrt(channels),  dk = dSᵀ q / sqrt(channels)
//! ```
//!
//! A tile is multiplied with the keys that any of its queries in any row may attend, so what is
//! hidden from all of them is skipped. A tile has so many queries that its scores stay below a
//! fixed number; therefore memory grows with the number of tokens and not with its square. Products
//! are in the type of the inputs; scores, probabilities and sums over tiles are 32-bit.

use std::ops::Range;

use burn::prelude::*;

use super::attention;
use crate::own_gradient::{AnyTensor, with_gradient};
use crate::{AttentionContext, KeyRanges, Precision};

/// How large tiles may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiling {
    /// The most scores of a tile, over all rows and heads, unless that leaves less than
    /// [`FEWEST_QUERIES`].
    pub scores: usize,
    /// The most queries of a tile in a row: the fewer there are, the more hidden keys are skipped.
    pub queries: usize,
}

/// The fewest queries of a tile, below which a device has too little to do at a time.
const FEWEST_QUERIES: usize = 32;

impl Default for Tiling {
    fn default() -> Self {
        Self { scores: 1 << 23, queries: 512 }
    }
}

/// Some queries of every row, and the keys that they are multiplied with.
#[derive(Debug, Clone, PartialEq)]
struct Tile {
    queries: Range<usize>,
    keys: Range<usize>,
    /// Whether some query may not attend all of these keys.
    hides: bool,
}

/// Cuts the queries of a batch into tiles.
fn tiles(ranges: &KeyRanges, heads: usize, tiling: Tiling) -> Vec<Tile> {
    let (batch, queries, keys) = (ranges.batch(), ranges.queries(), ranges.keys());
    let most = tiling.scores / (batch * heads * keys).max(1);
    let most = most.max(FEWEST_QUERIES).min(tiling.queries).max(1);
    let size = queries.div_ceil(queries.div_ceil(most));
    let tile = |start: usize| {
        let queries = start..(start + size).min(queries);
        let keys = ranges.span(queries.clone());
        let hides = !ranges.all_attend(queries.clone(), keys.clone());
        Tile { queries, keys, hides }
    };
    (0..queries).step_by(size).map(tile).collect()
}

/// Computes [attention](super::attention::attention) in tiles.
pub(crate) fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    context: &AttentionContext,
    precision: Precision,
    tiling: Tiling,
) -> Tensor<4> {
    let heads = q.dims()[1];
    let tiles = tiles(context.ranges(), heads, tiling);
    let inputs = [q.clone().into(), k.clone().into(), v.clone().into()];
    let tracked = inputs.iter().any(AnyTensor::is_tracked);
    let [plain_q, plain_k, plain_v] = [&q, &k, &v].map(|x| x.clone().without_autodiff());
    let pass =
        Pass { q: plain_q, k: plain_k, v: plain_v, context: context.clone(), precision, tiles };
    let Forward { output, logs } = pass.forward();
    if !tracked {
        return output;
    }
    let kept = output.clone();
    let gradient = move |dy: AnyTensor| {
        let [dq, dk, dv] = pass.backward(dy.into_tensor(), kept, logs);
        vec![Some(dq.into()), Some(dk.into()), Some(dv.into())]
    };
    match with_gradient(&inputs, output.into(), Box::new(gradient)) {
        Some(output) => output.into_tensor(),
        None => attention::attention(q, k, v, context, precision),
    }
}

/// One attention without autodiff.
struct Pass {
    /// `[batch, heads, queries, channels]`
    q: Tensor<4>,
    /// `[batch, key_heads, keys, channels]`
    k: Tensor<4>,
    /// `[batch, key_heads, keys, values]`
    v: Tensor<4>,
    context: AttentionContext,
    precision: Precision,
    tiles: Vec<Tile>,
}

/// What the forward pass gives.
struct Forward {
    /// `[batch, heads, queries, values]`
    output: Tensor<4>,
    /// The logarithms of the sums, of every tile: `[batch, key_heads, group * queries, 1]`.
    logs: Vec<Tensor<4>>,
}

impl Pass {
    /// Computes all tiles.
    fn forward(&self) -> Forward {
        let (mut outputs, mut logs) = (vec![], vec![]);
        for tile in &self.tiles {
            let scores = self.scores(tile);
            let largest = scores.clone().max_dim(3);
            let exponentials = (scores - largest.clone()).exp();
            let sums = exponentials.clone().sum_dim(3);
            let mixed = self.mixed(exponentials, sums.clone(), self.keys_of(&self.v, tile));
            outputs.push(self.heads_apart(mixed, tile));
            logs.push(largest + sums.log());
        }
        Forward { output: joined(outputs), logs }
    }

    /// Computes `(exponentials / sums) values`, all `[batch, key_heads, rows, …]`. Dividing the
    /// product is less work, but a sum over many keys may be beyond the range of f16.
    fn mixed(&self, exponentials: Tensor<4>, sums: Tensor<4>, values: Tensor<4>) -> Tensor<4> {
        let precision = self.precision;
        if precision == Precision::F16 {
            return precision.narrow(exponentials / sums).matmul(values);
        }
        let product = precision.narrow(exponentials).matmul(values);
        precision.narrow(precision.widen(product) / sums)
    }

    /// Computes the gradients of queries, keys and values, in the type of the inputs.
    fn backward(self, dy: Tensor<4>, output: Tensor<4>, logs: Vec<Tensor<4>>) -> [Tensor<4>; 3] {
        let wide = |x: Tensor<4>| self.precision.widen(x);
        let products = (wide(dy.clone()) * wide(output)).sum_dim(3); // [batch, heads, queries, 1]
        let (mut dq, mut dk, mut dv) = (vec![], Sum::new(&self.k), Sum::new(&self.v));
        for (tile, logs) in self.tiles.iter().zip(logs) {
            let probabilities = (self.scores(tile) - logs).exp();
            let dy = self.queries_of(&dy, tile);
            let narrow = self.precision.narrow(probabilities.clone());
            dv.add(wide(narrow.transpose().matmul(dy.clone())), tile);
            let dp = wide(dy.matmul(self.keys_of(&self.v, tile).transpose()));
            let ds = probabilities * (dp - self.queries_of(&products, tile));
            let ds = self.precision.narrow(ds);
            dk.add(wide(ds.clone().transpose().matmul(self.scaled_queries(tile))), tile);
            let tile_dq = ds.matmul(self.keys_of(&self.k, tile)).mul_scalar(self.scale());
            dq.push(self.heads_apart(tile_dq, tile));
        }
        let narrow = |x: Tensor<4>| self.precision.narrow(x);
        [joined(dq), narrow(dk.total()), narrow(dv.total())]
    }

    /// Computes the scores of a tile, `[batch, key_heads, group * queries, keys]`, where those of
    /// hidden keys are minus infinity.
    fn scores(&self, tile: &Tile) -> Tensor<4> {
        let keys = self.keys_of(&self.k, tile);
        let scores = self.scaled_queries(tile).matmul(keys.transpose());
        let scores = self.precision.widen(scores);
        if !tile.hides {
            return scores;
        }
        let [batch, key_heads, rows, keys] = scores.dims();
        let queries = tile.queries.len();
        let shape = [batch, key_heads, rows / queries, queries, keys];
        let hidden = self.context.hidden_part(tile.queries.clone(), tile.keys.clone());
        let hidden = hidden.reshape([batch, 1, 1, queries, keys]).expand(shape);
        let scores = scores.reshape(shape).mask_fill(hidden, f32::NEG_INFINITY);
        scores.reshape([batch, key_heads, rows, keys])
    }

    /// Returns `q / sqrt(channels)` of a tile, `[batch, key_heads, group * queries, channels]`.
    fn scaled_queries(&self, tile: &Tile) -> Tensor<4> {
        self.queries_of(&self.q, tile).mul_scalar(self.scale())
    }

    fn scale(&self) -> f64 {
        (self.q.dims()[3] as f64).powf(-0.5)
    }

    /// Takes a tile of `[batch, heads, queries, channels]`, with the heads that share keys in one:
    /// `[batch, key_heads, group * queries, channels]`.
    fn queries_of(&self, x: &Tensor<4>, tile: &Tile) -> Tensor<4> {
        let ([batch, heads, _, channels], key_heads) = (x.dims(), self.k.dims()[1]);
        let part = part_of(x, &tile.queries);
        if heads == key_heads {
            return part;
        }
        part.reshape([batch, key_heads, heads / key_heads * tile.queries.len(), channels])
    }

    /// Undoes what [`queries_of`](Self::queries_of) does to heads.
    fn heads_apart(&self, x: Tensor<4>, tile: &Tile) -> Tensor<4> {
        let ([batch, key_heads, _, channels], heads) = (x.dims(), self.q.dims()[1]);
        if heads == key_heads {
            return x;
        }
        x.reshape([batch, heads, tile.queries.len(), channels])
    }

    /// Takes the keys of a tile of `[batch, key_heads, keys, channels]`.
    fn keys_of(&self, x: &Tensor<4>, tile: &Tile) -> Tensor<4> {
        part_of(x, &tile.keys)
    }
}

/// Takes a part of the tokens of `[batch, heads, tokens, channels]`.
fn part_of(x: &Tensor<4>, tokens: &Range<usize>) -> Tensor<4> {
    if tokens.len() == x.dims()[2] {
        return x.clone();
    }
    x.clone().narrow(2, tokens.start, tokens.len())
}

/// Joins tiles, `[batch, heads, queries, channels]` each, along the queries.
fn joined(mut tiles: Vec<Tensor<4>>) -> Tensor<4> {
    match tiles.len() {
        1 => tiles.remove(0),
        _ => Tensor::cat(tiles, 2),
    }
}

/// A sum over tiles of what each gives to its keys.
struct Sum {
    /// `[batch, key_heads, keys, channels]`
    shape: [usize; 4],
    total: Option<Tensor<4>>,
}

impl Sum {
    /// Begins a sum of the shape of `x`, `[batch, key_heads, keys, channels]`.
    fn new(x: &Tensor<4>) -> Self {
        Self { shape: x.dims(), total: None }
    }

    /// Adds what a tile gives, `[batch, key_heads, keys of the tile, channels]`.
    fn add(&mut self, part: Tensor<4>, tile: &Tile) {
        let [batch, heads, keys, channels] = self.shape;
        self.total = Some(match self.total.take() {
            None if tile.keys.len() == keys => part,
            Some(total) if tile.keys.len() == keys => total + part,
            total => {
                let total = total
                    .unwrap_or_else(|| Tensor::zeros(self.shape, (&part.device(), part.dtype())));
                let place = [0..batch, 0..heads, tile.keys.clone(), 0..channels];
                let old = part_of(&total, &tile.keys);
                total.slice_assign(place, old + part)
            }
        });
    }

    /// Returns the sum.
    fn total(self) -> Tensor<4> {
        self.total.expect("a batch has a query")
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
