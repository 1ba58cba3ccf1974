//! Checks of single operations: those of the backbone that have a fused kernel on some backend, and
//! those of a model in 16-bit floats.

use burn::module::Module;
use burn::optim::Optimizer;
use burn::prelude::*;
use burn::tensor::FloatDType;
use burn::tensor::activation::softmax;
use mm_backbone::{
    Backbone, BackboneConfig, BlockConfig, BlockOptions, Cache, GauConfig, Init, KeyRanges,
    MultiHeadConfig, MultiHeadVariant, PositionScheme, Positions, RmsNorm,
};
use mm_kernels::{
    AdamW, AttentionContext, AxisFrequency, Precision, RotaryTables, SumOfSquares, convolution,
    kernels_of, moving_average,
};
use mm_train::LambOptimizer;

use super::numbers::{Numbers, On, gradients, random, shaken};
use crate::terminal::Failure;

/// The channels of every network here.
const WIDTH: usize = 64;

/// A gated attention unit with biases.
pub const GAU: BlockConfig = BlockConfig::Gau(GauConfig { expansion: 2, key_size: 32, bias: true });
/// A multi-head block with two query heads for each key head.
pub const MULTI_HEAD: BlockConfig = multi_head_config(MultiHeadVariant::Plain);
/// A multi-head block with long skips.
pub const UVIT: BlockConfig = multi_head_config(MultiHeadVariant::Uvit);
/// A multi-head block that the noise level modulates.
pub const DIT: BlockConfig = multi_head_config(MultiHeadVariant::Dit);
/// A multi-head block of Persimmon and Fuyu, in which each query head has a key head.
pub const PERSIMMON: BlockConfig = BlockConfig::MultiHead(MultiHeadConfig {
    variant: MultiHeadVariant::Persimmon,
    heads: 4,
    key_heads: 4,
    feed_forward: 96,
});

const fn multi_head_config(variant: MultiHeadVariant) -> BlockConfig {
    let (heads, key_heads, feed_forward) = (4, 2, 96);
    BlockConfig::MultiHead(MultiHeadConfig { variant, heads, key_heads, feed_forward })
}

fn config(block: BlockConfig, depth: usize) -> BackboneConfig {
    BackboneConfig {
        width: WIDTH,
        depth,
        block,
        positions: PositionScheme::RopeTv,
        rotary_base: 10_000.0,
        norm_epsilon: 1e-6,
    }
}

/// Returns positions and key ranges of a row that holds two documents, `ttttt[2x3]ttt` and
/// `tttt[3x3]`, and two tokens of padding.
fn packed_row() -> (Vec<[f64; 2]>, Vec<[u32; 2]>) {
    let (mut places, mut ranges) = (vec![], vec![]);
    for (before, [rows, cols], after) in [(5, [2, 3], 3), (4, [3, 3], 0)] {
        let start = places.len();
        let mut positions = Positions::new(PositionScheme::RopeTv);
        places.extend((0..before).map(|_| positions.text()));
        places.extend(positions.image(rows, cols));
        places.extend((0..after).map(|_| positions.text()));
        let image = start + before..start + before + rows * cols;
        let seen = |at: usize| if image.contains(&at) { image.end } else { at + 1 };
        ranges.extend((start..places.len()).map(|at| [start as u32, seen(at) as u32]));
    }
    for _ in 0..2 {
        let at = places.len() as u32;
        places.push([0.0; 2]);
        ranges.push([at, at + 1]);
    }
    (places, ranges)
}

/// Returns the output of `forward`, and the gradients of a sum of the output with fixed weights.
fn differentiated<M: Module>(
    on: &On,
    module: &M,
    shape: [usize; 3],
    forward: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Vec<Numbers> {
    let x = random(1, shape, &on.tracked()).require_grad();
    let y = forward(x.clone());
    let mut found = vec![Numbers::of("output", y.clone())];
    let grads = (y * random(2, shape, &on.tracked())).sum().backward();
    found.extend(x.grad(&grads).map(|grad| Numbers::of("gradient of the input", grad)));
    found.extend(gradients(module, &grads));
    found
}

/// Computes RMSNorm and its gradients.
pub fn rms_norm(on: &On) -> Result<Vec<Numbers>, Failure> {
    let norm = RmsNorm::new(&mut Init::new(3, &on.tracked()), WIDTH, 1e-6);
    let norm = shaken(norm, &on.tracked());
    Ok(differentiated(on, &norm, [2, 29, WIDTH], |x| norm.forward(x)))
}

/// Computes one block and the last norm over packed rows, and all gradients.
fn block(on: &On, block: BlockConfig) -> Result<Vec<Numbers>, Failure> {
    let config = config(block, 1);
    let backbone = Backbone::new(&config, &mut Init::new(3, &on.tracked()))?;
    let backbone = shaken(backbone, &on.tracked());
    let (places, ranges) = packed_row();
    let tokens = ranges.len();
    let ranges = KeyRanges::new(2, tokens, ranges.repeat(2))?;
    let context = config.attention_context(&places.repeat(2), ranges, &on.device);
    Ok(differentiated(on, &backbone, [2, tokens, WIDTH], |x| {
        backbone.forward(x, &context, None, BlockOptions::default())
    }))
}

/// Computes the gated attention unit.
pub fn gau(on: &On) -> Result<Vec<Numbers>, Failure> {
    block(on, GAU)
}

/// Computes the multi-head block.
pub fn multi_head(on: &On) -> Result<Vec<Numbers>, Failure> {
    block(on, MULTI_HEAD)
}

/// Computes attention over rows of so many tokens that a graphics device cuts them into tiles, with
/// two documents a row at other places in every row, and all gradients.
pub fn long_attention(on: &On) -> Result<Vec<Numbers>, Failure> {
    let (tokens, patches, channels) = (1100, 300, 8);
    let mut all = vec![];
    for border in [400, 700] {
        for (start, end) in [(0, border), (border, tokens)] {
            all.extend((start..end - patches).map(|at| [start as u32, at as u32 + 1]));
            all.extend(vec![[start as u32, end as u32]; patches]);
        }
    }
    let ranges = KeyRanges::new(2, tokens, all)?;
    let tables = RotaryTables::new(&[AxisFrequency { axis: 0, theta: 1.0 }], &[[0.0; 2]; 2200]);
    let context = AttentionContext::new(tables, ranges, &on.device);
    let leaf =
        |seed, heads| random::<4>(seed, [2, heads, tokens, channels], &on.tracked()).require_grad();
    let (q, k, v) = (leaf(1, 4), leaf(2, 2), leaf(3, 2));
    let kernels = kernels_of(&q);
    let y = kernels.attention(q.clone(), k.clone(), v.clone(), &context, Precision::F32);
    let mut found = vec![Numbers::of("output", y.clone())];
    let grads = (y * random(4, [2, 4, tokens, channels], &on.tracked())).sum().backward();
    for (name, leaf) in [("queries", q), ("keys", k), ("values", v)] {
        found.extend(leaf.grad(&grads).map(|it| Numbers::of(format!("gradient of {name}"), it)));
    }
    Ok(found)
}

/// Computes the 3x3 convolution of two images to other channels, and the gradients of the images
/// and the kernels.
pub fn convolved(on: &On) -> Result<Vec<Numbers>, Failure> {
    let x = random(1, [2, 5, 9, 7], &on.tracked()).require_grad();
    let weight = random(2, [6, 5, 3, 3], &on.tracked()).require_grad();
    let y = convolution(x.clone(), weight.clone(), Precision::F32);
    let mut found = vec![Numbers::of("output", y.clone())];
    let grads = (y * random(3, [2, 6, 9, 7], &on.tracked())).sum().backward();
    found.extend(x.grad(&grads).map(|grad| Numbers::of("gradient of the input", grad)));
    found.extend(weight.grad(&grads).map(|grad| Numbers::of("gradient of the kernels", grad)));
    Ok(found)
}

/// Runs three steps of AdamW.
pub fn adamw(on: &On) -> Result<Vec<Numbers>, Failure> {
    let number = |seed| random::<2>(seed, [37, 41], &on.device);
    let zeros = || Tensor::zeros([37, 41], &on.device);
    let (mut weight, mut moments) = (number(1), [zeros(), zeros()]);
    for time in 1..=3 {
        let (betas, epsilon, weight_decay, lr) = ([0.9, 0.95], 1e-8, 0.1, 1e-2);
        let adam = AdamW { betas, epsilon, weight_decay, lr, time };
        (weight, moments) = adam.step(weight, number(time + 1), moments);
    }
    let [m, v] = moments;
    Ok(vec![Numbers::of("weight", weight), Numbers::of("m", m), Numbers::of("v", v)])
}

/// Runs three steps of LAMB.
pub fn lamb(on: &On) -> Result<Vec<Numbers>, Failure> {
    let number = |seed| random::<2>(seed, [37, 41], &on.device);
    let lamb = LambOptimizer { betas: [0.9, 0.999], epsilon: 1e-6, adapt: true };
    let (mut weight, mut state, mut found) = (number(1), None, vec![]);
    for time in 1..=3 {
        (weight, state) = lamb.step(1e-2, weight, number(time + 1), state);
        found.push(Numbers::of(format!("weight after step {time}"), weight.clone()));
    }
    Ok(found)
}

/// Computes the moving average of weights and the sum of squares of gradients.
pub fn averages(on: &On) -> Result<Vec<Numbers>, Failure> {
    let number = |seed| random::<2>(seed, [37, 41], &on.device);
    let mut average = number(1);
    for seed in 2..5 {
        average = moving_average(average, &number(seed), 0.9);
    }
    let mut squares = SumOfSquares::default();
    squares.add(&number(9));
    squares.add(&number(10));
    Ok(vec![Numbers::of("average", average), Numbers::new("sum of squares", [squares.read()])])
}

/// Runs two blocks of each kind over a document in pieces, each with a cache of the pieces before.
/// The reference takes the whole document at once, so this check also compares cached generation
/// with uncached generation.
pub fn decode(on: &On) -> Result<Vec<Numbers>, Failure> {
    let mut found = vec![];
    for (name, block) in [("gated attention units", GAU), ("multi-head blocks", MULTI_HEAD)] {
        let config = config(block, 2);
        let backbone = Backbone::new(&config, &mut Init::new(5, &on.device))?;
        let backbone = shaken(backbone, &on.device);
        let mut positions = Positions::new(PositionScheme::RopeTv);
        let mut places: Vec<_> = (0..4).map(|_| positions.text()).collect();
        places.extend(positions.image(2, 3));
        places.extend((0..4).map(|_| positions.text()));
        let range = |at: usize| if (4..10).contains(&at) { [0, 10] } else { [0, at as u32 + 1] };
        let x = random::<3>(6, [1, 14, WIDTH], &on.device);
        let pieces: &[(usize, usize)] = if on.reference {
            &[(0, 14)]
        } else {
            &[(0, 4), (4, 10), (10, 11), (11, 12), (12, 14)]
        };
        let (mut cache, mut hidden) = (Cache::new(), vec![]);
        for &(from, to) in pieces {
            let ranges = KeyRanges::new(1, to, (from..to).map(range).collect())?;
            let context = config.attention_context(&places[from..to], ranges, &on.device);
            let piece = x.clone().narrow(1, from, to - from);
            let options = BlockOptions::default();
            let (y, new) = backbone.forward_cached(piece, &context, None, options, &cache);
            cache.append(new);
            hidden.push(y);
        }
        found.push(Numbers::of(name, Tensor::cat(hidden, 1)));
    }
    Ok(found)
}

/// Computes products, a softmax and a norm in 16-bit floats with 11 bits.
pub fn in_f16(on: &On) -> Result<Vec<Numbers>, Failure> {
    operations_in(on, FloatDType::F16)
}

/// Computes products, a softmax and a norm in 16-bit floats with 8 bits.
pub fn in_bf16(on: &On) -> Result<Vec<Numbers>, Failure> {
    operations_in(on, FloatDType::BF16)
}

/// Computes on inputs that are whole eighths, which both types hold exactly, so that only the
/// calculation rounds.
fn operations_in(on: &On, kind: FloatDType) -> Result<Vec<Numbers>, Failure> {
    let eighths = |step: usize| {
        let numbers: Vec<f32> =
            (0..32 * 32).map(|at| ((at * step) % 17) as f32 / 8.0 - 1.0).collect();
        let tensor = Tensor::<2>::from_data(TensorData::new(numbers, [32, 32]), &on.device);
        if on.reference { tensor } else { tensor.cast(kind) }
    };
    let (a, b) = (eighths(5), eighths(11));
    let norm = (a.clone().square().mean_dim(1) + 1e-3).sqrt();
    Ok(vec![
        Numbers::of("product", a.clone().matmul(b.clone())),
        Numbers::of("softmax", softmax(a.clone(), 1)),
        Numbers::of("norm", a.clone() / norm),
        Numbers::of("product number by number", a * b),
    ])
}
