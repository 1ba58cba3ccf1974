//! The joined model: tokens and patches into one backbone; logits and patches out of it.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::{Backbone, Cache, Init, KeyValue, Linear};

use crate::batch::Inputs;
use crate::time::TimeEmbedding;
use crate::{ConfigError, ModelConfig};

/// One transformer for text and raw pixels. It holds weights, nothing else.
#[derive(Module, Debug)]
pub struct Model {
    /// `[vocab, width]`; absent in a model of images alone.
    tokens: Option<Param<Tensor<2>>>,
    patch_in: Linear,
    /// Of rows and of columns, `[patch_places, width]` each; absent when none are asked for.
    places: Option<Vec<Param<Tensor<2>>>>,
    time: TimeEmbedding,
    backbone: Backbone,
    token_out: Option<Linear>,
    patch_out: Linear,
}

impl Model {
    /// Fresh weights, a pure function of the configuration and `seed`.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        Self::drawn(config, &mut Init::new(seed, device))
    }

    /// Fresh weights under the law of `init`.
    pub fn drawn(config: &ModelConfig, init: &mut Init) -> Result<Self, ConfigError> {
        config.validate()?;
        let (width, numbers) = (config.backbone.width, config.patch_numbers());
        let text = config.has_text();
        Ok(Self {
            tokens: text.then(|| init.normal([config.vocab, width], 1.0)),
            patch_in: Linear::new(init, numbers, width, config.patch_bias),
            places: (config.patch_places > 0)
                .then(|| (0..2).map(|_| init.normal([config.patch_places, width], 0.5)).collect()),
            time: TimeEmbedding::new(&config.time, width, init),
            backbone: Backbone::new(&config.backbone, init)?,
            token_out: text.then(|| Linear::scaled(init, [width, config.vocab], false, 0.5)),
            patch_out: Linear::scaled(init, [width, numbers], config.patch_bias, 0.1),
        })
    }

    /// The device that holds the weights.
    pub fn device(&self) -> Device {
        self.patch_in.weight.val().device()
    }

    /// Hidden states of a whole batch, `[rows * tokens, width]`.
    pub fn hidden(&self, inputs: &Inputs) -> Tensor<2> {
        flat(self.backbone.forward(self.embed(inputs), &inputs.attend))
    }

    /// Hidden states, `[rows * tokens, width]`, of tokens that follow a cached prefix, and what the cache takes to include
    /// them.
    pub fn hidden_cached(&self, inputs: &Inputs, cache: &Cache) -> (Tensor<2>, Vec<KeyValue>) {
        let (hidden, new) = self.backbone.forward_cached(self.embed(inputs), &inputs.attend, cache);
        (flat(hidden), new)
    }

    /// Next-token logits: hidden `[places, width]` -> `[places, vocab]`. Panics for a model of images alone.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.token_out.as_ref().expect("a model with text").forward(hidden)
    }

    /// The network's output at patches: hidden `[patches, width]` -> `[patches, numbers]`.
    pub fn patches(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.patch_out.forward(hidden)
    }

    /// Token embeddings, and at image places `W patch + time`: `[rows, tokens, width]`.
    fn embed(&self, inputs: &Inputs) -> Tensor<3> {
        let [_, width] = self.patch_in.weight.val().dims();
        let words = match &self.tokens {
            Some(tokens) => tokens.val().select(0, inputs.ids.clone()),
            None => Tensor::zeros([inputs.rows * inputs.tokens, width], &self.device()),
        };
        let all = match &inputs.patches {
            None => words,
            Some(patches) => {
                let time = self
                    .time
                    .forward(&patches.times, &self.device())
                    .select(0, patches.image.clone());
                let mut pixels = self.patch_in.forward(patches.noisy.clone()) + time;
                for (table, at) in self.places.iter().flatten().zip(&patches.at) {
                    let last = table.val().dims()[0] as i64 - 1;
                    pixels = pixels + table.val().select(0, at.clone().clamp_max(last));
                }
                Tensor::cat(vec![words, pixels], 0).select(0, patches.source.clone())
            }
        };
        all.reshape([inputs.rows, inputs.tokens, width])
    }
}

/// `[rows, tokens, width]` -> `[rows * tokens, width]`.
fn flat(hidden: Tensor<3>) -> Tensor<2> {
    let [rows, tokens, width] = hidden.dims();
    hidden.reshape([rows * tokens, width])
}
