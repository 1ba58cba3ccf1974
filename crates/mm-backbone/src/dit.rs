//! What surrounds the blocks of a DiT with adaLN-Zero (Peebles & Xie 2022, arXiv:2212.09748,
//! section 3.2). A block is the multi-head block with a modulation around each half:
//!
//! ```text
//! β₁, γ₁, α₁, β₂, γ₂, α₂ = W swish(c) + b       c: the token's condition; W, b start at zero
//! h = x + α₁ ⊙ Attention((1 + γ₁) ⊙ RMSNorm(x) + β₁)
//! y = h + α₂ ⊙ SwiGLU((1 + γ₂) ⊙ RMSNorm(h) + β₂)
//! ```
//!
//! The norm behind the last block is modulated alike, `(1 + γ) ⊙ RMSNorm(y) + β`. At first every
//! block passes its input on unchanged.
//!
//! Where this departs from the paper:
//! - The halves are this project's: RMSNorm with a learned scale where the paper has LayerNorm
//!   without, normalised queries and keys, rotary positions, SwiGLU, no biases.
//! - A condition belongs to a token and not to a whole row, since one row holds images of several
//!   noise levels and text. Text has the condition zero, so its modulation is the learned `b`: a
//!   gated block like any other.
//! - The paper's class label is text in the sequence. Its last map to patches starts at zero; here
//!   it starts small.
//!
//! The fused multi-head kernel has no place for modulations between its norm and its products, so
//! these blocks are computed by the reference, but for their norms, and slower on the CPU.

use burn::prelude::*;
use mm_kernels::modulate;

use crate::condition::Modulation;
use crate::norm::Norm;
use crate::{BackboneConfig, Condition, Init};

/// The modulation of the norm behind the last block.
#[derive(Module, Debug)]
pub(crate) struct FinalLayer {
    modulation: Modulation,
}

impl FinalLayer {
    pub(crate) fn new(config: &BackboneConfig, init: &mut Init) -> Self {
        Self { modulation: Modulation::new(init, config.width, 2) }
    }

    /// Normalises and modulates `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        norm: &Norm,
        condition: Option<&Condition>,
    ) -> Tensor<3> {
        let [batch, tokens, _] = x.dims();
        let [shift, scale] = self.modulation.parts(condition, batch, tokens);
        modulate(norm.forward(x), shift, scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Shake;
    use crate::{
        Backbone, BlockConfig, BlockOptions, KeyRanges, MultiHeadConfig, MultiHeadVariant,
        PositionScheme,
    };

    const WIDTH: usize = 8;

    fn backbone() -> (BackboneConfig, Backbone) {
        let config = BackboneConfig {
            width: WIDTH,
            depth: 2,
            block: BlockConfig::MultiHead(MultiHeadConfig {
                variant: MultiHeadVariant::Dit,
                heads: 2,
                key_heads: 1,
                feed_forward: 16,
            }),
            positions: PositionScheme::RopeTv,
            rotary_base: 100.0,
            norm_epsilon: 1e-6,
        };
        let backbone = Backbone::new(&config, &mut Init::new(1, &Device::flex())).unwrap();
        (config, backbone)
    }

    /// Computes three tokens of text, each of which sees those before it.
    fn hidden(
        config: &BackboneConfig,
        backbone: &Backbone,
        condition: Option<&Condition>,
    ) -> Tensor<3> {
        let ranges = KeyRanges::new(1, 3, vec![[0, 1], [0, 2], [0, 3]]).unwrap();
        let positions = [[0.0; 2], [1.0; 2], [2.0; 2]];
        let context = config.attention_context(&positions, ranges, &Device::flex());
        backbone.forward(tokens(), &context, condition, BlockOptions::default())
    }

    fn tokens() -> Tensor<3> {
        Init::new(2, &Device::flex()).normal([1, 3, WIDTH], 1.0).val()
    }

    /// Makes a row of zeros and one of noise; `index` says which token has which.
    fn condition(index: [i32; 3]) -> Condition {
        let device = Device::flex();
        let noise = Init::new(3, &device).normal([1, WIDTH], 1.0).val();
        let rows = Tensor::cat(vec![Tensor::zeros([1, WIDTH], &device), noise], 0);
        Condition::new(rows, Tensor::from_data(TensorData::new(index.to_vec(), [3]), &device))
    }

    #[test]
    fn at_first_every_block_passes_its_input_on() {
        let (config, backbone) = backbone();
        let found = hidden(&config, &backbone, Some(&condition([0, 1, 1])));
        assert_eq!(found.into_data(), backbone.norm.forward(tokens()).into_data());
    }

    #[test]
    fn a_condition_of_zeros_is_none() {
        let (config, backbone) = backbone();
        let backbone = backbone.map(&mut Shake(Init::new(4, &Device::flex())));
        let none = hidden(&config, &backbone, None);
        let zeros = hidden(&config, &backbone, Some(&condition([0, 0, 0])));
        let most = (zeros - none).abs().max().into_scalar::<f32>();
        assert!(most < 1e-5, "differs by {most}");
    }

    #[test]
    fn a_condition_changes_its_own_token_and_those_that_see_it() {
        let (config, backbone) = backbone();
        let backbone = backbone.map(&mut Shake(Init::new(4, &Device::flex())));
        let of = |index| hidden(&config, &backbone, Some(&condition(index)));
        let (without, with) = (of([0, 0, 0]), of([0, 1, 0]));
        let change = (without - with).abs().max_dim(2).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(change[0], 0.0);
        assert!(change[1] > 1e-2 && change[2] > 1e-4, "{change:?}");
    }
}
