//! The gated attention unit (Hua et al. 2022, arXiv:2202.10447) as a module: the weights, which
//! `mm-kernels` computes with.

use burn::module::Param;
use burn::prelude::*;
use mm_kernels::GauWeights;

use crate::{BackboneConfig, GauConfig, Init, Linear, RmsNorm};

/// The weights of one gated attention unit.
#[derive(Module, Debug)]
pub(crate) struct GatedAttentionUnit {
    norm: RmsNorm,
    in_proj: Linear,
    query: ScaleOffset,
    key: ScaleOffset,
    out_proj: Linear,
}

impl GatedAttentionUnit {
    pub(crate) fn new(config: &BackboneConfig, sizes: &GauConfig, init: &mut Init) -> Self {
        let &GauConfig { expansion, key_size, bias } = sizes;
        let (width, depth) = (config.width, config.depth);
        let expanded = expansion * width;
        Self {
            norm: RmsNorm::new(init, width, config.norm_epsilon),
            in_proj: Linear::new(init, width, 2 * expanded + key_size, bias),
            query: ScaleOffset::new(init, key_size, bias),
            key: ScaleOffset::new(init, key_size, bias),
            out_proj: Linear::residual(init, expanded, width, bias, depth),
        }
    }

    /// Returns the weights as kernels take them.
    pub(crate) fn weights(&self) -> GauWeights {
        GauWeights {
            norm: self.norm.gamma.val(),
            in_proj: self.in_proj.weights(),
            query: self.query.weights(),
            key: self.key.weights(),
            out_proj: self.out_proj.weights(),
            epsilon: self.norm.epsilon,
        }
    }
}

/// The scale and offset that make queries or keys out of one shared projection.
#[derive(Module, Debug)]
struct ScaleOffset {
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

    fn weights(&self) -> mm_kernels::ScaleOffset {
        let beta = self.beta.as_ref().map(Param::val);
        mm_kernels::ScaleOffset { gamma: self.gamma.val(), beta }
    }
}
