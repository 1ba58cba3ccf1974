//! The definition of the gated attention unit (Hua et al. 2022, arXiv:2202.10447, with softmax as
//! in Su 2024):
//!
//! ```text
//! u, v, z = split(swish(W_i · RMSNorm(x) + b_i))        expanded, expanded, key_size channels
//! q = rotate(γ_q z + β_q),  k = rotate(γ_k z + β_k)
//! x + W_o (u ⊙ softmax(q kᵀ / sqrt(key_size)) v) + b_o
//! ```

use burn::prelude::*;
use burn::tensor::activation::silu;

use super::{BlockKernels, linear};
use crate::{AttentionContext, GauWeights, KeyValue, Precision, ScaleOffset};

/// Computes the unit, `[batch, tokens, channels]` -> the same shape, and the keys and values of
/// these tokens.
pub(super) fn gau<K: BlockKernels + ?Sized>(
    kernels: &K,
    x: Tensor<3>,
    weights: &GauWeights,
    context: &AttentionContext,
    precision: Precision,
    prefix: Option<&KeyValue>,
) -> (Tensor<3>, KeyValue) {
    let [batch, tokens, _] = x.dims();
    let (e, s) = (weights.expanded(), weights.key_size());
    let normed = kernels.rms_norm(x.clone(), &weights.norm, weights.epsilon);
    let in_proj = &weights.in_proj;
    let projected = linear(precision.narrow(normed), &in_proj.weight, in_proj.bias.as_ref());
    let active = silu(projected);
    let part = |from: usize, size: usize| active.clone().narrow(2, from, size);
    let (u, v, z) = (part(0, e), part(e, e), part(2 * e, s));
    let one_head = |t: Tensor<3>, channels: usize| t.reshape([batch, 1, tokens, channels]);
    let q = context.rotate(one_head(scale_offset(z.clone(), &weights.query), s), precision);
    let k = context.rotate(one_head(scale_offset(z, &weights.key), s), precision);
    let new = KeyValue { keys: k, values: one_head(v, e) };
    let all = new.after(prefix);
    let mixed = kernels.attention(q, all.keys, all.values, context, precision);
    let gated = u * mixed.reshape([batch, tokens, e]);
    let out_proj = &weights.out_proj;
    let y = linear(gated, &out_proj.weight, out_proj.bias.as_ref());
    (x + precision.widen(y), new)
}

/// Computes `γ z + β` in the type of `z`, `[batch, tokens, channels]` -> the same shape.
fn scale_offset(z: Tensor<3>, weights: &ScaleOffset) -> Tensor<3> {
    let dtype = z.dtype();
    let scaled = z * weights.gamma.clone().cast(dtype).unsqueeze();
    match &weights.beta {
        Some(beta) => scaled + beta.clone().cast(dtype).unsqueeze(),
        None => scaled,
    }
}
