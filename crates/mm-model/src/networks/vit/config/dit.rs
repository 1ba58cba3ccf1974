//! The sizes of a DiT.

use mm_backbone::{MlpKind, NormKind, VisionBlockConfig};
use mm_codec::KlConfig;
use serde::{Deserialize, Serialize};

use super::{check, check_heads};
use crate::ConfigError;
use crate::networks::vit::Classes;

/// The number added to the variance in norms that diffusers fixes.
pub(in super::super) const EPSILON: f64 = 1e-6;

/// Sizes of a DiT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitConfig {
    /// The classes.
    pub classes: Classes,
    /// Numbers of one latent, or of one pixel.
    pub channels: usize,
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of heads.
    pub heads: usize,
    /// Hidden channels of the perceptrons.
    pub inner: usize,
    /// The number added to the variance in the norms before perceptrons.
    pub norm_epsilon: f64,
    /// Whether every block has embeddings of its own.
    #[serde(default)]
    pub own_embeddings: bool,
    /// The autoencoder whose latents the network draws; without one it draws pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<KlConfig>,
}

impl DitConfig {
    pub(in super::super) fn validate(&self) -> Result<(), ConfigError> {
        self.classes.validate()?;
        check_heads(self.width, self.depth, self.heads, self.inner)?;
        let (channels, epsilon) = (self.channels, self.norm_epsilon);
        check("vit.classes.none", self.classes.none, "false", "true for a DiT")?;
        check("vit.channels", (1..=1 << 10).contains(&channels), channels, "1 to 1024")?;
        check("vit.norm_epsilon", epsilon > 0.0 && epsilon < 1.0, epsilon, "above 0, below 1")?;
        let Some(codec) = &self.codec else { return Ok(()) };
        let sizes = codec.validate().map_err(|why| why.to_string());
        check("vit.codec", sizes.is_ok(), sizes.err().unwrap_or_default(), "sizes that fit")?;
        let latents = codec.latent_channels;
        check("vit.codec", latents == channels, latents, "as many channels as `vit.channels`")
    }

    pub(in super::super) fn block(&self) -> VisionBlockConfig {
        VisionBlockConfig {
            width: self.width,
            heads: self.heads,
            inner: self.inner,
            norm: NormKind::LayerFixed,
            attention_epsilon: EPSILON,
            mlp_epsilon: self.norm_epsilon,
            rotary: false,
            qkv_bias: true,
            mlp: MlpKind::GeluTanh,
            conditioned: true,
        }
    }

    /// Embeddings of time and class.
    pub(in super::super) fn embeddings(&self) -> usize {
        if self.own_embeddings { self.depth } else { 1 }
    }

    /// Numbers that are learned, without the autoencoder's; `time` are those of one embedding of
    /// the time.
    pub(in super::super) fn parameters(&self, numbers: f64, time: f64) -> f64 {
        let [width, rows, depth, sets] =
            [self.width, self.classes.rows(), self.depth, self.embeddings()]
                .map(|size| size as f64);
        let patches = (numbers + 1.0) * width + (width + 1.0) * numbers;
        let embeddings = sets * (time + rows * width);
        let blocks = depth * self.block().parameters();
        patches + embeddings + blocks + 2.0 * (width + 1.0) * width
    }
}
