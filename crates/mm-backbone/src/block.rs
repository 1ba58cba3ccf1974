//! One residual block of either kind.

use burn::prelude::*;
use mm_kernels::{
    AnyTensor, AttentionContext, BlockOptions, KeyValue, KvUpdate, Precision, kernels_of,
};

use crate::checkpointing::checkpointed;
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
        if options.activation_checkpointing && !self.checkpoints_itself(&x, options) {
            return self.forward_checkpointed(x, context, condition, options);
        }
        let kernels = kernels_of(&x);
        match self {
            Self::Gau(block) => kernels.gau(x, &block.weights(), context, options),
            Self::MultiHead(block) => {
                let weights = block.weights(&x, condition);
                kernels.multi_head(x, &weights, context, options)
            }
        }
    }

    /// Says whether a kernel computes the whole block and so can keep nothing but its input,
    /// `[batch, tokens, channels]`.
    fn checkpoints_itself(&self, x: &Tensor<3>, options: BlockOptions) -> bool {
        let modulated = match self {
            Self::Gau(_) => false,
            Self::MultiHead(block) => block.is_modulated(),
        };
        !modulated && options.precision == Precision::F32 && kernels_of(x).fuses_blocks()
    }

    /// Computes `x`, `[batch, tokens, channels]` -> the same shape, and again in the backward pass,
    /// with the modulation that a condition makes.
    fn forward_checkpointed(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        condition: Option<&Condition>,
        options: BlockOptions,
    ) -> Tensor<3> {
        let options = BlockOptions { activation_checkpointing: false, ..options };
        let context = context.clone();
        let mut inputs: Vec<AnyTensor> = vec![x.into()];
        inputs.extend(condition.map(|condition| condition.rows().into()));
        let condition = condition.map(Condition::without_autodiff);
        checkpointed(self, inputs, move |block: &Self, inputs| {
            let mut inputs = inputs.into_iter();
            let x = inputs.next().expect("the tokens").into_tensor::<3>();
            let rows = inputs.next().map(AnyTensor::into_tensor::<2>);
            let condition =
                condition.as_ref().zip(rows).map(|(condition, rows)| condition.with_rows(rows));
            block.forward(x, &context, condition.as_ref(), options)
        })
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
