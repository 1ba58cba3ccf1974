//! The network behind one interface: the joined transformer, or a network that only draws.

mod convolution;
mod pixels;
mod time;
mod unet;
mod unified;
mod vit;

pub use unet::UnetConfig;
pub use vit::{Classes, DitConfig, JitConfig, UvitConfig, VitConfig, numbers_of_places};

use burn::prelude::*;
use mm_backbone::{Cache, Init, KeyValue, transparent_module};
use mm_patch::Grid;

use crate::batch::Inputs;
use crate::{ConfigError, ModelConfig, NetworkConfig};
use unet::Unet;
use unified::Unified;
use vit::Vit;

/// One network. It holds weights, nothing else.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one a run: boxing would buy nothing
pub enum Model {
    /// One transformer for text and raw pixels.
    Unified(Unified),
    /// A convolutional network of images alone.
    Unet(Unet),
    /// A published transformer that only draws.
    Vit(Vit),
}

impl Model {
    /// Fresh weights, a pure function of the configuration and `seed`.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        Self::drawn(config, &mut Init::new(seed, device))
    }

    /// Fresh weights under the law of `init`.
    pub fn drawn(config: &ModelConfig, init: &mut Init) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(match &config.network {
            NetworkConfig::Unet(unet) => Self::Unet(Unet::new(unet, &config.time, init)),
            NetworkConfig::Vit(vit) => Self::Vit(Vit::new(vit, config, init)),
            NetworkConfig::Unified(unified) => Self::Unified(Unified::new(unified, config, init)?),
        })
    }

    /// The device that holds the weights.
    pub fn device(&self) -> Device {
        match self {
            Self::Unified(unified) => unified.device(),
            Self::Unet(unet) => unet.device(),
            Self::Vit(vit) => vit.device(),
        }
    }

    /// Whether the network takes and writes text, and sees what stands before an image.
    pub fn knows_text(&self) -> bool {
        matches!(self, Self::Unified(unified) if unified.knows_text())
    }

    /// Hidden states of a whole batch, `[rows * tokens, channels]`: what [`logits`](Self::logits)
    /// and [`patches`](Self::patches) take.
    pub fn hidden(&self, inputs: &Inputs) -> Tensor<2> {
        match self {
            Self::Unified(unified) => unified.hidden(inputs),
            Self::Unet(unet) => unet.hidden(inputs),
            Self::Vit(vit) => vit.hidden(inputs),
        }
    }

    /// Hidden states, `[rows * tokens, channels]`, of tokens that follow a cached prefix, and what
    /// the cache takes to include them: nothing for a network that only draws.
    pub fn hidden_cached(&self, inputs: &Inputs, cache: &Cache) -> (Tensor<2>, Vec<KeyValue>) {
        match self {
            Self::Unified(unified) => unified.hidden_cached(inputs, cache),
            Self::Unet(unet) => (unet.hidden(inputs), vec![]),
            Self::Vit(vit) => (vit.hidden(inputs), vec![]),
        }
    }

    /// Hidden states, `[rows * tokens, channels]`, of tokens that follow a cached prefix and will
    /// not become part of it.
    pub fn hidden_behind(&self, inputs: &Inputs, cache: &Cache) -> Tensor<2> {
        match self {
            Self::Unified(unified) => unified.hidden_behind(inputs, cache),
            Self::Unet(unet) => unet.hidden(inputs),
            Self::Vit(vit) => vit.hidden(inputs),
        }
    }

    /// Next-token logits: hidden `[places, channels]` -> `[places, vocab]`. Only of a network that
    /// [knows text](Self::knows_text).
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Unified(unified) => unified.logits(hidden),
            Self::Unet(_) | Self::Vit(_) => unreachable!("a network that only draws has no words"),
        }
    }

    /// The pixels of latents that the network draws, `[images, channels, rows, cols]` ->
    /// `[images, colors, height, width]`; nothing for a network of pixels.
    pub fn decode(&self, latents: Tensor<4>) -> Option<Tensor<4>> {
        match self {
            Self::Vit(vit) => vit.decode(latents),
            Self::Unified(_) | Self::Unet(_) => None,
        }
    }

    /// The network's output at all patches of images of these `grids`, one after another: hidden
    /// `[patches, channels]` -> `[patches, numbers]`.
    pub fn patches(&self, hidden: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        match self {
            Self::Unified(unified) => unified.patches(hidden, grids),
            Self::Unet(_) | Self::Vit(_) => hidden, // which are its patches
        }
    }
}

transparent_module!(Model { Unified, Unet, Vit });
