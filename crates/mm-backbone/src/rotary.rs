//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864) on two axes: which channel pair
//! `(2p, 2p + 1)` turns with which axis, and how fast.
//!
//! With `c` channels, `θ_p = base^(-2p/c)`; RoPE-TV and RoPE-Tie give even `p` the row and odd `p`
//! the column, so that a token on the diagonal turns exactly as in 1-D RoPE. The halves layout
//! gives pairs `0..c/4` the row and the rest the column, both with `θ_p = base^(-4p/c)`. In a
//! Persimmon block the first half of the channels turns, by `θ_p = base^(-4p/c)`, and the rest
//! stands still.

use burn::prelude::*;
use mm_kernels::{AttentionContext, AxisFrequency, KeyRanges, RotaryTables};

use crate::{BackboneConfig, PositionScheme};

impl BackboneConfig {
    /// Computes what all blocks of one forward pass share: `positions[row * tokens + token]` is
    /// `[row, column]` on the plane; there are as many as `ranges` has queries.
    ///
    /// # Panics
    ///
    /// Panics unless there is one position for each query.
    pub fn attention_context(
        &self,
        positions: &[[f64; 2]],
        ranges: KeyRanges,
        device: &Device,
    ) -> AttentionContext {
        let tables = RotaryTables::new(&self.frequencies(), positions);
        AttentionContext::new(tables, ranges, device)
    }

    /// Returns axis and angular frequency of every channel pair.
    fn frequencies(&self) -> Vec<AxisFrequency> {
        let pairs = self.rotary_channels() / 2;
        let theta = |index: usize, of: usize| self.rotary_base.powf(-(index as f64) / of as f64);
        let half = pairs / 2;
        if self.block.is_persimmon() {
            let turning = (0..half).map(|pair| theta(pair, half));
            let still = std::iter::repeat_n(0.0, pairs - half);
            let all = turning.chain(still);
            return all.map(|theta| AxisFrequency { axis: 0, theta }).collect();
        }
        let frequency = |pair: usize| match self.positions {
            PositionScheme::RopeTv | PositionScheme::RopeTie | PositionScheme::Sequence => {
                AxisFrequency { axis: pair % 2, theta: theta(pair, pairs) }
            }
            PositionScheme::Halves => {
                AxisFrequency { axis: pair / half, theta: theta(pair % half, half) }
            }
        };
        (0..pairs).map(frequency).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockConfig, GauConfig, Precision};

    fn config(positions: PositionScheme) -> BackboneConfig {
        BackboneConfig {
            width: 8,
            depth: 1,
            block: BlockConfig::Gau(GauConfig { expansion: 2, key_size: 8, bias: false }),
            positions,
            rotary_base: 100.0,
            norm_epsilon: 1e-6,
        }
    }

    #[test]
    fn on_the_diagonal_rope_tv_is_one_dimensional_rope() {
        let found = config(PositionScheme::RopeTv).frequencies();
        let thetas: Vec<f64> = found.iter().map(|frequency| frequency.theta).collect();
        let one_dimensional: Vec<f64> =
            (0..4).map(|p| 100f64.powf(-2.0 * p as f64 / 8.0)).collect();
        assert_eq!(thetas, one_dimensional);
    }

    #[test]
    fn the_halves_layout_gives_both_axes_the_same_frequencies() {
        let found = config(PositionScheme::Halves).frequencies();
        let wanted = [(0, 1.0), (0, 0.1), (1, 1.0), (1, 0.1)];
        assert_eq!(found, wanted.map(|(axis, theta)| AxisFrequency { axis, theta }));
    }

    #[test]
    fn scores_depend_on_relative_positions_only() {
        let device = Device::flex();
        let score = |shift: f64| {
            let ranges = KeyRanges::new(1, 2, vec![[0, 1], [0, 2]]).unwrap();
            let positions = [[1.0 + shift, 2.0 + shift], [4.0 + shift, 3.0 + shift]];
            let config = config(PositionScheme::RopeTv);
            let context = config.attention_context(&positions, ranges, &device);
            let x: Tensor<4> =
                Tensor::<1>::from_floats([0.3, -1.0, 0.5, 2.0, -0.7, 0.1, 1.5, 0.9], &device)
                    .reshape([1, 1, 1, 8])
                    .expand([1, 1, 2, 8]);
            let turned = context.rotate(x, Precision::F32);
            turned
                .clone()
                .matmul(turned.transpose())
                .slice([0..1, 0..1, 0..1, 1..2])
                .into_scalar::<f32>()
        };
        assert!((score(0.0) - score(37.5)).abs() < 1e-4);
        assert!((score(0.0) - 9.5).abs() > 0.1, "the rotation does nothing");
    }
}
