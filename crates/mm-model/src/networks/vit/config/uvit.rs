//! The sizes of a U-ViT.

use mm_backbone::{MlpKind, NormKind, VisionBlockConfig};
use serde::{Deserialize, Serialize};

use super::{check, check_heads};
use crate::ConfigError;
use crate::networks::vit::Classes;

/// The number added to the variance in all norms.
pub(in super::super) const EPSILON: f64 = 1e-5;

/// Sizes of a U-ViT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UvitConfig {
    /// The classes.
    pub classes: Classes,
    /// Rows of patches; the learned positions fix them.
    pub rows: usize,
    /// Columns of patches.
    pub cols: usize,
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks, odd.
    pub depth: usize,
    /// Number of heads.
    pub heads: usize,
    /// Hidden channels of the perceptrons.
    pub inner: usize,
    /// Whether the map to queries, keys and values has a bias.
    #[serde(default)]
    pub qkv_bias: bool,
    /// Whether a convolution over the pixels closes the network.
    pub convolution: bool,
}

impl UvitConfig {
    pub(in super::super) fn validate(&self) -> Result<(), ConfigError> {
        self.classes.validate()?;
        check_heads(self.width, self.depth, self.heads, self.inner)?;
        let (rows, cols, depth) = (self.rows, self.cols, self.depth);
        check("vit.depth", depth % 2 == 1, depth, "an odd number of blocks")?;
        check("vit.rows", (1..=1 << 12).contains(&rows), rows, "1 to 4096")?;
        check("vit.cols", (1..=1 << 12).contains(&cols), cols, "1 to 4096")
    }

    /// The tokens in front of the patches.
    pub(in super::super) fn before(&self) -> usize {
        1 + usize::from(self.classes.count > 0)
    }

    pub(in super::super) fn block(&self) -> VisionBlockConfig {
        VisionBlockConfig {
            width: self.width,
            heads: self.heads,
            inner: self.inner,
            norm: NormKind::Layer,
            attention_epsilon: EPSILON,
            mlp_epsilon: EPSILON,
            rotary: false,
            qkv_bias: self.qkv_bias,
            mlp: MlpKind::Gelu,
            conditioned: false,
        }
    }

    pub(in super::super) fn parameters(&self, numbers: f64, channels: f64) -> f64 {
        let tokens = (self.before() + self.rows * self.cols) as f64;
        let [width, rows, depth, skips] =
            [self.width, self.classes.rows(), self.depth, self.depth / 2].map(|size| size as f64);
        let patches = (numbers + 1.0) * width + (width + 1.0) * numbers;
        let skips = skips * (2.0 * width + 1.0) * width;
        let closing = if self.convolution { (9.0 * channels + 1.0) * channels } else { 0.0 };
        let tables = (tokens + rows) * width;
        patches + tables + depth * self.block().parameters() + skips + 2.0 * width + closing
    }
}
