//! The definition of the multi-head block: pre-norm attention with normalised queries and keys,
//! then SwiGLU (Shazeer 2020, arXiv:2002.05202):
//!
//! ```text
//! q, k, v = split(W_a · RMSNorm(x));  q = rotate(RMSNorm(q)),  k = rotate(RMSNorm(k))     per head
//! h = x + W_o · softmax(q kᵀ / sqrt(head)) v
//! h + W_d (swish(g) ⊙ r),  g, r = split(W_f · RMSNorm(h))
//! ```
//!
//! A [modulation](BlockModulation), if there is one, stands around each half.

use burn::prelude::*;
use burn::tensor::activation::silu;

use super::{BlockKernels, linear, rms_norm};
use crate::{AttentionContext, BlockModulation, KeyValue, MultiHeadWeights, Precision, modulate};

/// Computes the block, `[batch, tokens, channels]` -> the same shape, and the keys and values of
/// these tokens.
pub(crate) fn multi_head<K: BlockKernels + ?Sized>(
    kernels: &K,
    x: Tensor<3>,
    weights: &MultiHeadWeights,
    context: &AttentionContext,
    precision: Precision,
    prefix: Option<&KeyValue>,
) -> (Tensor<3>, KeyValue) {
    let normed = kernels.rms_norm(x.clone(), &weights.attention_norm, weights.epsilon);
    let attend = |normed| attention_half(kernels, normed, weights, context, precision, prefix);
    let Some(BlockModulation { attention, mlp }) = weights.modulation.clone() else {
        let (attended, new) = attend(normed);
        let h = x + attended;
        let normed = kernels.rms_norm(h.clone(), &weights.mlp_norm, weights.epsilon);
        return (h + mlp_half(normed, weights, precision), new);
    };
    let (attended, new) = attend(modulate(normed, attention.shift, attention.scale));
    let h = x + attended * attention.gate;
    let normed = kernels.rms_norm(h.clone(), &weights.mlp_norm, weights.epsilon);
    let fed = mlp_half(modulate(normed, mlp.shift, mlp.scale), weights, precision);
    (h + fed * mlp.gate, new)
}

/// Computes attention of normalised tokens, `[batch, tokens, channels]` -> the same shape, and
/// their keys and values.
fn attention_half<K: BlockKernels + ?Sized>(
    kernels: &K,
    normed: Tensor<3>,
    weights: &MultiHeadWeights,
    context: &AttentionContext,
    precision: Precision,
    prefix: Option<&KeyValue>,
) -> (Tensor<3>, KeyValue) {
    let [batch, tokens, width] = normed.dims();
    let (heads, key_heads, head) = (weights.heads(), weights.key_heads(), weights.head_size());
    let qkv = linear(precision.narrow(normed), &weights.qkv_proj, None);
    let part = |first: usize, count: usize| {
        let channels = qkv.clone().narrow(2, first * head, count * head);
        let heads = channels.reshape([batch, tokens, count, head]);
        heads.swap_dims(1, 2) // [batch, heads, tokens, head]
    };
    let norm_and_rotate = |x: Tensor<4>, gamma: &Tensor<1>| {
        context.rotate(rms_norm(precision.widen(x), gamma, weights.epsilon), precision)
    };
    let q = norm_and_rotate(part(0, heads), &weights.query_norm);
    let k = norm_and_rotate(part(heads, key_heads), &weights.key_norm);
    let new = KeyValue { keys: k, values: part(heads + key_heads, key_heads) };
    let all = new.after(prefix);
    let mixed = kernels
        .attention(q, all.keys, all.values, context, precision)
        .swap_dims(1, 2)
        .reshape([batch, tokens, width]);
    (precision.widen(linear(mixed, &weights.out_proj, None)), new)
}

/// Computes SwiGLU of normalised tokens, `[batch, tokens, channels]` -> the same shape.
fn mlp_half(normed: Tensor<3>, weights: &MultiHeadWeights, precision: Precision) -> Tensor<3> {
    let inner = weights.feed_forward();
    let up = linear(precision.narrow(normed), &weights.gate_up_proj, None);
    let (gate, rest) = (up.clone().narrow(2, 0, inner), up.narrow(2, inner, inner));
    precision.widen(linear(silu(gate) * rest, &weights.down_proj, None))
}
