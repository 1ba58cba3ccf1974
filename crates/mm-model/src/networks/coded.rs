//! Images as codes in an enlarged vocabulary: one transformer over words and codes, with one
//! softmax, as in LWM (Liu et al. 2024, arXiv:2402.08268) and Chameleon (2024, arXiv:2405.09818):
//!
//! ```text
//! [BEGIN] r e d [ROWS=2] [COLS=2] [IMG] c c c c [/IMG] [END]     c: vocab + code, in some order
//! ```
//!
//! A batch has pixels at the places of an image, as for every network. A frozen codec makes a code
//! of every patch, or every byte of a pixel is a code itself, as in PixelRNN (van den Oord et al.
//! 2016, arXiv:1601.06759) and the Sparse Transformer (Child et al. 2019, arXiv:1904.10509). A code
//! is a token like any other: it sees what stands before it, and the token before it is trained to
//! predict it. Where a code stands on the plane is where its patch stands, or its byte.
//!
//! In the order [`Masked`](crate::Order::Masked) the codes of an image see each other. Some are
//! masked, and each of those is predicted where it stands.

use burn::module::Module;
use burn::prelude::*;
use mm_backbone::{Cache, Init, KeyValue};
use mm_codec::CodeAutoencoder;
use mm_patch::{Grid, patchify, unpatchify};

use crate::batch::Inputs;
use crate::config::{BytesConfig, CodedConfig, ImageCodes};
use crate::networks::unified::Unified;
use crate::{ConfigError, ImageLayout, ModelConfig, NetworkConfig};

/// A transformer over words and codes, and what makes codes of images.
#[derive(Module, Debug)]
pub struct Coded {
    network: Unified,
    /// Absent where bytes are codes.
    codec: Option<CodeAutoencoder>,
    /// The number of token ids that are no codes.
    words: usize,
    #[module(skip)]
    sizes: CodedConfig,
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
            vocab: config.vocab + sizes.token_ids(),
            patch: 1,
            network: NetworkConfig::Unified(sizes.unified.clone()),
            ..config.clone()
        };
        Ok(Self {
            network: Unified::new(&sizes.unified, &inner, init)?,
            codec: match &sizes.codes {
                ImageCodes::Codec(codec) => Some(CodeAutoencoder::drawn(codec, init)),
                ImageCodes::Bytes(_) => None,
            },
            words: config.vocab,
            sizes: sizes.clone(),
        })
    }

    pub(crate) fn device(&self) -> Device {
        self.network.device()
    }

    /// Returns the network with the weights of a trained codec.
    pub(crate) fn with_codec(self, codec: CodeAutoencoder) -> Self {
        Self { codec: Some(codec), ..self }
    }

    /// Returns the codec; there is none where bytes are codes.
    pub(crate) fn codec(&self) -> Option<&CodeAutoencoder> {
        self.codec.as_ref()
    }

    /// Returns which places the codes of an image take.
    pub(crate) fn layout(&self) -> ImageLayout {
        self.sizes.layout()
    }

    /// Returns the token id of the first code.
    pub(crate) fn first_code(&self) -> usize {
        self.words
    }

    /// Returns the token id that stands for a masked code, if codes are masked.
    pub(crate) fn mask(&self) -> Option<u32> {
        self.sizes.mask(self.words)
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
        self.network.logits(hidden).narrow(1, self.words, self.sizes.codes.count())
    }

    /// Logits of words and codes under one softmax, `[places, width]` -> `[places, vocab + codes]`.
    pub(crate) fn all_logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.network.logits(hidden)
    }

    /// Hidden states, `[rows * tokens, width]`, of inputs that [hold codes](Self::coded).
    pub(crate) fn hidden_of_codes(&self, inputs: &Inputs) -> Tensor<2> {
        self.network.hidden(inputs)
    }

    /// Decodes codes of images in reading order to patches in -1..1: `[images, cells]`, or as many
    /// as patches have numbers where those are codes -> `[images, cells, patch_dim]`.
    pub(crate) fn patches_of(&self, codes: Tensor<2, Int>, grid: Grid) -> Tensor<3> {
        match (&self.sizes.codes, &self.codec) {
            (ImageCodes::Bytes(bytes), _) => {
                let [images, _] = codes.dims();
                values_of(bytes, codes).reshape([images, grid.tokens(), grid.patch_dim()])
            }
            (ImageCodes::Codec(_), Some(codec)) => {
                patchify(codec.images(codes, [grid.rows, grid.cols]), grid).clamp(-1.0, 1.0)
            }
            (ImageCodes::Codec(_), None) => unreachable!("it is made with one"),
        }
    }

    /// Puts the ids of codes where the patches of images stand, but for those that are masked.
    pub(crate) fn coded(&self, inputs: &Inputs) -> Inputs {
        self.with_codes(inputs).0
    }

    /// Does what [`Self::coded`] does, and returns the ids of all codes too, image by image, each
    /// in reading order: `[patches]`, or as many as patches have numbers where those are codes.
    /// Without images there are none.
    pub(crate) fn with_codes(&self, inputs: &Inputs) -> (Inputs, Option<Tensor<1, Int>>) {
        let Some(patches) = &inputs.patches else { return (inputs.clone(), None) };
        let codes = self.codes_of(patches.noisy.clone(), &patches.grids) + self.words as i64;
        let all = Tensor::cat(vec![inputs.ids.clone(), codes.clone()], 0);
        let ids = all.select(0, patches.source.clone());
        (Inputs { ids, patches: None, ..inputs.clone() }, Some(codes))
    }

    /// Encodes images of these `grids`, whose patches stand one after another: `[patches,
    /// patch_dim]` -> `[patches]`, or all their numbers where those are codes.
    fn codes_of(&self, patches: Tensor<2>, grids: &[Grid]) -> Tensor<1, Int> {
        let [all, numbers] = patches.dims();
        let codec = match (&self.sizes.codes, &self.codec) {
            (ImageCodes::Bytes(bytes), _) => {
                return codes_of_values(bytes, patches).reshape([all * numbers]);
            }
            (ImageCodes::Codec(_), Some(codec)) => codec.valid(), // which is frozen
            (ImageCodes::Codec(_), None) => unreachable!("it is made with one"),
        };
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

/// Returns the level of every value in -1..1, `[patches, patch_dim]` -> the same shape.
fn codes_of_values(bytes: &BytesConfig, values: Tensor<2>) -> Tensor<2, Int> {
    let most = bytes.levels as f64 - 1.0;
    let steps = (values.without_autodiff() + 1.0) * (most / 2.0);
    (steps + 0.5).floor().clamp(0.0, most).int()
}

/// Returns the value in -1..1 of every level, `[images, codes]` -> the same shape.
fn values_of(bytes: &BytesConfig, codes: Tensor<2, Int>) -> Tensor<2> {
    codes.float() * (2.0 / (bytes.levels as f64 - 1.0)) - 1.0
}
