//! Published transformers that only draw: [JiT](JitConfig), [U-ViT](UvitConfig) and
//! [DiT](DitConfig), each in a file that reads like its paper, over one
//! [block](mm_backbone::VisionBlock).
//!
//! They know images and classes: no text, no mask, no cache. Images of one size are computed
//! together, and every image is told its own time and class.

mod classes;
mod config;
mod dit;
mod jit;
mod positions;
mod uvit;

pub use classes::Classes;
pub use config::{DitConfig, JitConfig, UvitConfig, VitConfig};
pub use positions::numbers_of_places;

use burn::prelude::*;
use mm_backbone::{Init, transparent_module};
use mm_patch::Grid;

use crate::ModelConfig;
use crate::batch::{Inputs, Patches};
use crate::networks::pixels::by_size;
use dit::Dit;
use jit::Jit;
use uvit::Uvit;

/// The weights of one of the networks. Which one it is is not part of their names.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one a model: boxing would buy nothing
pub enum Vit {
    /// Just image Transformer.
    Jit(Jit),
    /// A transformer with long skips.
    Uvit(Uvit),
    /// A transformer whose norms are modulated.
    Dit(Dit),
}

transparent_module!(Vit { Jit, Uvit, Dit });

/// Images of one size as a network of this file takes them.
pub(crate) struct SameSize<'a> {
    /// Noisy patches, `[images, patches, numbers]`.
    pub noisy: Tensor<3>,
    /// Rows and columns.
    pub grid: Grid,
    /// The time of every image.
    pub timesteps: &'a [f64],
    /// The class of every image.
    pub classes: &'a [Option<u32>],
}

/// Is shown the tokens before the first block and behind every block, `[images, tokens, channels]`.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(&Tensor<3>);

impl Vit {
    /// Makes fresh weights for a configuration that was checked.
    pub(crate) fn new(sizes: &VitConfig, config: &ModelConfig, init: &mut Init) -> Self {
        match sizes {
            VitConfig::Jit(sizes) => Self::Jit(Jit::new(sizes, config, init)),
            VitConfig::Uvit(sizes) => Self::Uvit(Uvit::new(sizes, config, init)),
            VitConfig::Dit(sizes) => Self::Dit(Dit::new(sizes, config, init)),
        }
    }

    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Jit(jit) => jit.device(),
            Self::Uvit(uvit) => uvit.device(),
            Self::Dit(dit) => dit.device(),
        }
    }

    /// The output at every patch, and zeros where there is none: `[rows * tokens, numbers]`.
    pub(crate) fn hidden(&self, inputs: &Inputs) -> Tensor<2> {
        let places = inputs.rows * inputs.tokens;
        match &inputs.patches {
            None => Tensor::zeros([places, 1], &self.device()),
            Some(patches) => {
                let drawn = self.patches(patches, &mut |_| ());
                let none = Tensor::zeros([places, drawn.dims()[1]], &self.device());
                Tensor::cat(vec![none, drawn], 0).select(0, patches.source.clone())
            }
        }
    }

    /// The tokens before the first block and behind every block, `[images, tokens, channels]` each;
    /// images of several sizes one size after another.
    pub(crate) fn token_states(&self, inputs: &Inputs) -> Vec<Tensor<3>> {
        let mut states = vec![];
        if let Some(patches) = &inputs.patches {
            self.patches(patches, &mut |x| states.push(x.clone()));
        }
        states
    }

    /// `[patches, numbers]` of all images.
    fn patches(&self, patches: &Patches, watch: Watch<'_>) -> Tensor<2> {
        by_size(patches.noisy.clone(), &patches.grids, &mut |noisy, grid, which| {
            let times: Vec<f64> = which.iter().map(|image| patches.timesteps[*image]).collect();
            let classes: Vec<_> = which.iter().map(|image| patches.classes[*image]).collect();
            self.forward(SameSize { noisy, grid, timesteps: &times, classes: &classes }, watch)
        })
    }

    /// The pixels of latents, `[images, channels, rows, cols]` -> `[images, colors, height,
    /// width]`; nothing for a network of pixels.
    pub(crate) fn decode(&self, latents: Tensor<4>) -> Option<Tensor<4>> {
        match self {
            Self::Dit(dit) => dit.decode(latents),
            Self::Jit(_) | Self::Uvit(_) => None,
        }
    }

    /// `[images, patches, numbers]`
    pub(crate) fn forward(&self, images: SameSize<'_>, watch: Watch<'_>) -> Tensor<3> {
        match self {
            Self::Jit(jit) => jit.forward(images, watch),
            Self::Uvit(uvit) => uvit.forward(images, watch),
            Self::Dit(dit) => dit.forward(images, watch),
        }
    }
}

#[cfg(test)]
mod tests;
