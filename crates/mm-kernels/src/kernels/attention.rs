//! The definition of masked softmax attention. The softmax is 32-bit where the products are not.

use burn::prelude::*;
use burn::tensor::activation::softmax;

use crate::{AttentionContext, Precision};

/// Computes attention; one head of `k` and `v` may serve several of `q`.
///
/// A hidden key has the probability 0 and takes part in the product, where 0 · NaN is NaN: on a
/// device a number that is not finite reaches all tokens of its row. Only kernels that skip by
/// range, as those of the CPU, keep it from the others.
pub(super) fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    context: &AttentionContext,
    precision: Precision,
) -> Tensor<4> {
    let [batch, heads, queries, channels] = q.dims();
    let keys = k.dims()[2];
    let (k, v) = (repeat_heads(k, heads), repeat_heads(v, heads));
    let scale = (channels as f64).powf(-0.5);
    let scores = q.mul_scalar(scale).matmul(k.transpose());
    let hidden = context.hidden().expand([batch, heads, queries, keys]);
    let scores = precision.widen(scores).mask_fill(hidden, f32::NEG_INFINITY);
    precision.narrow(softmax(scores, 3)).matmul(v)
}

/// Repeats each head for its group of queries, `[batch, key_heads, keys, channels]` ->
/// `[batch, heads, keys, channels]`.
fn repeat_heads(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, key_heads, keys, channels] = x.dims();
    if key_heads == heads {
        return x;
    }
    let group = heads / key_heads;
    x.reshape([batch, key_heads, 1, keys, channels])
        .expand([batch, key_heads, group, keys, channels])
        .reshape([batch, heads, keys, channels])
}
