//! Sizes of the encoder and the decoder as plain data, under diffusers' names.

use serde::{Deserialize, Serialize};

use crate::CodecError;

/// Sizes of an encoder and of its mirror. Latent diffusion's, for a factor of 8: `[128, 256, 512,
/// 512]`, 2 layers, 32 groups, attention in the middle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderSizes {
    /// Channels by level, from full resolution down; every level but the last halves the image.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of the group norms; they divide the channels of every level.
    pub norm_num_groups: usize,
    /// Whether the cells of the lowest level attend to each other, between two residual blocks.
    #[serde(default = "yes")]
    pub mid_block_add_attention: bool,
}

fn yes() -> bool {
    true
}

/// More levels halve no image.
const MOST_LEVELS: usize = 12;
/// More channels or blocks fill no machine.
const MOST: usize = 1 << 14;

impl AutoencoderSizes {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), CodecError> {
        let Self { block_out_channels: channels, layers_per_block, norm_num_groups, .. } = self;
        let (layers, groups) = (*layers_per_block, *norm_num_groups);
        CodecError::check(
            "block_out_channels",
            (1..=MOST_LEVELS).contains(&channels.len()),
            format!("of {} levels", channels.len()),
            "1 to 12 levels",
        )?;
        CodecError::check(
            "block_out_channels",
            channels.iter().all(|channels| (1..=MOST).contains(channels)),
            format!("{channels:?}"),
            "1 to 16384 channels for every level",
        )?;
        CodecError::check("layers_per_block", (1..=256).contains(&layers), layers, "1 to 256")?;
        CodecError::check(
            "norm_num_groups",
            groups > 0 && channels.iter().all(|channels| channels.is_multiple_of(groups)),
            groups,
            "a divisor of the channels of every level",
        )
    }

    /// Returns the side of a cell in pixels: how often the encoder shrinks an image.
    pub fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Returns the channels of the lowest level.
    pub(crate) fn deepest(&self) -> usize {
        *self.block_out_channels.last().expect("a level, by `validate`")
    }

    /// Returns rows and columns of the cells of an image.
    pub fn cells(&self, height: usize, width: usize) -> Result<[usize; 2], CodecError> {
        let factor = self.factor();
        let divides = |side: usize| side > 0 && side.is_multiple_of(factor);
        if divides(height) && divides(width) {
            return Ok([height / factor, width / factor]);
        }
        Err(CodecError::Size { width, height, factor })
    }
}
