//! Every fused operation against its definition in device operations: outputs and all gradients.

use burn::prelude::*;
use proptest::prelude::*;

use super::FlexKernels;
use crate::testing::normal;
use crate::{
    AttentionContext, AxisFrequency, BlockKernels, BlockOptions, GauWeights, KeyRanges, KeyValue,
    KvUpdate, LinearWeights, MultiHeadWeights, Precision, Reference, RotaryTables, ScaleOffset,
};

/// Channels of a token.
const WIDTH: usize = 24;

/// A stretch of a row: how many tokens, and what they see.
#[derive(Debug, Clone, Copy)]
enum Stretch {
    /// Causal text of the same document.
    Text(usize),
    /// Patches that see each other and all before them.
    Image(usize),
    /// The border to another document.
    Document,
    /// Tokens that see themselves alone.
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

/// Returns the key ranges of a row of these stretches, after a first token.
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

/// Returns rows of equal length that hold these stretches; the second row holds them the other way
/// round.
fn batch_ranges(stretches: &[Stretch], rows: usize) -> KeyRanges {
    let turned: Vec<Stretch> = stretches.iter().rev().copied().collect();
    let all: Vec<[u32; 2]> =
        (0..rows).flat_map(|row| ranges(if row % 2 == 0 { stretches } else { &turned })).collect();
    KeyRanges::new(rows, all.len() / rows, all).unwrap()
}

/// Returns angles for heads of so many channels at positions that differ in both axes.
fn context(channels: usize, ranges: &KeyRanges) -> AttentionContext {
    let positions: Vec<[f64; 2]> = (0..ranges.batch() * ranges.queries())
        .map(|at| [(at % 7) as f64, (at % 5) as f64 * 1.5])
        .collect();
    let pairs = channels / 2;
    let theta = |pair: usize| 100f64.powf(-(pair as f64) / pairs as f64);
    let frequencies: Vec<_> =
        (0..pairs).map(|pair| AxisFrequency { axis: pair % 2, theta: theta(pair) }).collect();
    let tables = RotaryTables::new(&frequencies, &positions);
    AttentionContext::new(tables, ranges.clone(), &Device::flex())
}

/// Trained weights in the order in which they were made.
#[derive(Default)]
struct Trained {
    vectors: Vec<Tensor<1>>,
    matrices: Vec<Tensor<2>>,
}

impl Trained {
    /// Draws a vector around `mean`, away from the special values that weights start at.
    fn vector(&mut self, channels: usize, mean: f64) -> Tensor<1> {
        let seed = 70 + self.vectors.len() as u64;
        let vector = (normal(seed, [channels], 0.2) + mean).autodiff().require_grad();
        self.vectors.push(vector.clone());
        vector
    }

    /// Draws a matrix whose products are about as large as their factors.
    fn matrix(&mut self, inputs: usize, outputs: usize) -> Tensor<2> {
        let seed = 90 + self.matrices.len() as u64;
        let deviation = (inputs as f64).powf(-0.5);
        let matrix = normal(seed, [inputs, outputs], deviation).autodiff().require_grad();
        self.matrices.push(matrix.clone());
        matrix
    }

    /// Runs `forward` and returns its output, the gradient of its input, those of all weights.
    fn results(
        &self,
        x: &Tensor<3>,
        weight: &Tensor<3>,
        forward: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Vec<TensorData> {
        let x = x.clone().autodiff().require_grad();
        let y = forward(x.clone());
        let output = y.clone().without_autodiff().into_data();
        let grads = (y * weight.clone()).sum().backward();
        let mut found = vec![output, x.grad(&grads).expect("of the input").into_data()];
        for vector in &self.vectors {
            found.push(vector.grad(&grads).expect("of every weight").into_data());
        }
        for matrix in &self.matrices {
            found.push(matrix.grad(&grads).expect("of every weight").into_data());
        }
        found
    }
}

/// A block of either kind.
#[derive(Debug, Clone, Copy)]
enum Block {
    /// A unit with or without biases.
    Gau { bias: bool },
    /// A block of four heads and so many of keys and values.
    MultiHead { key_heads: usize },
}

/// The weights of a block.
#[allow(clippy::large_enum_variant)] // one a check: boxing would buy nothing
enum Weights {
    Gau(GauWeights),
    MultiHead(MultiHeadWeights),
}

impl Block {
    fn weights(self, trained: &mut Trained) -> Weights {
        match self {
            Self::Gau { bias } => Weights::Gau(gau_weights(trained, bias)),
            Self::MultiHead { key_heads } => Weights::MultiHead(head_weights(trained, key_heads)),
        }
    }
}

fn gau_weights(trained: &mut Trained, bias: bool) -> GauWeights {
    let (expanded, key_size) = (2 * WIDTH, 8);
    let linear = |trained: &mut Trained, inputs: usize, outputs: usize| LinearWeights {
        weight: trained.matrix(inputs, outputs),
        bias: bias.then(|| trained.vector(outputs, 0.0)),
    };
    let scale_offset = |trained: &mut Trained| ScaleOffset {
        gamma: trained.vector(key_size, 1.0),
        beta: bias.then(|| trained.vector(key_size, 0.0)),
    };
    GauWeights {
        norm: trained.vector(WIDTH, 1.0),
        in_proj: linear(trained, WIDTH, 2 * expanded + key_size),
        query: scale_offset(trained),
        key: scale_offset(trained),
        out_proj: linear(trained, expanded, WIDTH),
        epsilon: 1e-6,
    }
}

fn head_weights(trained: &mut Trained, key_heads: usize) -> MultiHeadWeights {
    let (heads, feed_forward) = (4, 20);
    let head = WIDTH / heads;
    MultiHeadWeights {
        attention_norm: trained.vector(WIDTH, 1.0),
        qkv_proj: trained.matrix(WIDTH, (heads + 2 * key_heads) * head),
        query_norm: trained.vector(head, 1.0),
        key_norm: trained.vector(head, 1.0),
        out_proj: trained.matrix(WIDTH, WIDTH),
        mlp_norm: trained.vector(WIDTH, 1.0),
        gate_up_proj: trained.matrix(WIDTH, 2 * feed_forward),
        down_proj: trained.matrix(feed_forward, WIDTH),
        epsilon: 1e-6,
        modulation: None,
        biases: None,
    }
}

impl Weights {
    fn context(&self, ranges: &KeyRanges) -> AttentionContext {
        match self {
            Self::Gau(weights) => context(weights.key_size(), ranges),
            Self::MultiHead(weights) => context(weights.head_size(), ranges),
        }
    }

    fn forward(
        &self,
        kernels: &dyn BlockKernels,
        x: Tensor<3>,
        context: &AttentionContext,
        options: BlockOptions,
    ) -> Tensor<3> {
        match self {
            Self::Gau(weights) => kernels.gau(x, weights, context, options),
            Self::MultiHead(weights) => kernels.multi_head(x, weights, context, options),
        }
    }

    fn forward_with_prefix(
        &self,
        kernels: &dyn BlockKernels,
        x: Tensor<3>,
        context: &AttentionContext,
        options: BlockOptions,
        prefix: Option<&KeyValue>,
        update: KvUpdate,
    ) -> (Tensor<3>, Option<KeyValue>) {
        match self {
            Self::Gau(weights) => {
                kernels.gau_with_prefix(x, weights, context, options, prefix, update)
            }
            Self::MultiHead(weights) => {
                kernels.multi_head_with_prefix(x, weights, context, options, prefix, update)
            }
        }
    }
}

fn host(data: &TensorData) -> Vec<f32> {
    data.clone().try_to_vec::<f32>().unwrap()
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// Asserts that every result agrees to 1e-5 of its largest number. One whose numbers nearly cancel
/// is as exact as the terms they are sums of: it is held to 1e-6 of the largest of all results,
/// eight units in their last place.
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

fn check(block: Block, stretches: &[Stretch], rows: usize) {
    let mut trained = Trained::default();
    let weights = block.weights(&mut trained);
    let ranges = batch_ranges(stretches, rows);
    let context = weights.context(&ranges);
    let shape = [rows, ranges.queries(), WIDTH];
    let (x, weight) = (normal(1, shape, 1.0), normal(2, shape, 1.0));
    let plain = BlockOptions::default();
    let of = |kernels: &dyn BlockKernels, options| {
        trained.results(&x, &weight, |x| weights.forward(kernels, x, &context, options))
    };
    let fused = of(&FlexKernels, plain);
    assert_close(fused.clone(), of(&Reference, plain));
    let again = of(&FlexKernels, BlockOptions { activation_checkpointing: true, ..plain });
    assert!(again == fused, "a block computed again differs");
    let rounded = of(&FlexKernels, BlockOptions { precision: Precision::Bf16, ..plain });
    assert_rounded(&rounded, &fused);
}

/// Asserts that results of rounded factors are close to those of whole ones, and other numbers.
fn assert_rounded(found: &[TensorData], wanted: &[TensorData]) {
    assert_eq!(found.len(), wanted.len());
    assert!(found != wanted, "no factor was rounded");
    let size = |numbers: &[f32]| numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    let most = wanted.iter().fold(0.0, |most: f32, wanted| most.max(size(&host(wanted))));
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let (found, wanted) = (host(found), host(wanted));
        let apart: Vec<f32> = found.iter().zip(&wanted).map(|(a, b)| a - b).collect();
        let (apart, own) = (size(&apart), size(&wanted));
        assert!(apart <= 0.02 * own + 0.003 * most, "result {index}: {apart} of {own}, {most}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_fused_unit_and_its_gradients_equal_their_definition(
        bias: bool, stretches in proptest::collection::vec(stretch(), 0..7), rows in 1usize..4,
    ) {
        check(Block::Gau { bias }, &stretches, rows);
    }

    #[test]
    fn a_fused_multi_head_block_and_its_gradients_equal_their_definition(
        key_heads in prop_oneof![Just(1usize), Just(2), Just(4)],
        stretches in proptest::collection::vec(stretch(), 0..7), rows in 1usize..4,
    ) {
        check(Block::MultiHead { key_heads }, &stretches, rows);
    }

    #[test]
    fn a_fused_norm_and_its_gradients_equal_their_definition(
        rows in 1usize..5, tokens in 1usize..40, channels in 4usize..70,
    ) {
        let mut trained = Trained::default();
        let gamma = trained.vector(channels, 1.0);
        let shape = [rows, tokens, channels];
        let (x, weight) = (normal(1, shape, 1.0), normal(2, shape, 1.0));
        let of = |kernels: &dyn BlockKernels| {
            trained.results(&x, &weight, |x| kernels.rms_norm(x, &gamma, 1e-6))
        };
        assert_close(of(&FlexKernels), of(&Reference));
    }
}

#[test]
fn one_token_a_full_row_and_a_row_of_padding_are_right() {
    for stretches in
        [vec![], vec![Stretch::Image(1)], vec![Stretch::Text(90)], vec![Stretch::Padding(5)]]
    {
        check(Block::Gau { bias: true }, &stretches, 1);
        check(Block::MultiHead { key_heads: 2 }, &stretches, 1);
    }
}

#[test]
fn parts_of_a_large_batch_join_without_a_seam() {
    let stretches = [Stretch::Image(70), Stretch::Document, Stretch::Text(5)];
    check(Block::Gau { bias: false }, &stretches, 9);
    check(Block::MultiHead { key_heads: 4 }, &stretches, 9);
}

/// Checks three tokens a row behind `prefix` others, whose keys and values have these heads and
/// channels.
fn check_with_prefix(block: Block, prefix: usize, heads: usize, keys: usize, values: usize) {
    let weights = block.weights(&mut Trained::default());
    let x = normal(1, [2, 3, WIDTH], 1.0);
    let (before, end) = (prefix as u32, prefix as u32 + 3);
    let ranges = [[1.min(before), end], [0, end], [before + 2, end]].repeat(2);
    let context = weights.context(&KeyRanges::new(2, prefix + 3, ranges).unwrap());
    let old = |seed, channels| normal(seed, [2, heads, prefix, channels], 1.0);
    let prefix = (prefix > 0).then(|| KeyValue { keys: old(8, keys), values: old(9, values) });
    let run_as = |kernels: &dyn BlockKernels, options, update| {
        weights.forward_with_prefix(kernels, x.clone(), &context, options, prefix.as_ref(), update)
    };
    let run = |kernels: &dyn BlockKernels, update| run_as(kernels, BlockOptions::default(), update);
    let data = |(y, new): (Tensor<3>, Option<KeyValue>)| {
        let new = new.expect("they are kept");
        vec![y.into_data(), new.keys.into_data(), new.values.into_data()]
    };
    let fused = data(run(&FlexKernels, KvUpdate::Keep));
    let (same, none) = run(&FlexKernels, KvUpdate::Discard);
    assert!(same.into_data() == fused[0] && none.is_none());
    let options = BlockOptions { precision: Precision::Bf16, ..BlockOptions::default() };
    assert_rounded(&data(run_as(&FlexKernels, options, KvUpdate::Keep)), &fused);
    assert_close(fused, data(run(&Reference, KvUpdate::Keep)));
}

#[test]
fn fused_tokens_behind_a_prefix_equal_their_definition() {
    for prefix in [0, 5] {
        check_with_prefix(Block::Gau { bias: true }, prefix, 1, 8, 48);
        check_with_prefix(Block::MultiHead { key_heads: 2 }, prefix, 2, 6, 6);
    }
}

#[test]
fn a_block_in_f16_and_its_gradients_are_those_of_the_definition_rounded() {
    let stretches = [Stretch::Text(4), Stretch::Image(6), Stretch::Document, Stretch::Text(3)];
    for block in [Block::Gau { bias: true }, Block::MultiHead { key_heads: 2 }] {
        let mut trained = Trained::default();
        let weights = block.weights(&mut trained);
        let ranges = batch_ranges(&stretches, 2);
        let context = weights.context(&ranges);
        let shape = [2, ranges.queries(), WIDTH];
        let (x, weight) = (normal(1, shape, 1.0), normal(2, shape, 1.0));
        let of = |kernels: &dyn BlockKernels, precision| {
            let options = BlockOptions { precision, ..BlockOptions::default() };
            trained.results(&x, &weight, |x| weights.forward(kernels, x, &context, options))
        };
        let short = of(&FlexKernels, Precision::F16);
        assert!(short == of(&Reference, Precision::F16), "{block:?} has no kernel for f16");
        assert_rounded(&short, &of(&Reference, Precision::F32));
    }
}

/// Replaces one number of a token of the first row by another.
fn with_number(x: &Tensor<3>, token: usize, number: f32) -> Tensor<3> {
    let mut numbers = host(&x.to_data());
    numbers[token * WIDTH + 3] = number;
    Tensor::from_data(TensorData::new(numbers, x.dims()), &x.device())
}

/// Text of 91 tokens, then another document of six in the same row. What is not a number at token
/// 60 must reach the tokens that see it, and no other, forward and backward.
fn check_broken(block: Block, number: f32, precision: Precision) {
    let mut trained = Trained::default();
    let weights = block.weights(&mut trained);
    let stretches = [Stretch::Text(90), Stretch::Document, Stretch::Text(6)];
    let ranges = batch_ranges(&stretches, 1);
    let context = weights.context(&ranges);
    let shape = [1, ranges.queries(), WIDTH];
    let (x, weight) = (normal(1, shape, 1.0), normal(2, shape, 1.0));
    let of = |x: &Tensor<3>| {
        let found = trained.results(x, &weight, |x| {
            let options = BlockOptions { precision, ..BlockOptions::default() };
            weights.forward(&FlexKernels, x, &context, options)
        });
        [host(&found[0]), host(&found[1])]
    };
    let [y, dx] = of(&x);
    let [broken_y, broken_dx] = of(&with_number(&x, 60, number));
    let rows =
        |numbers: &[f32]| -> Vec<Vec<f32>> { numbers.chunks(WIDTH).map(<[f32]>::to_vec).collect() };
    let near = |one: &[f32], other: &[f32]| {
        one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-4)
    };
    for (token, (found, wanted)) in rows(&broken_y).iter().zip(rows(&y)).enumerate() {
        match token {
            60..91 => assert!(found.iter().any(|y| y.is_nan()), "{block:?}: token {token}"),
            _ => assert!(near(found, &wanted), "{block:?}: token {token}"),
        }
    }
    for (token, (found, wanted)) in rows(&broken_dx).iter().zip(rows(&dx)).enumerate().skip(91) {
        assert!(near(found, &wanted), "{block:?}: the gradient of token {token}");
    }
}

#[test]
fn what_is_not_a_number_reaches_only_the_tokens_that_see_it() {
    for number in [f32::NAN, f32::INFINITY, 1e30] {
        for precision in [Precision::F32, Precision::Bf16] {
            check_broken(Block::Gau { bias: true }, number, precision);
            check_broken(Block::MultiHead { key_heads: 2 }, number, precision);
        }
    }
}

#[test]
fn a_norm_of_numbers_whose_squares_overflow_is_not_a_number() {
    for kernels in [&FlexKernels as &dyn BlockKernels, &Reference] {
        let mut trained = Trained::default();
        let gamma = trained.vector(WIDTH, 1.0);
        let weight = normal(2, [1, 2, WIDTH], 1.0);
        let of = |number: f32| {
            let x = with_number(&normal(1, [1, 2, WIDTH], 1.0), 0, number);
            trained.results(&x, &weight, |x| kernels.rms_norm(x, &gamma, 1e-6))
        };
        let [large, huge] = [1e18, 1e20].map(of);
        assert!(large.iter().all(|found| host(found).iter().all(|x| x.is_finite())), "{kernels:?}");
        let [y, dx, dgamma] = [0, 1, 2].map(|result| host(&huge[result]));
        for (what, numbers) in [("output", &y[..WIDTH]), ("input", &dx[..WIDTH]), ("γ", &dgamma)] {
            assert!(numbers.iter().all(|x| x.is_nan()), "{kernels:?}: {what}: {numbers:?}");
        }
        assert!(y[WIDTH..].iter().all(|x| x.is_finite()), "the other token is not touched");
    }
}
