//! The network behind one interface: the joined transformer, a network that only draws, or a codec
//! that encodes and decodes.

pub(crate) mod autoencoder;
mod coded;
mod convolution;
mod latent;
mod pixels;
mod time;
mod unet;
mod unified;
mod vit;

pub(crate) use coded::Coded;
pub use unet::UnetConfig;
pub use vit::{Classes, DitConfig, JitConfig, UvitConfig, VitConfig, numbers_of_places};

use burn::prelude::*;
use mm_backbone::{Cache, Init, KeyValue, transparent_module};
use mm_codec::{Codec, KlAutoencoder};
use mm_patch::Grid;

use crate::batch::Inputs;
use crate::{ConfigError, ModelConfig, NetworkConfig};
use latent::Latent;
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
    /// A network that encodes images and decodes them again.
    Codec(Codec),
    /// One transformer for text and codes.
    Coded(Coded),
    /// One transformer for text and latents.
    Latent(Latent),
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
            NetworkConfig::Codec(codec) => Self::Codec(Codec::drawn(codec, init)),
            NetworkConfig::Coded(coded) => Self::Coded(Coded::new(coded, config, init)?),
            NetworkConfig::Latent(latent) => Self::Latent(Latent::new(latent, config, init)?),
        })
    }

    /// The device that holds the weights.
    pub fn device(&self) -> Device {
        match self {
            Self::Unified(unified) => unified.device(),
            Self::Unet(unet) => unet.device(),
            Self::Vit(vit) => vit.device(),
            Self::Codec(codec) => codec.device(),
            Self::Coded(coded) => coded.device(),
            Self::Latent(latent) => latent.network().device(),
        }
    }

    /// Returns the codec, if the network is one.
    pub fn codec(&self) -> Option<&Codec> {
        match self {
            Self::Codec(codec) => Some(codec),
            _ => None,
        }
    }

    /// Returns what encodes images before they become part of a sequence, if the network knows
    /// latents and no pixels.
    pub fn encoder(&self) -> Option<&KlAutoencoder> {
        match self {
            Self::Latent(latent) => Some(latent.codec()),
            Self::Vit(vit) => vit.codec(),
            _ => None,
        }
    }

    /// Returns the network with its codec replaced by what `change` makes of it; a codec of another
    /// kind is not taken.
    pub fn with_codec(self, change: impl FnOnce(Codec) -> Codec) -> Self {
        match self {
            Self::Codec(codec) => Self::Codec(change(codec)),
            Self::Coded(coded) => match coded.codec().cloned().map(|own| change(Codec::Codes(own)))
            {
                Some(Codec::Codes(codec)) => Self::Coded(coded.with_codec(codec)),
                Some(Codec::Kl(_)) | None => Self::Coded(coded),
            },
            Self::Latent(latent) => match change(Codec::Kl(latent.codec().clone())) {
                Codec::Kl(codec) => Self::Latent(latent.with_codec(codec)),
                Codec::Codes(_) => Self::Latent(latent),
            },
            other => other,
        }
    }

    /// Returns the transformer over words and codes, if the network is one.
    pub(crate) fn coded(&self) -> Option<&Coded> {
        match self {
            Self::Coded(coded) => Some(coded),
            _ => None,
        }
    }

    /// Whether the network takes and writes text, and sees what stands before an image.
    pub fn knows_text(&self) -> bool {
        match self {
            Self::Unified(unified) => unified.knows_text(),
            Self::Coded(_) => true,
            Self::Latent(latent) => latent.network().knows_text(),
            Self::Unet(_) | Self::Vit(_) | Self::Codec(_) => false,
        }
    }

    /// Hidden states of a whole batch, `[rows * tokens, channels]`: what [`logits`](Self::logits)
    /// and [`patches`](Self::patches) take.
    pub fn hidden(&self, inputs: &Inputs) -> Tensor<2> {
        match self {
            Self::Unified(unified) => unified.hidden(inputs),
            Self::Unet(unet) => unet.hidden(inputs),
            Self::Codec(codec) => autoencoder::hidden(codec, inputs),
            Self::Coded(coded) => coded.hidden(inputs),
            Self::Latent(latent) => latent.network().hidden(inputs),
            Self::Vit(vit) => vit.hidden(inputs),
        }
    }

    /// The tokens before the first block of a published network that only draws, and behind every
    /// block, `[images, tokens, channels]` each; images of several sizes one size after another.
    /// Other networks do not show them: there are none.
    pub fn token_states(&self, inputs: &Inputs) -> Vec<Tensor<3>> {
        match self {
            Self::Vit(vit) => vit.token_states(inputs),
            _ => vec![],
        }
    }

    /// Hidden states, `[rows * tokens, channels]`, of tokens that follow a cached prefix, and what
    /// the cache takes to include them: nothing for a network that only draws, and a codec.
    pub fn hidden_cached(&self, inputs: &Inputs, cache: &Cache) -> (Tensor<2>, Vec<KeyValue>) {
        match self {
            Self::Unified(unified) => unified.hidden_cached(inputs, cache),
            Self::Coded(coded) => coded.hidden_cached(inputs, cache),
            Self::Latent(latent) => latent.network().hidden_cached(inputs, cache),
            Self::Unet(_) | Self::Vit(_) | Self::Codec(_) => (self.hidden(inputs), vec![]),
        }
    }

    /// Hidden states, `[rows * tokens, channels]`, of tokens that follow a cached prefix and will
    /// not become part of it.
    pub fn hidden_behind(&self, inputs: &Inputs, cache: &Cache) -> Tensor<2> {
        match self {
            Self::Unified(unified) => unified.hidden_behind(inputs, cache),
            Self::Coded(coded) => coded.hidden_behind(inputs, cache),
            Self::Latent(latent) => latent.network().hidden_behind(inputs, cache),
            Self::Unet(_) | Self::Vit(_) | Self::Codec(_) => self.hidden(inputs),
        }
    }

    /// Next-token logits: hidden `[places, channels]` -> `[places, vocab]`. Only of a network that
    /// [knows text](Self::knows_text).
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Unified(unified) => unified.logits(hidden),
            Self::Coded(coded) => coded.logits(hidden),
            Self::Latent(latent) => latent.network().logits(hidden),
            Self::Unet(_) | Self::Vit(_) | Self::Codec(_) => {
                unreachable!("a network that only draws or encodes has no words")
            }
        }
    }

    /// The pixels of latents that the network draws, `[images, channels, rows, cols]` ->
    /// `[images, colors, height, width]`; nothing for a network of pixels.
    pub fn decode(&self, latents: Tensor<4>) -> Option<Tensor<4>> {
        match self {
            Self::Vit(vit) => vit.decode(latents),
            Self::Latent(latent) => Some(latent.decode(latents)),
            Self::Unified(_) | Self::Unet(_) | Self::Codec(_) | Self::Coded(_) => None,
        }
    }

    /// The network's output at all patches of images of these `grids`, one after another: hidden
    /// `[patches, channels]` -> `[patches, numbers]`, or the logits of their codes,
    /// `[patches, codes]`.
    pub fn patches(&self, hidden: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        match self {
            Self::Unified(unified) => unified.patches(hidden, grids),
            Self::Latent(latent) => latent.network().patches(hidden, grids),
            Self::Unet(_) | Self::Vit(_) | Self::Codec(_) => hidden, // which are its patches
            Self::Coded(coded) => coded.code_logits(hidden),
        }
    }
}

transparent_module!(Model { Unified, Unet, Vit, Codec, Coded, Latent });
