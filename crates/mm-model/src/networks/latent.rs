//! The joined transformer over the latents of a frozen codec, as in latent diffusion (Rombach et
//! al. 2022, arXiv:2112.10752) and Transfusion (Zhou et al. 2024, arXiv:2408.11039).
//!
//! A patch is a square of cells. Images are encoded before they become part of a sequence, so the
//! transformer sees latents where it would see pixels, and nothing else differs. What it draws is
//! decoded.

use burn::prelude::*;
use mm_backbone::Init;
use mm_codec::KlAutoencoder;

use crate::config::LatentConfig;
use crate::networks::unified::Unified;
use crate::{ConfigError, ModelConfig};

/// A transformer over words and latents, and the codec of the latents.
#[derive(Module, Debug)]
pub struct Latent {
    network: Unified,
    codec: KlAutoencoder,
}

impl Latent {
    /// Fresh weights for a configuration that was checked, those of the codec too.
    pub(crate) fn new(
        sizes: &LatentConfig,
        config: &ModelConfig,
        init: &mut Init,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            network: Unified::new(&sizes.unified, config, init)?,
            codec: KlAutoencoder::drawn(&sizes.codec, init),
        })
    }

    /// Returns the transformer.
    pub(crate) fn network(&self) -> &Unified {
        &self.network
    }

    /// Returns the codec.
    pub(crate) fn codec(&self) -> &KlAutoencoder {
        &self.codec
    }

    /// Returns the network with the weights of a trained codec.
    pub(crate) fn with_codec(self, codec: KlAutoencoder) -> Self {
        Self { codec, ..self }
    }

    /// Decodes scaled latents, `[images, channels, rows, cols]` -> `[images, 3, height, width]`.
    pub(crate) fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.codec.decode(self.codec.unscaled(latents))
    }
}
