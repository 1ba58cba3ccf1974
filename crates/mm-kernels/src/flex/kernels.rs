//! The CPU's family of kernels: between the trait's tensors and the operations on slices.
//!
//! The kernels take and give 32-bit floats alone. Where a tensor is of another kind than
//! [`covers`](BlockKernels::covers) says, the reference computes. Blocks that multiply in fewer
//! bits round the factors of their products; all else stays in 32 bits.

use burn::backend::Flex;
use burn::prelude::*;
use burn::tensor::DType;

use super::bridge::{Primitive, apply, in_place, on_slices, primitive};
use super::{
    Checkpointed, ConvolutionOp, GauOp, GroupNormOp, KvPrefix, MultiHeadOp, NormOp, Op, ResizeOp,
    SwishOp, update,
};
use crate::device::is_flex;
use crate::kernels::multi_head;
use crate::{
    AdamW, AttentionContext, BlockKernels, BlockOptions, GauWeights, GroupNormOptions, KeyValue,
    KvUpdate, LinearWeights, MultiHeadWeights, Precision, Reference,
};

/// Kernels of Burn's pure-Rust CPU backend.
#[derive(Debug)]
pub(crate) struct FlexKernels;

impl BlockKernels for FlexKernels {
    fn name(&self) -> &'static str {
        "flex"
    }

    fn covers(&self, device: &Device, dtype: DType) -> bool {
        dtype == DType::F32 && is_flex(device)
    }

    fn fuses_blocks(&self) -> bool {
        true
    }

    fn fuses_updates(&self) -> bool {
        true
    }

    fn rms_norm(&self, x: Tensor<3>, gamma: &Tensor<1>, epsilon: f64) -> Tensor<3> {
        match (primitive(x.clone()), primitive(gamma.clone())) {
            (Some(x), Some(gamma)) => apply(NormOp { epsilon: epsilon as f32 }, [x, gamma]),
            _ => Reference.rms_norm(x, gamma, epsilon),
        }
    }

    fn convolution(&self, x: Tensor<4>, weight: Tensor<4>, precision: Precision) -> Tensor<4> {
        let ([_, inputs, height, width], [outputs, ..]) = (x.dims(), weight.dims());
        let op = ConvolutionOp { inputs, outputs, height, width, precision };
        match (primitive(x.clone()), primitive(weight.clone())) {
            (Some(x), Some(weight)) if precision != Precision::F16 => apply(op, [x, weight]),
            _ => Reference.convolution(x, weight, precision),
        }
    }

    fn group_norm(
        &self,
        x: Tensor<4>,
        gamma: Tensor<1>,
        beta: Tensor<1>,
        options: GroupNormOptions,
    ) -> Tensor<4> {
        let [_, channels, height, width] = x.dims();
        let op = GroupNormOp { channels, pixels: height * width, options };
        match (primitive(x.clone()), primitive(gamma.clone()), primitive(beta.clone())) {
            (Some(x), Some(gamma), Some(beta)) => apply(op, [x, gamma, beta]),
            _ => Reference.group_norm(x, gamma, beta, options),
        }
    }

    fn swish(&self, x: Tensor<4>) -> Tensor<4> {
        match primitive(x.clone()) {
            Some(x) => apply(SwishOp, [x]),
            None => Reference.swish(x),
        }
    }

    fn doubled(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        match primitive(x.clone()) {
            Some(x) => apply(ResizeOp { doubles: true, height, width }, [x]),
            None => Reference.doubled(x),
        }
    }

    fn halved(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        assert!(height % 2 == 0 && width % 2 == 0, "halved images have even sides");
        match primitive(x.clone()) {
            Some(x) => {
                apply(ResizeOp { doubles: false, height: height / 2, width: width / 2 }, [x])
            }
            None => Reference.halved(x),
        }
    }

    fn gau(
        &self,
        x: Tensor<3>,
        weights: &GauWeights,
        context: &AttentionContext,
        options: BlockOptions,
    ) -> Tensor<3> {
        let inputs = in_floats(options).then(|| gau_inputs(&x, weights)).flatten();
        let Some(inputs) = inputs else {
            return Reference.gau(x, weights, context, options);
        };
        let op = gau_op(&x, weights, context, options);
        match <[Primitive; 6]>::try_from(inputs) {
            Ok(inputs) => block(options, op, inputs),
            Err(inputs) => {
                block(options, op, <[Primitive; 10]>::try_from(inputs).expect("four biases"))
            }
        }
    }

    fn gau_with_prefix(
        &self,
        x: Tensor<3>,
        weights: &GauWeights,
        context: &AttentionContext,
        options: BlockOptions,
        prefix: Option<&KeyValue>,
        update: KvUpdate,
    ) -> (Tensor<3>, Option<KeyValue>) {
        let inputs = in_floats(options).then(|| gau_inputs(&x, weights)).flatten();
        let inputs = inputs.and_then(|inputs| block_with_prefix_inputs(inputs, prefix));
        let Some(inputs) = inputs else {
            return Reference.gau_with_prefix(x, weights, context, options, prefix, update);
        };
        let op = gau_op(&x, weights, context, options);
        let [batch, tokens, _] = x.dims();
        let new = [[batch, 1, tokens, op.key_size], [batch, 1, tokens, op.expanded]];
        let work = |inputs: &[&[f32]], prefix: KvPrefix<'_>| op.forward_with_prefix(inputs, prefix);
        block_with_prefix(inputs, x.dims(), new, update, work)
    }

    fn multi_head(
        &self,
        x: Tensor<3>,
        weights: &MultiHeadWeights,
        context: &AttentionContext,
        options: BlockOptions,
    ) -> Tensor<3> {
        if !is_fused(weights) {
            return multi_head(self, x, weights, context, options.precision, None).0;
        }
        match in_floats(options).then(|| multi_head_inputs(&x, weights)).flatten() {
            Some(inputs) => block(options, multi_head_op(&x, weights, context, options), inputs),
            None => Reference.multi_head(x, weights, context, options),
        }
    }

    fn multi_head_with_prefix(
        &self,
        x: Tensor<3>,
        weights: &MultiHeadWeights,
        context: &AttentionContext,
        options: BlockOptions,
        prefix: Option<&KeyValue>,
        update: KvUpdate,
    ) -> (Tensor<3>, Option<KeyValue>) {
        if !is_fused(weights) {
            let (y, new) = multi_head(self, x, weights, context, options.precision, prefix);
            return (y, (update == KvUpdate::Keep).then_some(new));
        }
        let inputs = in_floats(options)
            .then(|| multi_head_inputs(&x, weights))
            .flatten()
            .and_then(|inputs| block_with_prefix_inputs(inputs.into(), prefix));
        let Some(inputs) = inputs else {
            return Reference.multi_head_with_prefix(x, weights, context, options, prefix, update);
        };
        let op = multi_head_op(&x, weights, context, options);
        let [batch, tokens, _] = x.dims();
        let new = [batch, op.key_heads, tokens, weights.head_size()];
        let work = |inputs: &[&[f32]], prefix: KvPrefix<'_>| op.forward_with_prefix(inputs, prefix);
        block_with_prefix(inputs, x.dims(), [new; 2], update, work)
    }

    fn adamw(
        &self,
        adam: &AdamW,
        weight: Tensor<1>,
        grad: Tensor<1>,
        moments: [Tensor<1>; 2],
    ) -> (Tensor<1>, [Tensor<1>; 2]) {
        let [m, v] = &moments;
        if !all_plain([&weight, &grad, m, v]) {
            return Reference.adamw(adam, weight, grad, moments);
        }
        let [m, v] = moments;
        let write = [plain(weight), plain(m), plain(v)];
        let written = in_place(write, [plain(grad)], |[weight, m, v], [grad]| {
            update::adamw(adam, weight, grad, m, v);
        });
        let [weight, m, v] = written.map(Tensor::from_primitive::<Flex>);
        (weight, [m, v])
    }

    fn moving_average(&self, average: Tensor<1>, weight: Tensor<1>, keep: f64) -> Tensor<1> {
        if !all_plain([&average, &weight]) {
            return Reference.moving_average(average, weight, keep);
        }
        let (write, read) = ([plain(average)], [plain(weight)]);
        let [average] = in_place(write, read, |[average], [weight]| {
            update::moving_average(average, weight, keep);
        });
        Tensor::from_primitive::<Flex>(average)
    }

    fn sum_of_squares(&self, x: Tensor<1>) -> Option<f64> {
        if !all_plain([&x]) {
            return None;
        }
        let mut sum = 0.0;
        let [] = in_place([], [plain(x)], |[], [x]| sum = update::sum_of_squares(x));
        Some(sum)
    }
}

/// Says whether the fused blocks compute in the type of the options: they know no f16.
fn in_floats(options: BlockOptions) -> bool {
    options.precision != Precision::F16
}

/// Says whether the fused block has all that these weights ask for.
fn is_fused(weights: &MultiHeadWeights) -> bool {
    weights.modulation.is_none() && weights.biases.is_none() && weights.is_gated()
}

/// Says whether tensors of `[numbers]` can be changed as they are, without autodiff.
fn all_plain<const N: usize>(tensors: [&Tensor<1>; N]) -> bool {
    let is_plain =
        |tensor: &Tensor<1>| matches!(primitive(tensor.clone()), Some(Primitive::Plain(_)));
    tensors.into_iter().all(is_plain)
}

/// Returns the primitive of a tensor that was found plain.
fn plain(tensor: Tensor<1>) -> Primitive {
    primitive(tensor).expect("found plain before")
}

/// Runs a block, which keeps what its backward pass needs or nothing.
fn block<const N: usize>(options: BlockOptions, op: impl Op, inputs: [Primitive; N]) -> Tensor<3> {
    if options.activation_checkpointing {
        apply(Checkpointed(op), inputs)
    } else {
        apply(op, inputs)
    }
}

fn gau_op(
    x: &Tensor<3>,
    weights: &GauWeights,
    context: &AttentionContext,
    options: BlockOptions,
) -> GauOp {
    GauOp {
        width: x.dims()[2],
        expanded: weights.expanded(),
        key_size: weights.key_size(),
        epsilon: weights.epsilon as f32,
        precision: options.precision,
        context: context.host().clone(),
    }
}

/// Returns the inputs of a [`GauOp`] in order.
fn gau_inputs(x: &Tensor<3>, weights: &GauWeights) -> Option<Vec<Primitive>> {
    let GauWeights { norm, in_proj, query, key, out_proj, epsilon: _ } = weights.clone();
    let (LinearWeights { weight: w_in, bias: b_in }, LinearWeights { weight: w_out, bias: b_out }) =
        (in_proj, out_proj);
    let mut inputs = vec![
        primitive(x.clone())?,
        primitive(norm)?,
        primitive(w_in)?,
        primitive(query.gamma)?,
        primitive(key.gamma)?,
        primitive(w_out)?,
    ];
    for bias in [b_in, query.beta, key.beta, b_out].into_iter().flatten() {
        inputs.push(primitive(bias)?);
    }
    Some(inputs)
}

fn multi_head_op(
    x: &Tensor<3>,
    weights: &MultiHeadWeights,
    context: &AttentionContext,
    options: BlockOptions,
) -> MultiHeadOp {
    MultiHeadOp {
        width: x.dims()[2],
        heads: weights.heads(),
        key_heads: weights.key_heads(),
        feed_forward: weights.feed_forward(),
        epsilon: weights.epsilon as f32,
        precision: options.precision,
        context: context.host().clone(),
    }
}

/// Returns the inputs of a [`MultiHeadOp`] in order.
fn multi_head_inputs(x: &Tensor<3>, weights: &MultiHeadWeights) -> Option<[Primitive; 9]> {
    let w = weights.clone();
    Some([
        primitive(x.clone())?,
        primitive(w.attention_norm)?,
        primitive(w.qkv_proj)?,
        primitive(w.query_norm)?,
        primitive(w.key_norm)?,
        primitive(w.out_proj)?,
        primitive(w.mlp_norm)?,
        primitive(w.gate_up_proj)?,
        primitive(w.down_proj)?,
    ])
}

/// A block's inputs, and the keys and values of a prefix.
struct PrefixedInputs {
    /// The inputs, then keys and values if there is a prefix.
    all: Vec<Primitive>,
    /// How many of them belong to the block.
    own: usize,
    /// Tokens of the prefix.
    tokens: usize,
}

fn block_with_prefix_inputs(
    mut all: Vec<Primitive>,
    prefix: Option<&KeyValue>,
) -> Option<PrefixedInputs> {
    let own = all.len();
    if let Some(prefix) = prefix {
        all.push(primitive(prefix.keys.clone())?);
        all.push(primitive(prefix.values.clone())?);
    }
    Some(PrefixedInputs { all, own, tokens: prefix.map_or(0, KeyValue::tokens) })
}

/// Runs a block behind a prefix; `shape` is that of its output, `new` are those of the new keys and
/// values.
fn block_with_prefix(
    inputs: PrefixedInputs,
    shape: [usize; 3],
    new: [[usize; 4]; 2],
    update: KvUpdate,
    work: impl FnOnce(&[&[f32]], KvPrefix<'_>) -> Vec<f32>,
) -> (Tensor<3>, Option<KeyValue>) {
    let PrefixedInputs { all, own, tokens } = inputs;
    let sizes = match update {
        KvUpdate::Keep => new,
        KvUpdate::Discard => [[0; 4]; 2],
    };
    let [y, keys, values] = on_slices(all, |inputs| {
        let (inputs, old) = inputs.split_at(own);
        let old = if let [keys, values] = old { [*keys, *values] } else { [&[][..], &[]] };
        let [mut keys, mut values] = sizes.map(|shape| vec![0.0; shape.iter().product::<usize>()]);
        let y = work(inputs, KvPrefix { old, tokens, new: [&mut keys, &mut values] });
        [(y, shape.into()), (keys, sizes[0].into()), (values, sizes[1].into())]
    });
    let new = match update {
        KvUpdate::Keep => Some(KeyValue {
            keys: Tensor::from_primitive::<Flex>(keys),
            values: Tensor::from_primitive::<Flex>(values),
        }),
        KvUpdate::Discard => None,
    };
    (Tensor::from_primitive::<Flex>(y), new)
}
