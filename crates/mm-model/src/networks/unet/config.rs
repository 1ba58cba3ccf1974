//! Sizes of a U-Net as plain data.

use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// Sizes of a U-Net. Su's: width 128, growth `[1, 1, 2, 2, 4, 4]`, 2 blocks, 32 groups,
/// smallest side 4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnetConfig {
    /// Channels at growth 1, and of the embedding of the noise level.
    pub width: usize,
    /// Channels by level, from full resolution down, its channels in multiples of the width.
    pub growth: Vec<usize>,
    /// Residual blocks of a level on the way down, and on the way up.
    pub blocks: usize,
    /// Groups of the group norms; they divide the width.
    pub groups: usize,
    /// An image whose shorter side is no longer than this is not halved further, pixels.
    pub smallest: usize,
    /// Levels, counted from 0, whose residual blocks are each followed by attention over all
    /// pixels; Ho et al. (2020) have it where images are 16x16, Su's script has none.
    #[serde(default)]
    pub attention: Vec<usize>,
}

/// More levels halve no image, and more blocks fill no machine.
const MOST: usize = 256;

impl UnetConfig {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |field, holds: bool, found: String, wanted| {
            if holds { Ok(()) } else { Err(ConfigError::Field { field, found, wanted }) }
        };
        let (width, groups) = (self.width, self.groups);
        check("unet.width", width > 0, width.to_string(), "at least 1 channel")?;
        check(
            "unet.growth",
            !self.growth.is_empty() && self.growth.iter().all(|growth| *growth > 0),
            format!("{:?}", self.growth),
            "one multiple of the width, at least 1, for every level",
        )?;
        let (levels, blocks) = (self.growth.len(), self.blocks);
        check("unet.growth", levels <= MOST, format!("of {levels} levels"), "at most 256 levels")?;
        check("unet.blocks", (1..=MOST).contains(&blocks), blocks.to_string(), "1 to 256")?;
        check(
            "unet.groups",
            groups > 0 && width.is_multiple_of(groups),
            groups.to_string(),
            "a divisor of `unet.width`",
        )?;
        check("unet.smallest", self.smallest > 0, self.smallest.to_string(), "at least 1 pixel")?;
        check(
            "unet.attention",
            self.attention.iter().all(|level| *level < self.growth.len()),
            format!("{:?}", self.attention),
            "numbers of levels, counted from 0",
        )
    }

    /// Whether images of this size are halved once more: down to the smallest side, as long as both
    /// sides are even.
    pub(super) fn halves(&self, height: usize, width: usize) -> bool {
        height.min(width) > self.smallest && height.is_multiple_of(2) && width.is_multiple_of(2)
    }

    /// Input and output channels of every residual block: on the way down, one list a level; of the
    /// middle; on the way up, one list a level, the deepest first.
    pub(super) fn channels(&self) -> Channels {
        let of = |level: usize| self.growth[level].saturating_mul(self.width);
        let levels = self.growth.len();
        let mut before = self.width;
        let mut chain = |outputs: Vec<usize>| -> Vec<[usize; 2]> {
            outputs.into_iter().map(|next| [std::mem::replace(&mut before, next), next]).collect()
        };
        let down = (0..levels).map(|level| chain(vec![of(level); self.blocks])).collect();
        let middle = chain(vec![of(levels - 1)]).remove(0);
        // A block on the way up makes as many channels as what is added to it: the level's other
        // blocks', then its input's.
        let up = (0..levels).rev().map(|level| {
            let mut outputs = vec![of(level); self.blocks - 1];
            outputs.push(if level == 0 { self.width } else { of(level - 1) });
            chain(outputs)
        });
        let up = up.collect();
        Channels { down, middle, up }
    }

    /// Multiplications and additions of one forward pass over an image of `height` x `width`
    /// pixels; a training step costs three times as much.
    pub fn flops(&self, height: usize, width: usize) -> u64 {
        let Channels { down, middle, up } = self.channels();
        let block = |[inputs, outputs]: [usize; 2], pixels: usize, attends: bool| {
            let shortcut = if inputs == outputs { 0 } else { inputs * outputs };
            let attention = if attends { 4 * outputs * outputs + 2 * pixels * outputs } else { 0 };
            pixels * (9 * outputs * (inputs + outputs) + shortcut + attention)
        };
        let mut side = [height, width];
        let mut sum = 2 * 9 * 3 * self.width * height * width; // the first and the last convolution
        let mut sides = vec![];
        for (level, blocks) in down.iter().enumerate() {
            sides.push(side);
            let attends = self.attention.contains(&level);
            sum += blocks.iter().map(|b| block(*b, side[0] * side[1], attends)).sum::<usize>();
            if self.halves(side[0], side[1]) {
                side = side.map(|side| side / 2);
            }
        }
        sum += block(middle, side[0] * side[1], false);
        for (blocks, (level, side)) in up.iter().zip(sides.into_iter().enumerate().rev()) {
            let attends = self.attention.contains(&level);
            sum += blocks.iter().map(|b| block(*b, side[0] * side[1], attends)).sum::<usize>();
        }
        2 * sum as u64
    }

    /// Numbers that are targets, but for the embedding of the noise level; in floats, as those of a
    /// backbone are counted.
    pub fn parameters(&self) -> usize {
        let Channels { down, middle, up } = self.channels();
        let width = self.width as f64;
        let block = |channels: [usize; 2], attends: bool| {
            let [inputs, outputs] = channels.map(|count| count as f64);
            let shortcut = if inputs == outputs { 0.0 } else { inputs * outputs };
            let attention = if attends { 4.0 * outputs * outputs + 2.0 * outputs } else { 0.0 };
            width * inputs
                + 9.0 * outputs * (inputs + outputs)
                + shortcut
                + 2.0 * outputs
                + attention
        };
        let level = |level: usize, blocks: &Vec<[usize; 2]>| {
            let attends = self.attention.contains(&level);
            blocks.iter().map(|channels| block(*channels, attends)).sum::<f64>()
        };
        let down: f64 = down.iter().enumerate().map(|(at, blocks)| level(at, blocks)).sum();
        let up: f64 = up.iter().rev().enumerate().map(|(at, blocks)| level(at, blocks)).sum();
        let ends = 2.0 * 9.0 * 3.0 * width + 2.0 * width;
        (ends + down + block(middle, false) + up) as usize
    }
}

/// Input and output channels of the residual blocks.
pub(super) struct Channels {
    pub down: Vec<Vec<[usize; 2]>>,
    pub middle: [usize; 2],
    pub up: Vec<Vec<[usize; 2]>>,
}
