//! The choice between a fused kernel and ordinary tensor operations.
//!
//! Every function here gives nothing where no kernel applies: another backend than flex, other numbers than 32-bit
//! floats, blocks that multiply in fewer bits, a build without the feature `flex`, or `MM_KERNELS=ordinary` in the environment,
//! which exists to compare. The caller then goes on with ordinary operations, which are the definition.

use burn::prelude::*;

use crate::cache::KeyValue;
use crate::{AdamW, Attend};

/// Sizes of a multi-head block.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "flex"), allow(dead_code))]
pub(crate) struct TransformerShape {
    /// Channels of a token.
    pub width: usize,
    /// Heads of queries; of keys and values.
    pub heads: [usize; 2],
    /// Inner channels of the feed-forward half.
    pub feed: usize,
    /// Of all norms.
    pub epsilon: f64,
}

/// Sizes of a gated attention unit.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "flex"), allow(dead_code))]
pub(crate) struct GauShape {
    /// Channels of a token.
    pub width: usize,
    /// Channels of the gate and of the values.
    pub expanded: usize,
    /// Channels of queries and keys.
    pub key_size: usize,
    /// Of the norm.
    pub epsilon: f64,
}

/// Weights of a unit: matrices are joint and output, scales are norm, query and key, biases are joint, query, key and output.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "flex"), allow(dead_code))]
pub(crate) struct GauWeights {
    pub matrices: [Tensor<2>; 2],
    pub scales: [Tensor<1>; 3],
    pub biases: Option<[Tensor<1>; 4]>,
}

/// Weights of a multi-head block: matrices are joint, output, up and down, scales are first norm, query, key and second norm.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "flex"), allow(dead_code))]
pub(crate) struct TransformerWeights {
    pub matrices: [Tensor<2>; 4],
    pub scales: [Tensor<1>; 4],
}

/// What becomes of the keys and values of tokens that follow a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// They are returned, to become part of the prefix.
    Kept,
    /// They are dropped: the tokens are noisy patches, which the next step replaces.
    Dropped,
}

#[cfg(not(feature = "flex"))]
mod kernels {
    use super::*;

    pub(crate) fn norm<const D: usize>(_: &Tensor<D>, _: &Tensor<1>, _: f64) -> Option<Tensor<D>> {
        None
    }

    pub(crate) fn convolution(_: &Tensor<4>, _: &Tensor<4>) -> Option<Tensor<4>> {
        None
    }

    pub(crate) fn all_plain<const D: usize, const N: usize>(_: [&Tensor<D>; N]) -> bool {
        false
    }

    pub(crate) fn adamw<const D: usize>(
        _: &AdamW,
        _: Tensor<D>,
        _: Tensor<D>,
        _: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        unreachable!("no tensor is found plain")
    }

    pub(crate) fn moving_average<const D: usize>(_: Tensor<D>, _: &Tensor<D>, _: f64) -> Tensor<D> {
        unreachable!("no tensor is found plain")
    }

    pub(crate) fn sum_of_squares<const D: usize>(_: &Tensor<D>) -> Option<f64> {
        None
    }

    pub(crate) fn gau(
        _: GauShape,
        _: &Attend,
        _: &Tensor<3>,
        _: impl FnOnce() -> GauWeights,
    ) -> Option<Tensor<3>> {
        None
    }

    pub(crate) fn gau_cached(
        _: GauShape,
        _: &Tensor<3>,
        _: (&Attend, Option<&KeyValue>, News),
        _: impl FnOnce() -> GauWeights,
    ) -> Option<(Tensor<3>, Option<KeyValue>)> {
        None
    }

    pub(crate) fn transformer(
        _: TransformerShape,
        _: &Attend,
        _: &Tensor<3>,
        _: impl FnOnce() -> TransformerWeights,
    ) -> Option<Tensor<3>> {
        None
    }

    pub(crate) fn transformer_cached(
        _: TransformerShape,
        _: &Tensor<3>,
        _: (&Attend, Option<&KeyValue>, News),
        _: impl FnOnce() -> TransformerWeights,
    ) -> Option<(Tensor<3>, Option<KeyValue>)> {
        None
    }
}

#[cfg(feature = "flex")]
mod kernels {
    use std::sync::OnceLock;

    use burn::backend::Flex;

    use super::*;
    use crate::Precision;
    use crate::flex::{
        self, ConvolutionOp, GauOp, NormOp, Op, Past, Primitive, Recomputed, TransformerOp, apply,
        primitive,
    };

    /// Whether the kernels were not turned off.
    fn enabled() -> bool {
        static ENABLED: OnceLock<bool> = OnceLock::new();
        *ENABLED
            .get_or_init(|| std::env::var_os("MM_KERNELS").is_none_or(|kind| kind != "ordinary"))
    }

    /// RMSNorm of `[…, channels]`.
    pub(crate) fn norm<const D: usize>(
        x: &Tensor<D>,
        gamma: &Tensor<1>,
        epsilon: f64,
    ) -> Option<Tensor<D>> {
        let x = primitive(x.clone()).filter(|_| enabled())?;
        let op = NormOp { epsilon: epsilon as f32 };
        Some(apply(op, [x, primitive(gamma.clone())?]))
    }

    /// 3x3, of `[images, inputs, height, width]` with `[outputs, inputs, 3, 3]`.
    pub(crate) fn convolution(x: &Tensor<4>, weight: &Tensor<4>) -> Option<Tensor<4>> {
        let ([_, inputs, height, width], [outputs, ..]) = (x.dims(), weight.dims());
        let x = primitive(x.clone()).filter(|_| enabled())?;
        let op = ConvolutionOp { channels: [inputs, outputs], size: [height, width] };
        Some(apply(op, [x, primitive(weight.clone())?]))
    }

    /// Whether kernels apply to these tensors as they are, without autodiff.
    pub(crate) fn all_plain<const D: usize, const N: usize>(tensors: [&Tensor<D>; N]) -> bool {
        let plain =
            |tensor: &Tensor<D>| matches!(primitive(tensor.clone()), Some(Primitive::Plain(_)));
        enabled() && tensors.into_iter().all(plain)
    }

    /// The primitive of a tensor that was found plain.
    fn plain<const D: usize>(tensor: Tensor<D>) -> Primitive {
        primitive(tensor).expect("found plain before")
    }

    /// One step of AdamW on tensors that were found plain.
    pub(crate) fn adamw<const D: usize>(
        adam: &AdamW,
        weight: Tensor<D>,
        grad: Tensor<D>,
        [m, v]: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let write = [plain(weight), plain(m), plain(v)];
        let written = flex::in_place(write, [plain(grad)], |[weight, m, v], [grad]| {
            flex::update::adamw(adam, weight, grad, [m, v]);
        });
        let [weight, m, v] = written.map(Tensor::from_primitive::<Flex>);
        (weight, [m, v])
    }

    /// Moves an average that was found plain.
    pub(crate) fn moving_average<const D: usize>(
        average: Tensor<D>,
        weight: &Tensor<D>,
        keep: f64,
    ) -> Tensor<D> {
        let (write, read) = ([plain(average)], [plain(weight.clone())]);
        let [average] = flex::in_place(write, read, |[average], [weight]| {
            flex::update::moving_average(average, weight, keep);
        });
        Tensor::from_primitive::<Flex>(average)
    }

    /// `Σ x²`.
    pub(crate) fn sum_of_squares<const D: usize>(x: &Tensor<D>) -> Option<f64> {
        if !all_plain([x]) {
            return None;
        }
        let mut sum = 0.0;
        let [] = flex::in_place([], [plain(x.clone())], |[], [x]| {
            sum = flex::update::sum_of_squares(x);
        });
        Some(sum)
    }

    /// A block's input, if the block may be fused: kernels multiply 32-bit floats alone.
    fn block_input(x: &Tensor<3>, attend: &Attend) -> Option<Primitive> {
        primitive(x.clone()).filter(|_| enabled() && attend.precision == Precision::F32)
    }

    /// Runs a block, which keeps what its backward pass needs or nothing.
    fn block<const N: usize>(attend: &Attend, op: impl Op, inputs: [Primitive; N]) -> Tensor<3> {
        if attend.is_recomputed() { apply(Recomputed(op), inputs) } else { apply(op, inputs) }
    }

    fn gau_op(shape: GauShape, attend: &Attend) -> GauOp {
        let GauShape { width, expanded, key_size, epsilon } = shape;
        GauOp { width, expanded, key_size, epsilon: epsilon as f32, places: attend.places.clone() }
    }

    fn gau_inputs(x: Primitive, weights: GauWeights) -> Option<Vec<Primitive>> {
        let [joint, output] = weights.matrices;
        let [norm, query, key] = weights.scales;
        let mut inputs = vec![
            x,
            primitive(norm)?,
            primitive(joint)?,
            primitive(query)?,
            primitive(key)?,
            primitive(output)?,
        ];
        for bias in weights.biases.into_iter().flatten() {
            inputs.push(primitive(bias)?);
        }
        Some(inputs)
    }

    /// The unit over whole rows.
    pub(crate) fn gau(
        shape: GauShape,
        attend: &Attend,
        x: &Tensor<3>,
        weights: impl FnOnce() -> GauWeights,
    ) -> Option<Tensor<3>> {
        let inputs = gau_inputs(block_input(x, attend)?, weights())?;
        let op = gau_op(shape, attend);
        match <[Primitive; 6]>::try_from(inputs) {
            Ok(inputs) => Some(block(attend, op, inputs)),
            Err(inputs) => Some(block(attend, op, <[Primitive; 10]>::try_from(inputs).ok()?)),
        }
    }

    /// The unit for tokens that follow a prefix.
    pub(crate) fn gau_cached(
        shape: GauShape,
        x: &Tensor<3>,
        (attend, past, news): (&Attend, Option<&KeyValue>, News),
        weights: impl FnOnce() -> GauWeights,
    ) -> Option<(Tensor<3>, Option<KeyValue>)> {
        let [batch, tokens, _] = x.dims();
        let inputs = gau_inputs(block_input(x, attend)?, weights())?;
        let op = gau_op(shape, attend);
        let channels = [[batch, 1, tokens, shape.key_size], [batch, 1, tokens, shape.expanded]];
        let work = |inputs: &[&[f32]], past: Past<'_>| op.forward_cached(inputs, past);
        cached(inputs, x.dims(), (past, channels, news), work)
    }

    fn transformer_op(shape: TransformerShape, attend: &Attend) -> TransformerOp {
        let TransformerShape { width, heads, feed, epsilon } = shape;
        TransformerOp { width, heads, feed, epsilon: epsilon as f32, places: attend.places.clone() }
    }

    fn transformer_inputs(x: Primitive, weights: TransformerWeights) -> Option<[Primitive; 9]> {
        let [joint, output, up, down] = weights.matrices;
        let [norm, query, key, feed] = weights.scales;
        Some([
            x,
            primitive(norm)?,
            primitive(joint)?,
            primitive(query)?,
            primitive(key)?,
            primitive(output)?,
            primitive(feed)?,
            primitive(up)?,
            primitive(down)?,
        ])
    }

    /// The multi-head block over whole rows.
    pub(crate) fn transformer(
        shape: TransformerShape,
        attend: &Attend,
        x: &Tensor<3>,
        weights: impl FnOnce() -> TransformerWeights,
    ) -> Option<Tensor<3>> {
        let inputs = transformer_inputs(block_input(x, attend)?, weights())?;
        Some(block(attend, transformer_op(shape, attend), inputs))
    }

    /// The multi-head block for tokens that follow a prefix.
    pub(crate) fn transformer_cached(
        shape: TransformerShape,
        x: &Tensor<3>,
        (attend, past, news): (&Attend, Option<&KeyValue>, News),
        weights: impl FnOnce() -> TransformerWeights,
    ) -> Option<(Tensor<3>, Option<KeyValue>)> {
        let [batch, tokens, width] = x.dims();
        let inputs = transformer_inputs(block_input(x, attend)?, weights())?.into();
        let op = transformer_op(shape, attend);
        let one = [batch, shape.heads[1], tokens, width / shape.heads[0]];
        let work = |inputs: &[&[f32]], past: Past<'_>| op.forward_cached(inputs, past);
        cached(inputs, x.dims(), (past, [one; 2], news), work)
    }

    /// Runs a block behind `past`; `channels` are the shapes of the new keys and values.
    fn cached(
        mut inputs: Vec<Primitive>,
        shape: [usize; 3],
        (past, channels, news): (Option<&KeyValue>, [[usize; 4]; 2], News),
        work: impl FnOnce(&[&[f32]], Past<'_>) -> Vec<f32>,
    ) -> Option<(Tensor<3>, Option<KeyValue>)> {
        let weights = inputs.len();
        if let Some(past) = past {
            inputs.push(primitive(past.keys.clone())?);
            inputs.push(primitive(past.values.clone())?);
        }
        let tokens = past.map_or(0, |past| past.keys.dims()[2]);
        let sizes = match news {
            News::Kept => channels,
            News::Dropped => [[0; 4]; 2],
        };
        let [y, keys, values] = flex::with_past(inputs, |inputs| {
            let (inputs, old) = inputs.split_at(weights);
            let old = if let [keys, values] = old { [*keys, *values] } else { [&[][..], &[]] };
            let [mut keys, mut values] =
                sizes.map(|shape| vec![0.0; shape.iter().product::<usize>()]);
            let y = work(inputs, Past { old, tokens, new: [&mut keys, &mut values] });
            [(y, shape.into()), (keys, sizes[0].into()), (values, sizes[1].into())]
        });
        let new = match news {
            News::Kept => Some(KeyValue {
                keys: Tensor::from_primitive::<Flex>(keys),
                values: Tensor::from_primitive::<Flex>(values),
            }),
            News::Dropped => None,
        };
        Some((Tensor::from_primitive::<Flex>(y), new))
    }
}

pub(crate) use kernels::{
    adamw, all_plain, convolution, gau, gau_cached, moving_average, norm, sum_of_squares,
    transformer, transformer_cached,
};

/// Whether the fused kernels take 32-bit tensors on this device.
pub fn has_kernels(device: &Device) -> bool {
    all_plain([&Tensor::<1>::zeros([1], &device.clone().without_autodiff())])
}
