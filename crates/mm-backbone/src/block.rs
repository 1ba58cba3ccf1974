//! One residual block of either kind.

use burn::prelude::*;
use mm_kernels::{AttentionContext, BlockOptions, KeyValue, KvUpdate, kernels_of};

use crate::gau::GatedAttentionUnit;
use crate::multi_head::MultiHeadBlock;
use crate::{BackboneConfig, BlockConfig, Condition, Init};

/// One block. Its kind is not part of the names of its weights.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // a few blocks, each made once: boxing would buy nothing
pub(crate) enum Block {
    Gau(GatedAttentionUnit),
    MultiHead(MultiHeadBlock),
}

crate::transparent_module!(Block { Gau, MultiHead });

impl Block {
    pub(crate) fn new(config: &BackboneConfig, init: &mut Init) -> Self {
        match &config.block {
            BlockConfig::Gau(sizes) => Self::Gau(GatedAttentionUnit::new(config, sizes, init)),
            BlockConfig::MultiHead(sizes) => {
                Self::MultiHead(MultiHeadBlock::new(config, sizes, init))
            }
        }
    }

    /// Computes `x`: `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        condition: Option<&Condition>,
        options: BlockOptions,
    ) -> Tensor<3> {
        let kernels = kernels_of(&x);
        match self {
            Self::Gau(block) => kernels.gau(x, &block.weights(), context, options),
            Self::MultiHead(block) => {
                let weights = block.weights(&x, condition);
                kernels.multi_head(x, &weights, context, options)
            }
        }
    }

    /// Computes tokens behind a prefix, `[batch, tokens, channels]` -> the same shape, and their
    /// keys and values if `update` keeps them.
    pub(crate) fn forward_with_prefix(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        condition: Option<&Condition>,
        options: BlockOptions,
        prefix: Option<&KeyValue>,
        update: KvUpdate,
    ) -> (Tensor<3>, Option<KeyValue>) {
        let kernels = kernels_of(&x);
        match self {
            Self::Gau(block) => {
                kernels.gau_with_prefix(x, &block.weights(), context, options, prefix, update)
            }
            Self::MultiHead(block) => {
                let weights = block.weights(&x, condition);
                kernels.multi_head_with_prefix(x, &weights, context, options, prefix, update)
            }
        }
    }
}
