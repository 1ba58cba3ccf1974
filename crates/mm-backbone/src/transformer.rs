//! The multi-head block: pre-norm attention with normalised queries and keys, then SwiGLU (Shazeer 2020, arXiv:2002.05202):
//!
//! ```text
//! q, k, v = split(W_a · RMSNorm(x));  q = rotate(RMSNorm(q)),  k = rotate(RMSNorm(k))      per head
//! h = x + W_o · softmax(q kᵀ / sqrt(head)) v
//! h + W_d (swish(g) ⊙ r),  g, r = split(W_f · RMSNorm(h))
//! ```

use burn::prelude::*;
use burn::tensor::activation::silu;

use crate::attention::attention;
use crate::cache::KeyValue;
use crate::ops::{self, News, TransformerShape, TransformerWeights};
use crate::{Attend, BackboneConfig, Init, Linear, RmsNorm};

/// One multi-head block with its two residual connections.
#[derive(Module, Debug)]
pub struct Transformer {
    pub(crate) attention_norm: RmsNorm,
    joint: Linear,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    output: Linear,
    pub(crate) feed_norm: RmsNorm,
    up: Linear,
    down: Linear,
    heads: usize,
    key_heads: usize,
    feed_forward: usize,
}

impl Transformer {
    pub(crate) fn new(
        config: &BackboneConfig,
        [heads, key_heads]: [usize; 2],
        feed_forward: usize,
        init: &mut Init,
    ) -> Self {
        let (width, depth, epsilon) = (config.width, config.depth, config.norm_epsilon);
        let head = width / heads;
        Self {
            attention_norm: RmsNorm::new(init, width, epsilon),
            joint: Linear::new(init, width, (heads + 2 * key_heads) * head, false),
            query_norm: RmsNorm::new(init, head, epsilon),
            key_norm: RmsNorm::new(init, head, epsilon),
            output: Linear::residual(init, width, width, false, depth),
            feed_norm: RmsNorm::new(init, width, epsilon),
            up: Linear::new(init, width, 2 * feed_forward, false),
            down: Linear::residual(init, feed_forward, width, false, depth),
            heads,
            key_heads,
            feed_forward,
        }
    }

    /// As one operation, where a kernel applies; `x`: `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn fused(&self, x: &Tensor<3>, attend: &Attend) -> Option<Tensor<3>> {
        ops::transformer(self.shape(), attend, x, || self.weights())
    }

    /// The same behind a prefix, with the keys and values of these tokens if they are kept; `x`: `[batch, tokens, channels]`.
    pub(crate) fn fused_cached(
        &self,
        x: &Tensor<3>,
        attend: &Attend,
        past: Option<&KeyValue>,
        news: News,
    ) -> Option<(Tensor<3>, Option<KeyValue>)> {
        ops::transformer_cached(self.shape(), x, (attend, past, news), || self.weights())
    }

    fn shape(&self) -> TransformerShape {
        TransformerShape {
            width: self.output.weight.val().dims()[1],
            heads: [self.heads, self.key_heads],
            feed: self.feed_forward,
            epsilon: self.attention_norm.epsilon,
        }
    }

    fn weights(&self) -> TransformerWeights {
        let matrices = [&self.joint, &self.output, &self.up, &self.down];
        let scales = [&self.attention_norm, &self.query_norm, &self.key_norm, &self.feed_norm];
        TransformerWeights {
            matrices: matrices.map(|linear| linear.weight.val()),
            scales: scales.map(|norm| norm.gamma.val()),
        }
    }

    /// The definition, in ordinary operations: `[batch, tokens, channels]` -> the same shape, and the keys and values of these
    /// tokens.
    pub(crate) fn ordinary(
        &self,
        x: Tensor<3>,
        attend: &Attend,
        past: Option<&KeyValue>,
    ) -> (Tensor<3>, KeyValue) {
        let (mixed, new) = self.mix(self.attention_norm.ordinary(x.clone()), attend, past);
        let h = x + mixed;
        let fed = self.feed(self.feed_norm.ordinary(h.clone()), attend);
        (h + fed, new)
    }

    /// Attention of normalised tokens: `[batch, tokens, channels]` -> the same shape, and their keys and values.
    pub(crate) fn mix(
        &self,
        normed: Tensor<3>,
        attend: &Attend,
        past: Option<&KeyValue>,
    ) -> (Tensor<3>, KeyValue) {
        let [batch, tokens, width] = normed.dims();
        let (heads, key_heads, head) = (self.heads, self.key_heads, width / self.heads);
        let precision = attend.precision;
        let joint = self.joint.forward(precision.narrow(normed));
        let part = |first: usize, count: usize| {
            let channels = joint.clone().narrow(2, first * head, count * head);
            channels.reshape([batch, tokens, count, head]).swap_dims(1, 2) // [batch, heads, tokens, head]
        };
        let q = attend.rotate(self.query_norm.ordinary(precision.widen(part(0, heads))));
        let keys = precision.widen(part(heads, key_heads));
        let k = attend.rotate(self.key_norm.ordinary(keys));
        let new = KeyValue { keys: k, values: part(heads + key_heads, key_heads) };
        let all = new.after(past);
        let mixed = attention(q, all.keys, all.values, attend)
            .swap_dims(1, 2)
            .reshape([batch, tokens, width]);
        (precision.widen(self.output.forward(mixed)), new)
    }

    /// SwiGLU of normalised tokens: `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn feed(&self, normed: Tensor<3>, attend: &Attend) -> Tensor<3> {
        let up = self.up.forward(attend.precision.narrow(normed));
        let (gate, rest) = (
            up.clone().narrow(2, 0, self.feed_forward),
            up.narrow(2, self.feed_forward, self.feed_forward),
        );
        attend.precision.widen(self.down.forward(silu(gate) * rest))
    }
}
