//! The two losses: next-token cross-entropy where text is learnt, weighted squared error where patches are learnt.
//!
//! `total = text_weight · text + image_weight · image`, every term a mean.

use burn::prelude::*;
use mm_diffusion::Prediction;
use mm_text::next_token_loss;
use serde::{Deserialize, Serialize};

use crate::Model;
use crate::batch::Batch;

/// Over what the squared error of images is a mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Over every number of every learnt patch.
    #[default]
    Mean,
    /// Over the learnt images, each the sum over its rows, columns and colours, as in the seed.
    Sum,
}

impl Reduction {
    /// What the mean over the learnt numbers of some images is multiplied by.
    pub fn factor(self, numbers: usize, images: usize) -> f64 {
        match self {
            Self::Mean => 1.0,
            Self::Sum => numbers as f64 / images.max(1) as f64,
        }
    }
}

/// Both losses of a batch; a missing one had nothing to learn from.
#[derive(Debug, Clone)]
pub struct Losses {
    /// Mean cross-entropy, nats a token: `[1]`.
    pub text: Option<Tensor<1>>,
    /// Mean over learnt patches of weight · squared error, a mean over a patch's numbers: `[1]`.
    pub image: Option<Tensor<1>>,
    /// The unweighted squared error of every learnt patch, a mean over its numbers, to look at: `[learnt patches]`.
    pub errors: Option<Tensor<1>>,
}

impl Model {
    /// The losses of one batch, each `[1]`; a network without words has none of text.
    pub fn losses(&self, batch: &Batch, prediction: Prediction) -> Losses {
        let hidden = self.hidden(&batch.inputs);
        let text = batch.targets.text.as_ref().filter(|_| self.knows_text());
        let text = text.map(|[places, ids]| {
            let logits = self.logits(hidden.clone().select(0, places.clone()));
            let weights = Tensor::ones([ids.dims()[0]], &logits.device());
            next_token_loss(logits, ids.clone(), weights)
        });
        let (image, errors) = batch.targets.image.as_ref().map_or((None, None), |target| {
            let output =
                self.patches(hidden.clone().select(0, target.tokens.clone()), &target.grids);
            let wanted =
                prediction.target(target.clean.clone().unsqueeze(), target.eps.clone().unsqueeze());
            let error = output.unsqueeze::<3>() - wanted; // [1, patches, numbers]
            let error = error.square().mean_dim(2).squeeze_dim::<2>(0); // [patches, 1]
            let errors = error.clone().detach().squeeze_dim(1); // [patches]
            (Some((error * target.weight.clone()).mean()), Some(errors))
        });
        Losses { text, image, errors }
    }
}

impl Losses {
    /// `text_weight · text + image_weight · image`, `[1]`; absent if nothing was learnt.
    pub fn total(&self, text_weight: f64, image_weight: f64) -> Option<Tensor<1>> {
        let text = self.text.clone().map(|loss| loss * text_weight);
        let image = self.image.clone().map(|loss| loss * image_weight);
        match (text, image) {
            (Some(text), Some(image)) => Some(text + image),
            (text, image) => text.or(image),
        }
    }
}
