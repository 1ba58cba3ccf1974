//! Masked softmax attention: `softmax(q kᵀ · scale) v`, hidden keys left out. The softmax is 32-bit where the products are not.

use burn::prelude::*;
use burn::tensor::activation::softmax;

use crate::Attend;

/// `q`: `[batch, heads, queries, channels]`, `k`: `[batch, heads, keys, channels]`, `v`: `[batch, heads, keys, values]`
/// -> `[batch, heads, queries, values]`. One head of `k` and `v` may serve several of `q`.
pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, attend: &Attend) -> Tensor<4> {
    let [batch, heads, queries, channels] = q.dims();
    let keys = k.dims()[2];
    let (k, v) = (repeat_heads(k, heads), repeat_heads(v, heads));
    let scale = (channels as f64).powf(-0.5);
    let scores = q.mul_scalar(scale).matmul(k.transpose());
    let hidden = attend.hidden().expand([batch, heads, queries, keys]);
    let scores = attend.precision.widen(scores).mask_fill(hidden, f32::NEG_INFINITY);
    attend.precision.narrow(softmax(scores, 3)).matmul(v)
}

/// `[batch, key_heads, keys, channels]` -> `[batch, heads, keys, channels]`, each head repeated for its group of queries.
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
