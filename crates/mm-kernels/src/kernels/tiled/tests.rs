//! Attention in tiles against its definition: outputs and all gradients, on the CPU's backend.

use burn::prelude::*;
use proptest::prelude::*;

use super::{Tile, Tiling, attention, tiles};
use crate::testing::normal;
use crate::{AttentionContext, AxisFrequency, KeyRanges, Precision, RotaryTables};

/// A tile of at most so many queries.
fn at_most(queries: usize) -> Tiling {
    Tiling { queries, ..Tiling::default() }
}

/// Text of `keys` tokens, whose last `queries` ask.
fn causal(batch: usize, queries: usize, keys: usize) -> KeyRanges {
    let ranges = (keys - queries..keys).map(|at| [0, at as u32 + 1]).collect::<Vec<_>>();
    KeyRanges::new(batch, keys, ranges.repeat(batch)).unwrap()
}

fn context(ranges: &KeyRanges) -> AttentionContext {
    let positions = vec![[0.0; 2]; ranges.batch() * ranges.queries()];
    let tables = RotaryTables::new(&[AxisFrequency { axis: 0, theta: 1.0 }], &positions);
    AttentionContext::new(tables, ranges.clone(), &Device::flex())
}

/// The sizes of an attention.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    key_heads: usize,
    group: usize,
    channels: usize,
    values: usize,
}

/// Computes the output and the gradients of queries, keys and values.
fn results(
    sizes: Sizes,
    ranges: &KeyRanges,
    of: &dyn Fn([Tensor<4>; 3]) -> Tensor<4>,
) -> [TensorData; 4] {
    let Sizes { key_heads, group, channels, values } = sizes;
    let (batch, queries, keys) = (ranges.batch(), ranges.queries(), ranges.keys());
    let leaf = |seed, shape| normal(seed, shape, 1.0).autodiff().require_grad();
    let q = leaf(1, [batch, key_heads * group, queries, channels]);
    let k = leaf(2, [batch, key_heads, keys, channels]);
    let v = leaf(3, [batch, key_heads, keys, values]);
    let y = of([q.clone(), k.clone(), v.clone()]);
    let weight = normal(4, y.dims(), 1.0);
    let grads = (y.clone() * weight).sum().backward();
    let grad = |of: &Tensor<4>| of.grad(&grads).unwrap().into_data();
    [y.into_data(), grad(&q), grad(&k), grad(&v)]
}

fn host(data: &TensorData) -> Vec<f32> {
    data.clone().convert::<f32>().try_to_vec::<f32>().unwrap()
}

/// Compares tiles with the definition; `most` is relative to the largest number of each tensor.
fn check(sizes: Sizes, ranges: &KeyRanges, tiling: Tiling, precision: Precision, most: f32) {
    let context = context(ranges);
    let narrow = |inputs: [Tensor<4>; 3]| inputs.map(|x| precision.narrow(x));
    let found = results(sizes, ranges, &|inputs| {
        let [q, k, v] = narrow(inputs);
        precision.widen(attention(q, k, v, &context, precision, tiling))
    });
    let wanted = results(sizes, ranges, &|inputs| {
        let [q, k, v] = narrow(inputs);
        precision.widen(super::attention::attention(q, k, v, &context, precision))
    });
    for (name, (found, wanted)) in ["y", "dq", "dk", "dv"].iter().zip(found.iter().zip(&wanted)) {
        assert_eq!(found.shape(), wanted.shape());
        let (found, wanted) = (host(found), host(wanted));
        let largest = wanted.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
        let apart = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= most * largest, "{name}: {apart:e} of {largest:e}, {sizes:?}, {ranges:?}");
    }
}

/// Any ranges of a batch whose rows need not agree.
fn any_ranges() -> impl Strategy<Value = KeyRanges> {
    (1usize..3, 1usize..20, 1usize..24).prop_flat_map(|(batch, queries, keys)| {
        let range = (0..keys as u32).prop_flat_map(move |start| {
            (start + 1..=keys as u32).prop_map(move |end| [start, end])
        });
        proptest::collection::vec(range, batch * queries)
            .prop_map(move |ranges| KeyRanges::new(batch, keys, ranges).unwrap())
    })
}

fn any_sizes() -> impl Strategy<Value = Sizes> {
    (1usize..3, 1usize..4, 1usize..9, 1usize..9).prop_map(|(key_heads, group, channels, values)| {
        Sizes { key_heads, group, channels, values }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tiles_of_any_size_give_the_definitions_output_and_gradients(
        sizes in any_sizes(),
        ranges in any_ranges(),
        most in 1usize..22,
    ) {
        check(sizes, &ranges, at_most(most), Precision::F32, 1e-5);
    }
}

#[test]
fn packed_rows_and_tokens_behind_a_prefix_equal_the_definition() {
    let one_head = Sizes { key_heads: 1, group: 1, channels: 8, values: 48 };
    let grouped = Sizes { key_heads: 2, group: 2, channels: 6, values: 6 };
    // Two documents in each row, at other places; the second holds an image of 40 patches.
    let mut packed: Vec<[u32; 2]> = (0..50).map(|at| [0, at + 1]).collect();
    packed.extend(vec![[50, 90]; 40]);
    packed.extend(vec![[0, 40]; 40]);
    packed.extend((40..90).map(|at| [40, at + 1]));
    let packed = KeyRanges::new(2, 90, packed).unwrap();
    for sizes in [one_head, grouped] {
        for ranges in [&packed, &causal(2, 33, 90)] {
            check(sizes, ranges, at_most(16), Precision::F32, 1e-5);
            check(sizes, ranges, at_most(90), Precision::F32, 1e-5);
            check(sizes, ranges, at_most(16), Precision::Bf16, 2e-2);
            check(sizes, ranges, at_most(16), Precision::F16, 4e-3);
        }
    }
}

#[test]
fn what_no_query_of_a_tile_may_attend_is_skipped() {
    let found = tiles(&causal(3, 8, 8), 2, at_most(4));
    let tile = |queries, keys| Tile { queries, keys, hides: true };
    assert_eq!(found, [tile(0..4, 0..4), tile(4..8, 0..8)]);
    let all = KeyRanges::new(1, 4, vec![[0, 2], [0, 2], [2, 4], [2, 4]]).unwrap();
    let tile = |queries, keys| Tile { queries, keys, hides: false };
    assert_eq!(tiles(&all, 1, at_most(2)), [tile(0..2, 0..2), tile(2..4, 2..4)]);
}

#[test]
fn the_scores_of_a_tile_do_not_grow_with_the_square_of_the_tokens() {
    for tokens in [256, 1024, 4096, 16384] {
        let ranges = KeyRanges::new(1, tokens, vec![[0, tokens as u32]; tokens]).unwrap();
        let tiling = Tiling::default();
        let scores = |tile: &Tile| 12 * tile.queries.len() * tile.keys.len();
        let most = tiles(&ranges, 12, tiling).iter().map(scores).max().unwrap();
        assert!(most <= tiling.scores, "{tokens} tokens: {most} scores");
    }
}

#[test]
fn without_gradients_the_output_is_plain() {
    let context = context(&causal(1, 5, 5));
    let x = |seed| normal(seed, [1, 2, 5, 4], 1.0);
    let y = attention(x(1), x(2), x(3), &context, Precision::F32, at_most(2));
    assert!(!y.is_autodiff());
    let wanted = super::attention::attention(x(1), x(2), x(3), &context, Precision::F32);
    assert!((y - wanted).abs().max().into_scalar::<f32>() < 1e-6);
}
