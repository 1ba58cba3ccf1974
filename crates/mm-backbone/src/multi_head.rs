//! The multi-head block as a module: the weights, which `mm-kernels` computes with.

use burn::prelude::*;
use mm_kernels::{BlockModulation, BranchModulation, MultiHeadWeights};

use crate::condition::Modulation;
use crate::{BackboneConfig, Condition, Init, Linear, MultiHeadConfig, MultiHeadVariant, RmsNorm};

/// The weights of one multi-head block.
#[derive(Module, Debug)]
pub(crate) struct MultiHeadBlock {
    attention_norm: RmsNorm,
    qkv_proj: Linear,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    out_proj: Linear,
    mlp_norm: RmsNorm,
    gate_up_proj: Linear,
    down_proj: Linear,
    /// What a condition does to the block, in a DiT alone.
    modulation: Option<Modulation>,
}

impl MultiHeadBlock {
    pub(crate) fn new(config: &BackboneConfig, sizes: &MultiHeadConfig, init: &mut Init) -> Self {
        let &MultiHeadConfig { variant, heads, key_heads, feed_forward } = sizes;
        let (width, depth, epsilon) = (config.width, config.depth, config.norm_epsilon);
        let head = width / heads;
        Self {
            attention_norm: RmsNorm::new(init, width, epsilon),
            qkv_proj: Linear::new(init, width, (heads + 2 * key_heads) * head, false),
            query_norm: RmsNorm::new(init, head, epsilon),
            key_norm: RmsNorm::new(init, head, epsilon),
            out_proj: Linear::residual(init, width, width, false, depth),
            mlp_norm: RmsNorm::new(init, width, epsilon),
            gate_up_proj: Linear::new(init, width, 2 * feed_forward, false),
            down_proj: Linear::residual(init, feed_forward, width, false, depth),
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
            attention_norm: self.attention_norm.gamma.val(),
            qkv_proj: self.qkv_proj.weight.val(),
            query_norm: self.query_norm.gamma.val(),
            key_norm: self.key_norm.gamma.val(),
            out_proj: self.out_proj.weight.val(),
            mlp_norm: self.mlp_norm.gamma.val(),
            gate_up_proj: self.gate_up_proj.weight.val(),
            down_proj: self.down_proj.weight.val(),
            epsilon: self.attention_norm.epsilon,
            modulation,
        }
    }
}
