//! The sizes of a JiT.

use mm_backbone::{MlpKind, NormKind, VisionBlockConfig};
use serde::{Deserialize, Serialize};

use super::{check, check_heads};
use crate::ConfigError;
use crate::networks::vit::Classes;

/// Sizes of a JiT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JitConfig {
    /// The classes.
    pub classes: Classes,
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of heads.
    pub heads: usize,
    /// Hidden channels of the perceptrons.
    pub inner: usize,
    /// Channels between the two maps of a patch.
    pub bottleneck: usize,
    /// Number of class tokens.
    pub context_tokens: usize,
    /// The block before which they are put in front, counted from 0.
    pub context_start: usize,
    /// The number added to the mean square in all norms.
    pub norm_epsilon: f64,
    /// The least share of noise that a velocity is divided by (0.05).
    pub min_noise: f64,
    /// The deviation of the noise: 1 at 256 pixels, 2 at 512.
    pub noise_scale: f64,
}

impl JitConfig {
    pub(in super::super) fn validate(&self) -> Result<(), ConfigError> {
        self.classes.validate()?;
        check_heads(self.width, self.depth, self.heads, self.inner)?;
        let (bottleneck, tokens, start) =
            (self.bottleneck, self.context_tokens, self.context_start);
        check("vit.classes.none", self.classes.none, "false", "true for a JiT")?;
        check("vit.bottleneck", (1..=1 << 16).contains(&bottleneck), bottleneck, "1 to 65536")?;
        check("vit.context_tokens", (1..=1 << 12).contains(&tokens), tokens, "1 to 4096")?;
        check("vit.context_start", start < self.depth, start, "the number of a block, from 0")?;
        let epsilon = self.norm_epsilon;
        check("vit.norm_epsilon", epsilon > 0.0 && epsilon < 1.0, epsilon, "above 0, below 1")?;
        let least = self.min_noise;
        check("vit.min_noise", (0.0..1.0).contains(&least), least, "0 or more, below 1")?;
        let scale = self.noise_scale;
        check("vit.noise_scale", scale > 0.0 && scale <= 1e3, scale, "above 0, at most 1000")
    }

    pub(in super::super) fn block(&self) -> VisionBlockConfig {
        VisionBlockConfig {
            width: self.width,
            heads: self.heads,
            inner: self.inner,
            norm: NormKind::Rms,
            attention_epsilon: self.norm_epsilon,
            mlp_epsilon: self.norm_epsilon,
            rotary: true,
            qkv_bias: true,
            mlp: MlpKind::SwiGlu,
            conditioned: true,
        }
    }

    pub(in super::super) fn parameters(&self, numbers: f64) -> f64 {
        let [width, bottleneck, rows, tokens] =
            [self.width, self.bottleneck, self.classes.rows(), self.context_tokens]
                .map(|size| size as f64);
        let patch_in = numbers * bottleneck + (bottleneck + 1.0) * width;
        let tables = (rows + tokens) * width;
        let ends = width + 2.0 * (width + 1.0) * width + (width + 1.0) * numbers;
        patch_in + tables + self.depth as f64 * self.block().parameters() + ends
    }
}
