//! The joined model: tokens and patches into one backbone; logits and patches out of it.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::{DType, FloatDType};
use mm_backbone::{Backbone, Cache, Condition, Init, KeyValue, Linear};
use mm_patch::Grid;

use crate::batch::{Inputs, Patches};
use crate::networks::convolution::Convolution;
use crate::networks::pixels::on_pixels;
use crate::networks::time::TimeEmbedding;
use crate::{ConfigError, ModelConfig, UnifiedConfig};

/// One transformer for text and raw pixels.
#[derive(Module, Debug)]
pub struct Unified {
    /// `[vocab, width]`; absent in a model of images alone.
    token_embed: Option<Param<Tensor<2>>>,
    patch_in: Linear,
    /// One table for rows and one for columns, `[patch_pos_embed, width]` each; absent when none
    /// are asked for.
    patch_pos_embed: Option<Vec<Param<Tensor<2>>>>,
    /// Absent in a network that only reads.
    time: Option<TimeEmbedding>,
    backbone: Backbone,
    token_out: Option<Linear>,
    /// Absent in a network that only reads.
    patch_out: Option<Linear>,
    /// The closing convolution over the pixels of a whole image, after `patch_out`.
    convolution: Option<Convolution>,
}

impl Unified {
    /// Fresh weights for a configuration that was checked.
    pub(crate) fn new(
        sizes: &UnifiedConfig,
        config: &ModelConfig,
        init: &mut Init,
    ) -> Result<Self, ConfigError> {
        let (width, numbers) = (sizes.backbone.width, config.patch_dim());
        let text = config.has_text();
        Ok(Self {
            token_embed: text.then(|| init.normal([config.vocab, width], 1.0)),
            patch_in: Linear::new(init, numbers, width, sizes.patch_bias),
            patch_pos_embed: (sizes.patch_pos_embed > 0).then(|| {
                (0..2).map(|_| init.normal([sizes.patch_pos_embed, width], 0.5)).collect()
            }),
            time: TimeEmbedding::new(&config.time, width, init),
            backbone: Backbone::new(&sizes.backbone, init)?,
            token_out: text.then(|| Linear::scaled(init, width, config.vocab, false, 0.5)),
            patch_out: config
                .draws()
                .then(|| Linear::scaled(init, width, numbers, sizes.patch_bias, 0.1)),
            convolution: sizes
                .patch_convolution
                .then(|| Convolution::identity(init, mm_patch::RGB_CHANNELS)),
        })
    }

    pub(crate) fn device(&self) -> Device {
        self.patch_in.weight.val().device()
    }

    pub(crate) fn knows_text(&self) -> bool {
        self.token_embed.is_some()
    }

    /// `[rows * tokens, width]`
    pub(crate) fn hidden(&self, inputs: &Inputs) -> Tensor<2> {
        let (x, condition) = self.embed(inputs);
        flat(self.backbone.forward(x, &inputs.context, condition.as_ref(), inputs.options))
    }

    /// `[rows * tokens, width]`
    pub(crate) fn hidden_cached(
        &self,
        inputs: &Inputs,
        cache: &Cache,
    ) -> (Tensor<2>, Vec<KeyValue>) {
        let (x, condition) = self.embed(inputs);
        let (context, options) = (&inputs.context, inputs.options);
        let (hidden, new) =
            self.backbone.forward_cached(x, context, condition.as_ref(), options, cache);
        (flat(hidden), new)
    }

    /// `[rows * tokens, width]`
    pub(crate) fn hidden_behind(&self, inputs: &Inputs, cache: &Cache) -> Tensor<2> {
        let (x, condition) = self.embed(inputs);
        let (context, options) = (&inputs.context, inputs.options);
        flat(self.backbone.forward_with_prefix(x, context, condition.as_ref(), options, cache))
    }

    /// `[places, width]` -> `[places, vocab]`. Panics for a model of images alone.
    pub(crate) fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.token_out.as_ref().expect("a model with text").forward(hidden)
    }

    /// `[patches, width]` -> `[patches, numbers]`; the closing convolution sees each image whole.
    /// Panics for a model that only reads.
    pub(crate) fn patches(&self, hidden: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        let patches = self.patch_out.as_ref().expect("a model that draws").forward(hidden);
        match &self.convolution {
            Some(convolution) => {
                on_pixels(patches, grids, &mut |images, _| convolution.forward(images))
            }
            None => patches,
        }
    }

    /// Token embeddings, and at image places `W patch + time`: `[rows, tokens, width]`. Where the
    /// blocks ask for a condition, the time is that and is not added.
    fn embed(&self, inputs: &Inputs) -> (Tensor<3>, Option<Condition>) {
        let [_, width] = self.patch_in.weight.val().dims();
        let places = inputs.rows * inputs.tokens;
        let words = match &self.token_embed {
            Some(tokens) => widened(tokens.val().select(0, inputs.ids.clone())),
            None => Tensor::zeros([places, width], &self.device()),
        };
        let mut conditioned = None;
        let all = match &inputs.patches {
            None => words,
            Some(patches) => {
                let mut pixels = self.patch_in.forward(patches.noisy.clone());
                if let Some(time) = &self.time {
                    // [images, width]
                    let times = time.forward(&patches.timesteps, &patches.jumps, &self.device());
                    if self.backbone.is_conditioned() {
                        conditioned = Some(condition(times, patches, places));
                    } else {
                        pixels = pixels + times.select(0, patches.image.clone());
                    }
                }
                for (table, at) in self.patch_pos_embed.iter().flatten().zip(&patches.at) {
                    let last = table.val().dims()[0] as i64 - 1;
                    pixels = pixels + table.val().select(0, at.clone().clamp_max(last));
                }
                Tensor::cat(vec![words, pixels], 0).select(0, patches.source.clone())
            }
        };
        (all.reshape([inputs.rows, inputs.tokens, width]), conditioned)
    }
}

/// Every patch has the row of its image's time, `[images, width]`; text has a row of zeros, which
/// stands before them.
fn condition(times: Tensor<2>, patches: &Patches, places: usize) -> Condition {
    let [_, width] = times.dims();
    let text = Tensor::<1, Int>::zeros([places], &patches.image.device());
    let index = Tensor::cat(vec![text, patches.image.clone() + 1], 0);
    let zeros = Tensor::<2>::zeros([1, width], &times.device());
    let rows = Tensor::cat(vec![zeros.cast(times.dtype()), times], 0);
    Condition::new(rows, index.select(0, patches.source.clone()))
}

/// Embeddings in 32 bits at least, `[…]`: those of 16 bits are widened once they are chosen.
fn widened(x: Tensor<2>) -> Tensor<2> {
    match x.dtype() {
        DType::BF16 | DType::F16 => x.cast(FloatDType::F32),
        _ => x,
    }
}

/// `[rows, tokens, width]` -> `[rows * tokens, width]`.
fn flat(hidden: Tensor<3>) -> Tensor<2> {
    let [rows, tokens, width] = hidden.dims();
    hidden.reshape([rows * tokens, width])
}
