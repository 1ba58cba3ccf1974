//! Every fused operation against its definition in ordinary operations: outputs and all gradients.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use proptest::prelude::*;

use crate::cache::KeyValue;
use crate::gau::Gau;
use crate::transformer::Transformer;
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

fn check_gau(bias: bool, stretches: &[Stretch], rows: usize) {
    let device = Device::flex().autodiff();
    let config = config(BlockConfig::Gau { expansion: 2, key_size: 8, bias });
    let block = shaken(Gau::new(&config, [2, 8], bias, &mut Init::new(3, &device)));
    let ranges = batch_ranges(stretches, rows);
    let attend = attend(&config, &ranges, &Device::flex());
    let shape = [rows, ranges.queries(), config.width];
    let (x, weight) = (random(1, shape), random(2, shape));
    let fused = results(&block, &x, &weight, |x| block.fused(&x, &attend).expect("a kernel"));
    let ordinary = results(&block, &x, &weight, |x| block.ordinary(x, &attend, None).0);
    assert_close(fused, ordinary);
}

fn check_transformer(key_heads: usize, stretches: &[Stretch], rows: usize) {
    let device = Device::flex().autodiff();
    let config = config(BlockConfig::Transformer { heads: 4, key_heads, feed_forward: 20 });
    let block = shaken(Transformer::new(&config, [4, key_heads], 20, &mut Init::new(3, &device)));
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
        check_gau(bias, &stretches, rows);
    }

    #[test]
    fn a_fused_multi_head_block_and_its_gradients_equal_their_definition(
        key_heads in prop_oneof![Just(1usize), Just(2), Just(4)],
        stretches in proptest::collection::vec(stretch(), 0..7), rows in 1usize..4,
    ) {
        check_transformer(key_heads, &stretches, rows);
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
        check_gau(true, &stretches, 1);
        check_transformer(2, &stretches, 1);
    }
}

#[test]
fn parts_of_a_large_batch_join_without_a_seam() {
    check_gau(false, &[Stretch::Image(70), Stretch::Document, Stretch::Text(5)], 9);
    check_transformer(4, &[Stretch::Image(70), Stretch::Document, Stretch::Text(5)], 9);
}

#[test]
fn fused_tokens_behind_a_prefix_equal_their_definition() {
    let device = Device::flex();
    let gau = config(BlockConfig::Gau { expansion: 2, key_size: 8, bias: true });
    let heads = config(BlockConfig::Transformer { heads: 4, key_heads: 2, feed_forward: 20 });
    let unit = Gau::new(&gau, [2, 8], true, &mut Init::new(3, &device));
    let block = Transformer::new(&heads, [4, 2], 20, &mut Init::new(3, &device));
    let x = random(1, [2, 3, 24]);
    for prefix in [0usize, 5] {
        let keys = prefix as u32 + 3;
        let ranges = [[1.min(prefix as u32), keys], [0, keys], [prefix as u32 + 2, keys]].repeat(2);
        let ranges = KeyRanges::new(2, keys as usize, ranges).unwrap();
        let past = |channels: [usize; 3]| {
            (prefix > 0).then(|| KeyValue {
                keys: random(8, [2 * channels[0], prefix, channels[1]]).reshape([
                    2,
                    channels[0],
                    prefix,
                    channels[1],
                ]),
                values: random(9, [2 * channels[0], prefix, channels[2]]).reshape([
                    2,
                    channels[0],
                    prefix,
                    channels[2],
                ]),
            })
        };
        let data = |(y, new): (Tensor<3>, KeyValue)| {
            vec![y.into_data(), new.keys.into_data(), new.values.into_data()]
        };
        let (at, old) = (attend(&gau, &ranges, &device), past([1, 8, 48]));
        assert_close(
            data(unit.forward_cached(x.clone(), &at, old.as_ref())),
            data(unit.ordinary(x.clone(), &at, old.as_ref())),
        );
        let (at, old) = (attend(&heads, &ranges, &device), past([2, 6, 6]));
        assert_close(
            data(block.forward_cached(x.clone(), &at, old.as_ref())),
            data(block.ordinary(x.clone(), &at, old.as_ref())),
        );
    }
}
