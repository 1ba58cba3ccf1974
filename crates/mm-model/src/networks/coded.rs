//! Images as codes in an enlarged vocabulary: one transformer over words and codes, with one
//! softmax, as in LWM (Liu et al. 2024, arXiv:2402.08268) and Chameleon (2024, arXiv:2405.09818):
//!
//! ```text
//! [BEGIN] r e d [ROWS=2] [COLS=2] [IMG] c c c c [/IMG] [END]     c: vocab + code, in reading order
//! ```
//!
//! A batch has pixels at the places of an image, as for every network. A frozen codec makes a code
//! of every patch, which is a token like any other: it sees what stands before it, and the token
//! before it is trained to predict it. Where a code stands on the plane is where its patch stands.

use burn::module::Module;
use burn::prelude::*;
use mm_backbone::{Cache, Init, KeyValue};
use mm_codec::CodeAutoencoder;
use mm_patch::{Grid, patchify, unpatchify};

use crate::batch::Inputs;
use crate::config::CodedConfig;
use crate::networks::unified::Unified;
use crate::{ConfigError, ModelConfig, NetworkConfig};

/// A transformer over words and codes, and the codec that makes codes of images.
#[derive(Module, Debug)]
pub struct Coded {
    network: Unified,
    codec: CodeAutoencoder,
    /// The number of token ids that are no codes.
    words: usize,
}

impl Coded {
    /// Fresh weights for a configuration that was checked, those of the codec too.
    pub(crate) fn new(
        sizes: &CodedConfig,
        config: &ModelConfig,
        init: &mut Init,
    ) -> Result<Self, ConfigError> {
        // No patch goes through the transformer, so its maps of patches are of the least size.
        let inner = ModelConfig {
            vocab: config.vocab + sizes.codec.codes(),
            patch: 1,
            network: NetworkConfig::Unified(sizes.unified.clone()),
            ..config.clone()
        };
        Ok(Self {
            network: Unified::new(&sizes.unified, &inner, init)?,
            codec: CodeAutoencoder::drawn(&sizes.codec, init),
            words: config.vocab,
        })
    }

    pub(crate) fn device(&self) -> Device {
        self.network.device()
    }

    /// Returns the network with the weights of a trained codec.
    pub(crate) fn with_codec(self, codec: CodeAutoencoder) -> Self {
        Self { codec, ..self }
    }

    /// Returns the codec.
    pub(crate) fn codec(&self) -> &CodeAutoencoder {
        &self.codec
    }

    /// Returns the token id of the first code.
    pub(crate) fn first_code(&self) -> usize {
        self.words
    }

    /// `[rows * tokens, width]`
    pub(crate) fn hidden(&self, inputs: &Inputs) -> Tensor<2> {
        self.network.hidden(&self.coded(inputs))
    }

    /// `[rows * tokens, width]`
    pub(crate) fn hidden_cached(
        &self,
        inputs: &Inputs,
        cache: &Cache,
    ) -> (Tensor<2>, Vec<KeyValue>) {
        self.network.hidden_cached(&self.coded(inputs), cache)
    }

    /// `[rows * tokens, width]`
    pub(crate) fn hidden_behind(&self, inputs: &Inputs, cache: &Cache) -> Tensor<2> {
        self.network.hidden_behind(&self.coded(inputs), cache)
    }

    /// Logits of words, `[places, width]` -> `[places, vocab]`.
    pub(crate) fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.network.logits(hidden).narrow(1, 0, self.words)
    }

    /// Logits of codes, `[places, width]` -> `[places, codes]`.
    pub(crate) fn code_logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let codes = self.codec.config().codes();
        self.network.logits(hidden).narrow(1, self.words, codes)
    }

    /// Logits of words and codes under one softmax, `[places, width]` -> `[places, vocab + codes]`.
    pub(crate) fn all_logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.network.logits(hidden)
    }

    /// Hidden states, `[rows * tokens, width]`, of inputs that [hold codes](Self::coded).
    pub(crate) fn hidden_of_codes(&self, inputs: &Inputs) -> Tensor<2> {
        self.network.hidden(inputs)
    }

    /// Decodes codes of images in reading order to patches in -1..1: `[images, cells]` -> `[images,
    /// cells, patch_dim]`.
    pub(crate) fn patches_of(&self, codes: Tensor<2, Int>, grid: Grid) -> Tensor<3> {
        patchify(self.codec.images(codes, [grid.rows, grid.cols]), grid).clamp(-1.0, 1.0)
    }

    /// Puts the ids of codes where the patches of images stand.
    pub(crate) fn coded(&self, inputs: &Inputs) -> Inputs {
        let Some(patches) = &inputs.patches else { return inputs.clone() };
        let codes = self.codes_of(patches.noisy.clone(), &patches.grids) + self.words as i64;
        let all = Tensor::cat(vec![inputs.ids.clone(), codes], 0);
        Inputs { ids: all.select(0, patches.source.clone()), patches: None, ..inputs.clone() }
    }

    /// Encodes images of these `grids`, whose patches stand one after another: `[patches,
    /// patch_dim]` -> `[patches]`.
    fn codes_of(&self, patches: Tensor<2>, grids: &[Grid]) -> Tensor<1, Int> {
        let [_, numbers] = patches.dims();
        let codec = self.codec.valid(); // which is frozen
        let (mut codes, mut start) = (vec![], 0);
        // Images of one size that follow each other are encoded together.
        for alike in grids.chunk_by(|one, next| one == next) {
            let (grid, images) = (alike[0], alike.len());
            let all = images * grid.tokens();
            let some = patches.clone().narrow(0, start, all);
            let pixels = unpatchify(some.reshape([images, grid.tokens(), numbers]), grid);
            codes.push(codec.codes(pixels.without_autodiff()).reshape([all]));
            start += all;
        }
        Tensor::cat(codes, 0)
    }
}
