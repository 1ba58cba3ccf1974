//! Every fused operation against its definition in ordinary operations: outputs and all gradients.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use proptest::prelude::*;

use crate::backbone::Block;
use crate::cache::KeyValue;
use crate::ops::News;
use crate::{Attend, BackboneConfig, BlockConfig, Init, KeyRanges, PositionScheme, RmsNorm};

/// A stretch of a row: how many tokens, and what they see.
#[derive(Debug, Clone, Copy)]
enum Stretch {
    /// Causal text of the same document.
    Text(usize),
    /// Patches that see each other and all before them.
    Image(usize),
    /// From here on another document.
    Document,
    /// Places that see themselves alone.
    Padding(usize),
}

fn stretch() -> impl Strategy<Value = Stretch> {
    prop_oneof![
        (1usize..6).prop_map(Stretch::Text),
        prop_oneof![Just(1), Just(2), Just(6), Just(70)].prop_map(Stretch::Image),
        Just(Stretch::Document),
        (1usize..3).prop_map(Stretch::Padding),
    ]
}

/// Key ranges of a row of these stretches, after a first token.
fn ranges(stretches: &[Stretch]) -> Vec<[u32; 2]> {
    let (mut start, mut ranges) = (0, vec![[0, 1]]);
    for stretch in stretches {
        let at = ranges.len() as u32;
        match *stretch {
            Stretch::Text(count) => ranges.extend((0..count as u32).map(|i| [start, at + i + 1])),
            Stretch::Image(count) => ranges.extend(vec![[start, at + count as u32]; count]),
            Stretch::Padding(count) => {
                ranges.extend((0..count as u32).map(|i| [at + i, at + i + 1]))
            }
            Stretch::Document => {}
        }
        if !matches!(stretch, Stretch::Text(_) | Stretch::Image(_)) {
            start = ranges.len() as u32;
        }
    }
    ranges
}

/// Rows of equal length that hold these stretches; the second row holds them the other way round.
fn batch_ranges(stretches: &[Stretch], rows: usize) -> KeyRanges {
    let turned: Vec<Stretch> = stretches.iter().rev().copied().collect();
    let all: Vec<[u32; 2]> =
        (0..rows).flat_map(|row| ranges(if row % 2 == 0 { stretches } else { &turned })).collect();
    KeyRanges::new(rows, all.len() / rows, all).unwrap()
}

fn config(block: BlockConfig) -> BackboneConfig {
    BackboneConfig {
        width: 24,
        depth: 1,
        block,
        positions: PositionScheme::RopeTv,
        rotary_base: 100.0,
        norm_epsilon: 1e-6,
    }
}

fn attend(config: &BackboneConfig, ranges: &KeyRanges, device: &Device) -> Attend {
    let places: Vec<[f64; 2]> = (0..ranges.batch() * ranges.queries())
        .map(|at| [(at % 7) as f64, (at % 5) as f64 * 1.5])
        .collect();
    Attend::new(config, &places, ranges.clone(), device)
}

/// Gradients of all parameters by the order of the visit.
struct Collect<'a>(&'a burn::tensor::Gradients, Vec<TensorData>);

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.1.push(param.val().grad(self.0).expect("a gradient for every parameter").into_data());
    }
}

/// Output, gradient of the input, gradients of all parameters.
fn results<M: Module>(
    module: &M,
    x: &Tensor<3>,
    weight: &Tensor<3>,
    forward: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Vec<TensorData> {
    let x = x.clone().autodiff().require_grad();
    let y = forward(x.clone());
    let output = y.clone().without_autodiff().into_data();
    let grads = (y * weight.clone()).sum().backward();
    let mut collect = Collect(&grads, vec![output, x.grad(&grads).unwrap().into_data()]);
    module.visit(&mut collect);
    collect.1
}

fn host(data: &TensorData) -> Vec<f32> {
    data.clone().try_to_vec::<f32>().unwrap()
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// Every result agrees to 1e-5 of its largest number. One whose numbers nearly cancel is as exact as the terms they are sums
/// of: it is held to 1e-6 of the largest of all results, eight units in their last place.
fn assert_close(found: Vec<TensorData>, wanted: Vec<TensorData>) {
    assert_eq!(found.len(), wanted.len());
    let most = wanted.iter().fold(1e-6, |most: f32, wanted| most.max(largest(&host(wanted))));
    for (index, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let (numbers, wanted) = (host(found), host(wanted));
        assert_eq!(numbers.len(), wanted.len());
        let apart: Vec<f32> = numbers.iter().zip(&wanted).map(|(a, b)| a - b).collect();
        let (apart, scale) = (largest(&apart), largest(&wanted));
        assert!(
            apart <= (1e-5 * scale).max(1e-6 * most),
            "result {index}, {:?}: differs by {apart} of {scale}",
            found.shape()
        );
    }
}

fn random(seed: u64, shape: [usize; 3]) -> Tensor<3> {
    Init::new(seed, &Device::flex()).normal(shape, 1.0).val()
}

/// Weights away from the special values they start at.
fn shaken<M: Module>(module: M) -> M {
    struct Shake(u64);
    impl burn::module::ModuleMapper for Shake {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let noise = Init::new(self.0, &Device::flex()).normal(param.val().dims(), 0.2).val();
            param.map(|value| {
                Tensor::from_data((value.without_autodiff() + noise).into_data(), &Device::flex())
                    .autodiff()
                    .require_grad()
            })
        }
    }
    module.map(&mut Shake(70))
}

fn gau(bias: bool) -> BlockConfig {
    BlockConfig::Gau { expansion: 2, key_size: 8, bias }
}

fn transformer(key_heads: usize) -> BlockConfig {
    BlockConfig::Transformer { heads: 4, key_heads, feed_forward: 20 }
}

fn check(block: BlockConfig, stretches: &[Stretch], rows: usize) {
    let config = config(block);
    let block = shaken(Block::new(&config, &mut Init::new(3, &Device::flex().autodiff())));
    let ranges = batch_ranges(stretches, rows);
    let attend = attend(&config, &ranges, &Device::flex());
    let shape = [rows, ranges.queries(), config.width];
    let (x, weight) = (random(1, shape), random(2, shape));
    let fused = results(&block, &x, &weight, |x| block.fused(&x, &attend).expect("a kernel"));
    let ordinary = results(&block, &x, &weight, |x| block.ordinary(x, &attend, None).0);
    assert_close(fused, ordinary);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_fused_unit_and_its_gradients_equal_their_definition(
        bias: bool, stretches in proptest::collection::vec(stretch(), 0..7), rows in 1usize..4,
    ) {
        check(gau(bias), &stretches, rows);
    }

    #[test]
    fn a_fused_multi_head_block_and_its_gradients_equal_their_definition(
        key_heads in prop_oneof![Just(1usize), Just(2), Just(4)],
        stretches in proptest::collection::vec(stretch(), 0..7), rows in 1usize..4,
    ) {
        check(transformer(key_heads), &stretches, rows);
    }

    #[test]
    fn a_fused_norm_and_its_gradients_equal_their_definition(
        rows in 1usize..5, tokens in 1usize..40, channels in 4usize..70,
    ) {
        let norm = shaken(RmsNorm::new(&mut Init::new(3, &Device::flex().autodiff()), channels, 1e-6));
        let shape = [rows, tokens, channels];
        let (x, weight) = (random(1, shape), random(2, shape));
        let fused = results(&norm, &x, &weight, |x| {
            crate::ops::norm(&x, &norm.gamma.val(), norm.epsilon).expect("a kernel")
        });
        let ordinary = results(&norm, &x, &weight, |x| norm.ordinary(x));
        assert_close(fused, ordinary);
    }
}

#[test]
fn one_token_a_full_row_and_a_row_of_padding_are_right() {
    for stretches in
        [vec![], vec![Stretch::Image(1)], vec![Stretch::Text(90)], vec![Stretch::Padding(5)]]
    {
        check(gau(true), &stretches, 1);
        check(transformer(2), &stretches, 1);
    }
}

#[test]
fn parts_of_a_large_batch_join_without_a_seam() {
    check(gau(false), &[Stretch::Image(70), Stretch::Document, Stretch::Text(5)], 9);
    check(transformer(4), &[Stretch::Image(70), Stretch::Document, Stretch::Text(5)], 9);
}

/// Three tokens a row behind `prefix` others, whose keys and values have these heads and channels.
fn check_behind(block: BlockConfig, prefix: usize, [heads, keys, values]: [usize; 3]) {
    let (config, device) = (config(block), Device::flex());
    let block = Block::new(&config, &mut Init::new(3, &device));
    let x = random(1, [2, 3, config.width]);
    let (before, end) = (prefix as u32, prefix as u32 + 3);
    let ranges = [[1.min(before), end], [0, end], [before + 2, end]].repeat(2);
    let attend = attend(&config, &KeyRanges::new(2, prefix + 3, ranges).unwrap(), &device);
    let old = |seed, channels| {
        random(seed, [2 * heads, prefix, channels]).reshape([2, heads, prefix, channels])
    };
    let past = (prefix > 0).then(|| KeyValue { keys: old(8, keys), values: old(9, values) });
    let data = |(y, new): (Tensor<3>, KeyValue)| {
        vec![y.into_data(), new.keys.into_data(), new.values.into_data()]
    };
    let fused = |news| block.fused_cached(&x, &attend, past.as_ref(), news).expect("a kernel");
    let (y, new) = fused(News::Kept);
    let (same, none) = fused(News::Dropped);
    assert_eq!((same.into_data(), none.is_none()), (y.to_data(), true));
    assert_close(
        data((y, new.expect("they are kept"))),
        data(block.ordinary(x.clone(), &attend, past.as_ref())),
    );
}

#[test]
fn fused_tokens_behind_a_prefix_equal_their_definition() {
    for prefix in [0, 5] {
        check_behind(gau(true), prefix, [1, 8, 48]);
        check_behind(transformer(2), prefix, [2, 6, 6]);
    }
}
