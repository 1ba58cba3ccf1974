//! The multi-head block as a module: the weights, which `mm-kernels` computes with.

use burn::module::Param;
use burn::prelude::*;
use mm_kernels::{BlockModulation, BranchModulation, MultiHeadBiases, MultiHeadWeights};

use crate::condition::Modulation;
use crate::norm::Norm;
use crate::{BackboneConfig, Condition, Init, Linear, MultiHeadConfig, MultiHeadVariant};

/// The weights of one multi-head block.
#[derive(Module, Debug)]
pub(crate) struct MultiHeadBlock {
    attention_norm: Norm,
    qkv_proj: Linear,
    query_norm: Norm,
    key_norm: Norm,
    out_proj: Linear,
    mlp_norm: Norm,
    gate_up_proj: Linear,
    down_proj: Linear,
    epsilon: f64,
    /// What a condition does to the block, in a DiT alone.
    modulation: Option<Modulation>,
}

impl MultiHeadBlock {
    pub(crate) fn new(config: &BackboneConfig, sizes: &MultiHeadConfig, init: &mut Init) -> Self {
        let &MultiHeadConfig { variant, heads, key_heads, feed_forward } = sizes;
        let (width, depth, epsilon) = (config.width, config.depth, config.norm_epsilon);
        let (head, is_persimmon) = (width / heads, variant == MultiHeadVariant::Persimmon);
        let inner = if is_persimmon { feed_forward } else { 2 * feed_forward };
        let bias = is_persimmon;
        let norm = |init: &mut Init, channels| Norm::new(init, channels, epsilon, is_persimmon);
        Self {
            attention_norm: norm(init, width),
            qkv_proj: Linear::new(init, width, (heads + 2 * key_heads) * head, bias),
            query_norm: norm(init, head),
            key_norm: norm(init, head),
            out_proj: Linear::residual(init, width, width, bias, depth),
            mlp_norm: norm(init, width),
            gate_up_proj: Linear::new(init, width, inner, bias),
            down_proj: Linear::residual(init, feed_forward, width, bias, depth),
            epsilon,
            modulation: (variant == MultiHeadVariant::Dit).then(|| Modulation::new(init, width, 6)),
        }
    }

    /// Says whether a condition changes the block.
    pub(crate) fn is_modulated(&self) -> bool {
        self.modulation.is_some()
    }

    /// Returns the weights as kernels take them, for tokens `x`: `[batch, tokens, channels]`.
    pub(crate) fn weights(&self, x: &Tensor<3>, condition: Option<&Condition>) -> MultiHeadWeights {
        let [batch, tokens, _] = x.dims();
        let modulation = self.modulation.as_ref().map(|modulation| {
            let [shift_1, scale_1, gate_1, shift_2, scale_2, gate_2] =
                modulation.parts(condition, batch, tokens);
            BlockModulation {
                attention: BranchModulation { shift: shift_1, scale: scale_1, gate: gate_1 },
                mlp: BranchModulation { shift: shift_2, scale: scale_2, gate: gate_2 },
            }
        });
        MultiHeadWeights {
            attention_norm: self.attention_norm.gamma(),
            qkv_proj: self.qkv_proj.weight.val(),
            query_norm: self.query_norm.gamma(),
            key_norm: self.key_norm.gamma(),
            out_proj: self.out_proj.weight.val(),
            mlp_norm: self.mlp_norm.gamma(),
            gate_up_proj: self.gate_up_proj.weight.val(),
            down_proj: self.down_proj.weight.val(),
            epsilon: self.epsilon,
            modulation,
            biases: self.biases(),
        }
    }

    /// Returns what is added behind norms and maps, in a Persimmon block.
    fn biases(&self) -> Option<MultiHeadBiases> {
        let of = |map: &Linear| map.bias.as_ref().map(Param::val);
        Some(MultiHeadBiases {
            attention_norm: self.attention_norm.beta()?,
            qkv_proj: of(&self.qkv_proj)?,
            query_norm: self.query_norm.beta()?,
            key_norm: self.key_norm.beta()?,
            out_proj: of(&self.out_proj)?,
            mlp_norm: self.mlp_norm.beta()?,
            gate_up_proj: of(&self.gate_up_proj)?,
            down_proj: of(&self.down_proj)?,
        })
    }
}
