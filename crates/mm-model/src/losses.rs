//! What a batch teaches, as an open list of loss terms: next-token cross-entropy where text is a
//! target, and weighted squared error where patches are.
//!
//! `total = Σ weight · value` over the terms, each value a mean; [`weighted_sum`] is the only place
//! that computes it. A trainer of one's own may add terms to the list.

use std::ops::{Add, Mul};

use burn::prelude::*;
use mm_codec::{Adversarial, Codec};
use mm_diffusion::Prediction;
use mm_text::{next_token_loss, token_surprises};
use serde::{Deserialize, Serialize};

use crate::Model;
use crate::batch::Batch;
use crate::networks::{Coded, autoencoder};

/// The name of the cross-entropy of text, in nats per token.
pub const TEXT_LOSS: &str = "text";
/// The name of the weighted squared error of patches.
pub const IMAGE_LOSS: &str = "image";

/// The name of what is minimized of a codec's latents beside the error of its images.
pub const LATENT_LOSS: &str = "latent";
/// The name of what a codec's decoder minimizes to be taken for real, with its adaptive weight.
pub const ADVERSARIAL_LOSS: &str = "adversarial";
/// The name of what a codec's discriminator minimizes.
pub const DISCRIMINATOR_LOSS: &str = "discriminator";

/// Says over what the squared error of images is a mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// The mean is over every value of every target patch.
    #[default]
    Mean,
    /// The mean is over the target images, each the sum over its rows, columns and colors, as in
    /// Su's scripts.
    Sum,
}

impl Reduction {
    /// Returns the factor of the mean over the `values` of so many target images.
    pub fn factor(self, values: usize, images: usize) -> f64 {
        match self {
            Self::Mean => 1.0,
            Self::Sum => values as f64 / images.max(1) as f64,
        }
    }

    /// Returns the number of items that the mean over `values` of so many target images is taken
    /// over, by which means of several batches are weighed.
    pub fn items(self, values: usize, images: usize) -> usize {
        match self {
            Self::Mean => values,
            Self::Sum => images,
        }
    }
}

/// One named part of the loss.
#[derive(Debug, Clone)]
pub struct LossTerm {
    /// The name in reports and in `metrics.jsonl`.
    pub name: &'static str,
    /// The mean over the items: `[1]`.
    pub value: Tensor<1>,
    /// The number of items in the mean, such as target tokens or target patches.
    pub count: usize,
}

/// The loss terms of one batch. A term without items is absent.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    /// The terms, in the order in which they are added up.
    pub list: Vec<LossTerm>,
    /// The unweighted squared error of every target patch, a mean over its values, to look at:
    /// `[target patches]`.
    pub patch_errors: Option<Tensor<1>>,
}

impl Losses {
    /// Returns the value of a term, `[1]`, if the batch has it.
    pub fn value(&self, name: &str) -> Option<Tensor<1>> {
        self.list.iter().find(|term| term.name == name).map(|term| term.value.clone())
    }

    /// Returns the total loss, `[1]`, with a weight for each name; nothing if there is no term.
    pub fn total(&self, weight: impl Fn(&str) -> f64) -> Option<Tensor<1>> {
        weighted_sum(self.list.iter().map(|term| (weight(term.name), term.value.clone())))
    }
}

/// Computes `Σ weight · value`, from the first term to the last; nothing of no terms.
///
/// ```
/// assert_eq!(mm_model::weighted_sum([(2.0, 1.5), (1.0, 0.25)]), Some(3.25));
/// assert_eq!(mm_model::weighted_sum::<f64>([]), None);
/// ```
pub fn weighted_sum<T>(terms: impl IntoIterator<Item = (f64, T)>) -> Option<T>
where
    T: Mul<f64, Output = T> + Add<Output = T>,
{
    terms.into_iter().map(|(weight, value)| value * weight).reduce(|sum, term| sum + term)
}

impl Model {
    /// Computes the cross-entropy of every target token in nats, `[target tokens]`; nothing where
    /// none is a target or the network knows no text.
    pub fn surprises(&self, batch: &Batch) -> Option<Tensor<1>> {
        let [tokens, ids] = batch.targets.text.as_ref().filter(|_| self.knows_text())?;
        let hidden = self.hidden(&batch.inputs).select(0, tokens.clone());
        Some(token_surprises(self.logits(hidden), ids.clone()))
    }

    /// Computes the cross-entropy in nats of every code of the target images among all codes,
    /// without the words: `[codes]`, in the order in which they are written. It is nothing for a
    /// network that does not write codes one after another. Where bytes are codes, the sum over an
    /// image is its exact negative log-likelihood.
    pub fn code_surprises(&self, batch: &Batch) -> Option<Tensor<1>> {
        let coded = self.coded().filter(|coded| coded.mask().is_none())?;
        let target = batch.targets.image.as_ref()?;
        let (inputs, codes) = coded.with_codes(&batch.inputs);
        let hidden = coded.hidden_of_codes(&inputs).select(0, target.tokens.clone() - 1);
        let codes = codes?.select(0, target.items.clone()) - coded.first_code() as i64;
        Some(token_surprises(coded.code_logits(hidden), codes))
    }

    /// Computes the loss terms [`TEXT_LOSS`] and [`IMAGE_LOSS`] of one batch, each `[1]`. A network
    /// without words has none of text; a codec has [`LATENT_LOSS`] instead, and its image loss is
    /// the error of the images that it decodes, whatever the noise. The image loss of a
    /// transformer over codes is their cross-entropy, in nats per code.
    pub fn losses(&self, batch: &Batch, prediction: Prediction) -> Losses {
        if let Self::Codec(codec) = self {
            return codec_losses(codec, batch);
        }
        if let Self::Coded(coded) = self {
            return coded_losses(coded, batch);
        }
        let hidden = self.hidden(&batch.inputs);
        let mut losses = Losses::default();
        if let Some([tokens, ids]) = batch.targets.text.as_ref().filter(|_| self.knows_text()) {
            let logits = self.logits(hidden.clone().select(0, tokens.clone()));
            let count = ids.dims()[0];
            let weights = Tensor::ones([count], &logits.device());
            let value = next_token_loss(logits, ids.clone(), weights);
            losses.list.push(LossTerm { name: TEXT_LOSS, value, count });
        }
        if let Some(target) = &batch.targets.image {
            let patches = hidden.select(0, target.tokens.clone());
            let output = self.patches(patches, &target.grids);
            let wanted =
                prediction.target(target.clean.clone().unsqueeze(), target.eps.clone().unsqueeze());
            let error = output.unsqueeze::<3>() - wanted; // [1, patches, values]
            let error = error.square().mean_dim(2).squeeze_dim::<2>(0); // [patches, 1]
            let count = error.dims()[0];
            losses.patch_errors = Some(error.clone().detach().squeeze_dim(1)); // [patches]
            let value = (error * target.weight.clone()).mean();
            losses.list.push(LossTerm { name: IMAGE_LOSS, value, count });
        }
        losses
    }
}

/// Computes the losses of a codec, each `[1]`: the squared error of the target images that it
/// decodes, what is minimized of their latents, and what a discriminator adds.
fn codec_losses(codec: &Codec, batch: &Batch) -> Losses {
    let Some(target) = &batch.targets.image else { return Losses::default() };
    let decoded = autoencoder::decoded(codec, target, batch.inputs.options.precision);
    let error = (decoded.patches - target.clean.clone()).square().mean_dim(1); // [patches, 1]
    let count = error.dims()[0];
    let mut list = vec![
        LossTerm { name: IMAGE_LOSS, value: error.clone().mean(), count },
        LossTerm { name: LATENT_LOSS, value: decoded.latent, count },
    ];
    if let Some(Adversarial { adversarial, discriminator }) = decoded.adversarial {
        list.push(LossTerm { name: ADVERSARIAL_LOSS, value: adversarial, count });
        list.push(LossTerm { name: DISCRIMINATOR_LOSS, value: discriminator, count });
    }
    let patch_errors = Some(error.detach().squeeze_dim(1)); // [patches]
    Losses { list, patch_errors }
}

/// Computes the losses of a transformer over words and codes, each `[1]`: the cross-entropy of
/// words and of codes in nats, both under one softmax. A code is predicted from the place before
/// it, or where it stands if it is masked.
fn coded_losses(coded: &Coded, batch: &Batch) -> Losses {
    let (inputs, codes) = coded.with_codes(&batch.inputs);
    let hidden = coded.hidden_of_codes(&inputs);
    let term = |name, places: Tensor<1, Int>, ids: Tensor<1, Int>| {
        let logits = coded.all_logits(hidden.clone().select(0, places));
        let count = ids.dims()[0];
        let weights = Tensor::ones([count], &logits.device());
        LossTerm { name, value: next_token_loss(logits, ids, weights), count }
    };
    let mut losses = Losses::default();
    if let Some([places, ids]) = &batch.targets.text {
        losses.list.push(term(TEXT_LOSS, places.clone(), ids.clone()));
    }
    if let (Some(target), Some(codes)) = (&batch.targets.image, codes) {
        let before = i64::from(coded.mask().is_none());
        let ids = codes.select(0, target.items.clone());
        losses.list.push(term(IMAGE_LOSS, target.tokens.clone() - before, ids));
    }
    losses
}
