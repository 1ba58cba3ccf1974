//! The gated attention unit (Hua et al. 2022, arXiv:2202.10447, with softmax as in the seed):
//!
//! ```text
//! u, v, z = split(swish(W_i · RMSNorm(x) + b_i))        expanded, expanded, key_size channels
//! q = rotate(γ_q z + β_q),  k = rotate(γ_k z + β_k)
//! x + W_o (u ⊙ softmax(q kᵀ / sqrt(key_size)) v) + b_o
//! ```

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::silu;

use crate::attention::attention;
use crate::cache::KeyValue;
use crate::ops::{self, GauShape, GauWeights, News};
use crate::{Attend, BackboneConfig, Init, Linear, RmsNorm};

/// One gated attention unit with its residual connection.
#[derive(Module, Debug)]
pub struct Gau {
    norm: RmsNorm,
    joint: Linear,
    query: ScaleOffset,
    key: ScaleOffset,
    output: Linear,
    expanded: usize,
    key_size: usize,
}

impl Gau {
    pub(crate) fn new(
        config: &BackboneConfig,
        [expansion, key_size]: [usize; 2],
        bias: bool,
        init: &mut Init,
    ) -> Self {
        let width = config.width;
        let expanded = expansion * width;
        Self {
            norm: RmsNorm::new(init, width, config.norm_epsilon),
            joint: Linear::new(init, width, 2 * expanded + key_size, bias),
            query: ScaleOffset::new(init, key_size, bias),
            key: ScaleOffset::new(init, key_size, bias),
            output: Linear::residual(init, expanded, width, bias, config.depth),
            expanded,
            key_size,
        }
    }

    /// As one operation, where a kernel applies; `x`: `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn fused(&self, x: &Tensor<3>, attend: &Attend) -> Option<Tensor<3>> {
        ops::gau(self.shape(), attend, x, || self.weights())
    }

    /// The same behind a prefix, with the keys and values of these tokens if they are kept; `x`: `[batch, tokens, channels]`.
    pub(crate) fn fused_cached(
        &self,
        x: &Tensor<3>,
        attend: &Attend,
        past: Option<&KeyValue>,
        news: News,
    ) -> Option<(Tensor<3>, Option<KeyValue>)> {
        ops::gau_cached(self.shape(), x, (attend, past, news), || self.weights())
    }

    fn shape(&self) -> GauShape {
        let (expanded, key_size) = (self.expanded, self.key_size);
        let width = self.output.weight.val().dims()[1];
        GauShape { width, expanded, key_size, epsilon: self.norm.epsilon }
    }

    fn weights(&self) -> GauWeights {
        let value = |bias: &Option<Param<Tensor<1>>>| bias.as_ref().map(Param::val);
        let biases = [&self.joint.bias, &self.query.beta, &self.key.beta, &self.output.bias];
        let biases: Option<Vec<_>> = biases.into_iter().map(value).collect();
        GauWeights {
            matrices: [self.joint.weight.val(), self.output.weight.val()],
            scales: [self.norm.gamma.val(), self.query.gamma.val(), self.key.gamma.val()],
            biases: biases.and_then(|biases| biases.try_into().ok()),
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
        let [batch, tokens, _] = x.dims();
        let (e, s) = (self.expanded, self.key_size);
        let normed = attend.precision.narrow(self.norm.ordinary(x.clone()));
        let joint = silu(self.joint.forward(normed));
        let part = |from: usize, size: usize| joint.clone().narrow(2, from, size);
        let (u, v, z) = (part(0, e), part(e, e), part(2 * e, s));
        let one_head = |t: Tensor<3>, channels: usize| t.reshape([batch, 1, tokens, channels]);
        let q = attend.rotate(one_head(self.query.forward(z.clone()), s));
        let k = attend.rotate(one_head(self.key.forward(z), s));
        let new = KeyValue { keys: k, values: one_head(v, e) };
        let all = new.after(past);
        let mixed = attention(q, all.keys, all.values, attend).reshape([batch, tokens, e]);
        (x + attend.precision.widen(self.output.forward(u * mixed)), new)
    }
}

/// `γ z + β`: what makes queries and keys out of one shared projection.
#[derive(Module, Debug)]
pub struct ScaleOffset {
    /// `[channels]`
    gamma: Param<Tensor<1>>,
    /// `[channels]`
    beta: Option<Param<Tensor<1>>>,
}

impl ScaleOffset {
    fn new(init: &mut Init, channels: usize, offset: bool) -> Self {
        let gamma = init.constant([channels], 1.0);
        Self { gamma, beta: offset.then(|| init.constant([channels], 0.0)) }
    }

    /// `[batch, tokens, channels]` -> the same shape, in the type of `z`.
    fn forward(&self, z: Tensor<3>) -> Tensor<3> {
        let kind = z.dtype();
        let scaled = z * self.gamma.val().cast(kind).unsqueeze();
        match &self.beta {
            Some(beta) => scaled + beta.val().cast(kind).unsqueeze(),
            None => scaled,
        }
    }
}
