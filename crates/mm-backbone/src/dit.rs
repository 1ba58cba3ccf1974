//! DiT's block with adaLN-Zero (Peebles & Xie 2022, arXiv:2212.09748, section 3.2), around the halves of the multi-head block:
//!
//! ```text
//! β₁, γ₁, α₁, β₂, γ₂, α₂ = W swish(c) + b           c: the token's condition; W and b start at zero
//! h = x + α₁ ⊙ Attention((1 + γ₁) ⊙ RMSNorm(x) + β₁)
//! y = h + α₂ ⊙ SwiGLU((1 + γ₂) ⊙ RMSNorm(h) + β₂)
//! ```
//!
//! and behind the last block the norm is modulated alike, `(1 + γ) ⊙ RMSNorm(y) + β`. At first every block passes its input
//! on unchanged.
//!
//! Where this departs from the paper:
//! - The halves are this project's: RMSNorm with a learnt scale where the paper has LayerNorm without, normalised queries and
//!   keys, rotary positions, SwiGLU, no biases.
//! - A condition belongs to a token and not to a whole row, since one row holds images of several noise levels and text. Text
//!   has the condition zero, so its modulation is the learnt `b`: an ordinary gated block.
//! - The paper's class label is text in the sequence. Its last map to patches starts at zero; here it starts small.
//!
//! The fused multi-head kernel has no place for modulations between its norm and its products, so these blocks are ordinary
//! operations, but for their norms, and slower on the CPU.

use burn::prelude::*;

use crate::cache::KeyValue;
use crate::condition::{Modulation, modulate};
use crate::transformer::Transformer;
use crate::{Attend, BackboneConfig, Init, RmsNorm};

/// One modulated block with its two gated residual connections.
#[derive(Module, Debug)]
pub struct Dit {
    block: Transformer,
    modulation: Modulation,
}

impl Dit {
    pub(crate) fn new(
        config: &BackboneConfig,
        heads: [usize; 2],
        feed_forward: usize,
        init: &mut Init,
    ) -> Self {
        let block = Transformer::new(config, heads, feed_forward, init);
        Self { block, modulation: Modulation::new(init, config.width, 6) }
    }

    /// `[batch, tokens, channels]` -> the same shape, and the keys and values of these tokens.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        attend: &Attend,
        past: Option<&KeyValue>,
    ) -> (Tensor<3>, KeyValue) {
        let [shift_1, scale_1, gate_1, shift_2, scale_2, gate_2] = self.modulation.parts(attend);
        let normed = self.block.attention_norm.forward(x.clone());
        let (mixed, new) = self.block.mix(modulate(normed, [shift_1, scale_1]), attend, past);
        let h = x + mixed * gate_1;
        let normed = self.block.feed_norm.forward(h.clone());
        let fed = self.block.feed(modulate(normed, [shift_2, scale_2]), attend);
        (h + fed * gate_2, new)
    }
}

/// The closing norm's modulation.
#[derive(Module, Debug)]
pub struct Closing {
    modulation: Modulation,
}

impl Closing {
    pub(crate) fn new(config: &BackboneConfig, init: &mut Init) -> Self {
        Self { modulation: Modulation::new(init, config.width, 2) }
    }

    /// `[batch, tokens, channels]` -> the same shape.
    pub(crate) fn forward(&self, x: Tensor<3>, norm: &RmsNorm, attend: &Attend) -> Tensor<3> {
        modulate(norm.forward(x), self.modulation.parts(attend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Shake;
    use crate::{Backbone, BlockConfig, Condition, KeyRanges, PositionScheme};

    const WIDTH: usize = 8;

    fn backbone() -> (BackboneConfig, Backbone) {
        let config = BackboneConfig {
            width: WIDTH,
            depth: 2,
            block: BlockConfig::Dit { heads: 2, key_heads: 1, feed_forward: 16 },
            positions: PositionScheme::RopeTv,
            rotary_base: 100.0,
            norm_epsilon: 1e-6,
        };
        let backbone = Backbone::new(&config, &mut Init::new(1, &Device::flex())).unwrap();
        (config, backbone)
    }

    fn attend(config: &BackboneConfig) -> Attend {
        let ranges = KeyRanges::new(1, 3, vec![[0, 1], [0, 2], [0, 3]]).unwrap();
        Attend::new(config, &[[0.0; 2], [1.0; 2], [2.0; 2]], ranges, &Device::flex())
    }

    fn tokens() -> Tensor<3> {
        Init::new(2, &Device::flex()).normal([1, 3, WIDTH], 1.0).val()
    }

    /// A row of zeros and one of noise; `index` says which token has which.
    fn condition(index: [i32; 3]) -> Condition {
        let device = Device::flex();
        let noise = Init::new(3, &device).normal([1, WIDTH], 1.0).val();
        let rows = Tensor::cat(vec![Tensor::zeros([1, WIDTH], &device), noise], 0);
        Condition::new(rows, Tensor::from_data(TensorData::new(index.to_vec(), [3]), &device))
    }

    #[test]
    fn at_first_every_block_passes_its_input_on() {
        let (config, backbone) = backbone();
        let attend = attend(&config).with_condition(condition([0, 1, 1]));
        let closing = backbone.norm.forward(tokens());
        assert_eq!(backbone.forward(tokens(), &attend).into_data(), closing.into_data());
    }

    #[test]
    fn a_condition_of_zeros_is_none() {
        let (config, backbone) = backbone();
        let backbone = backbone.map(&mut Shake(Init::new(4, &Device::flex())));
        let none = backbone.forward(tokens(), &attend(&config));
        let zeros = attend(&config).with_condition(condition([0, 0, 0]));
        let most = (backbone.forward(tokens(), &zeros) - none).abs().max().into_scalar::<f32>();
        assert!(most < 1e-5, "differs by {most}");
    }

    #[test]
    fn a_condition_changes_its_own_token_and_those_that_see_it() {
        let (config, backbone) = backbone();
        let backbone = backbone.map(&mut Shake(Init::new(4, &Device::flex())));
        let hidden =
            |index| backbone.forward(tokens(), &attend(&config).with_condition(condition(index)));
        let (without, with) = (hidden([0, 0, 0]), hidden([0, 1, 0]));
        let change = (without - with).abs().max_dim(2).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(change[0], 0.0);
        assert!(change[1] > 1e-2 && change[2] > 1e-4, "{change:?}");
    }
}
