//! The definition of the multi-head block: pre-norm attention with normalised queries and keys,
//! then SwiGLU (Shazeer 2020, arXiv:2002.05202):
//!
//! ```text
//! q, k, v = split(W_a · RMSNorm(x));  q = rotate(RMSNorm(q)),  k = rotate(RMSNorm(k))     per head
//! h = x + W_o · softmax(q kᵀ / sqrt(head)) v
//! h + W_d (swish(g) ⊙ r),  g, r = split(W_f · RMSNorm(h))
//! ```
//!
//! A [modulation](BlockModulation), if there is one, stands around each half. With
//! [biases](MultiHeadBiases), every norm is a LayerNorm and every map adds a bias; without a gate,
//! the feed-forward half is `W_d relu(W_f · norm(h))²` (So et al. 2021, arXiv:2109.08668). Both
//! together are the block of Persimmon and Fuyu (Adept 2023).

use burn::prelude::*;
use burn::tensor::activation::{relu, silu};

use super::{BlockKernels, layer_norm, linear, rms_norm};
use crate::{
    AttentionContext, BlockModulation, KeyValue, MultiHeadBiases, MultiHeadWeights, Precision,
    modulate,
};

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
    let beta = |of: BiasOf| weights.biases.as_ref().map(of);
    let norm = |x, gamma: &Tensor<1>, beta: Option<&Tensor<1>>| match beta {
        Some(beta) => layer_norm(x, gamma, beta, weights.epsilon),
        None => kernels.rms_norm(x, gamma, weights.epsilon),
    };
    let attention_norm = beta(|biases| &biases.attention_norm);
    let mlp_norm = |h| norm(h, &weights.mlp_norm, beta(|biases| &biases.mlp_norm));
    let normed = norm(x.clone(), &weights.attention_norm, attention_norm);
    let attend = |normed| attention_half(kernels, normed, weights, context, precision, prefix);
    let Some(BlockModulation { attention, mlp }) = weights.modulation.clone() else {
        let (attended, new) = attend(normed);
        let h = x + attended;
        let normed = mlp_norm(h.clone());
        return (h + mlp_half(normed, weights, precision), new);
    };
    let (attended, new) = attend(modulate(normed, attention.shift, attention.scale));
    let h = x + attended * attention.gate;
    let normed = mlp_norm(h.clone());
    let fed = mlp_half(modulate(normed, mlp.shift, mlp.scale), weights, precision);
    (h + fed * mlp.gate, new)
}

/// Takes one bias of a block.
type BiasOf = fn(&MultiHeadBiases) -> &Tensor<1>;

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
    let bias = |of: BiasOf| weights.biases.as_ref().map(of);
    let qkv_bias = bias(|biases| &biases.qkv_proj);
    let qkv = linear(precision.narrow(normed), &weights.qkv_proj, qkv_bias);
    let part = |first: usize, count: usize| {
        let channels = qkv.clone().narrow(2, first * head, count * head);
        let heads = channels.reshape([batch, tokens, count, head]);
        heads.swap_dims(1, 2) // [batch, heads, tokens, head]
    };
    let norm_and_rotate = |x: Tensor<4>, gamma: &Tensor<1>, beta: Option<&Tensor<1>>| {
        let x = precision.widen(x);
        let normed = match beta {
            Some(beta) => layer_norm(x, gamma, beta, weights.epsilon),
            None => rms_norm(x, gamma, weights.epsilon),
        };
        context.rotate(normed, precision)
    };
    let (query_beta, key_beta) =
        (bias(|biases| &biases.query_norm), bias(|biases| &biases.key_norm));
    let q = norm_and_rotate(part(0, heads), &weights.query_norm, query_beta);
    let k = norm_and_rotate(part(heads, key_heads), &weights.key_norm, key_beta);
    let new = KeyValue { keys: k, values: part(heads + key_heads, key_heads) };
    let all = new.after(prefix);
    let mixed = kernels
        .attention(q, all.keys, all.values, context, precision)
        .swap_dims(1, 2)
        .reshape([batch, tokens, width]);
    let out_bias = bias(|biases| &biases.out_proj);
    (precision.widen(linear(mixed, &weights.out_proj, out_bias)), new)
}

/// Computes the feed-forward half of normalised tokens, `[batch, tokens, channels]` -> the same
/// shape.
fn mlp_half(normed: Tensor<3>, weights: &MultiHeadWeights, precision: Precision) -> Tensor<3> {
    let inner = weights.feed_forward();
    let bias = |of: BiasOf| weights.biases.as_ref().map(of);
    let up_bias = bias(|biases| &biases.gate_up_proj);
    let up = linear(precision.narrow(normed), &weights.gate_up_proj, up_bias);
    let hidden = if weights.is_gated() {
        let (gate, rest) = (up.clone().narrow(2, 0, inner), up.narrow(2, inner, inner));
        silu(gate) * rest
    } else {
        relu(up).square()
    };
    let down_bias = bias(|biases| &biases.down_proj);
    precision.widen(linear(hidden, &weights.down_proj, down_bias))
}
