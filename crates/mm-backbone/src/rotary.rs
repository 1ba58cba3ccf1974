//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864) on two axes: adjacent channel pairs `(2p, 2p + 1)` turn by
//! `position · θ_p`.
//!
//! With `c` channels, `θ_p = base^(-2p/c)`; RoPE-TV and RoPE-Tie give even `p` the row and odd `p` the column, so that a
//! token on the diagonal turns exactly as in 1-D RoPE. The halves layout gives pairs `0..c/4` the row and the rest the
//! column, both with `θ_p = base^(-4p/c)`.

use std::sync::{Arc, OnceLock};

use burn::prelude::*;

use crate::{BackboneConfig, Condition, KeyRanges, PositionScheme, Precision};

/// Where tokens stand, whom they may attend, and what conditions them: what every block of one forward pass shares.
#[derive(Debug, Clone)]
pub struct Attend {
    pub(crate) places: Places,
    condition: Option<Condition>,
    /// Whether blocks keep nothing for the backward pass and compute forward again.
    recompute: bool,
    /// What blocks multiply in.
    pub(crate) precision: Precision,
    device: Device,
    tensors: OnceLock<Tables>,
}

/// Angles and mask on the host, for kernels.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Cosines of the angles, `[batch, tokens, pairs]`.
    pub cos: Arc<Vec<f32>>,
    /// Sines of the angles, `[batch, tokens, pairs]`.
    pub sin: Arc<Vec<f32>>,
    /// The mask.
    pub ranges: KeyRanges,
}

/// The same as tensors, made when ordinary operations ask for them.
#[derive(Debug, Clone)]
struct Tables {
    /// `[batch, 1, tokens, pairs, 1]`
    cos: Tensor<5>,
    /// `[batch, 1, tokens, pairs, 1]`
    sin: Tensor<5>,
    /// `[batch, 1, queries, keys]`, `true` = hidden.
    hidden: Tensor<4, Bool>,
}

impl Attend {
    /// `positions[row * tokens + token]` is `[row, column]` on the plane; as many as `ranges` has queries.
    pub fn new(
        config: &BackboneConfig,
        positions: &[[f64; 2]],
        ranges: KeyRanges,
        device: &Device,
    ) -> Self {
        assert_eq!(positions.len(), ranges.batch() * ranges.queries(), "one position a query");
        let frequencies = frequencies(config);
        let count = positions.len() * frequencies.len();
        let (mut cos, mut sin) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for at in positions {
            for (axis, theta) in &frequencies {
                let (s, c) = (at[*axis] * theta).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        let places = Places { cos: Arc::new(cos), sin: Arc::new(sin), ranges };
        let tensors = OnceLock::new();
        Self {
            places,
            condition: None,
            recompute: false,
            precision: Precision::F32,
            device: device.clone(),
            tensors,
        }
    }

    /// The same, with blocks that keep nothing for the backward pass but their input and compute forward again. Only fused
    /// kernels can ([`has_kernels`](crate::has_kernels)); ordinary operations go on keeping what they need.
    pub fn recomputed(self) -> Self {
        Self { recompute: true, ..self }
    }

    /// Whether blocks keep no more than their input.
    pub fn is_recomputed(&self) -> bool {
        self.recompute
    }

    /// The same, with blocks that multiply in another type. The fused kernels have 32 bits alone, so others are ordinary
    /// operations; the device must [calculate](Device::supports_dtype) in the type.
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same with a condition for blocks that are modulated by one ([`BlockConfig::Dit`](crate::BlockConfig::Dit)).
    pub fn with_condition(self, condition: Condition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    pub(crate) fn condition(&self) -> Option<&Condition> {
        self.condition.as_ref()
    }

    /// Rows of the batch, and tokens in a row.
    pub(crate) fn dims(&self) -> [usize; 2] {
        [self.places.ranges.batch(), self.places.ranges.queries()]
    }

    /// Turns queries or keys, by 32-bit angles: `[batch, heads, tokens, channels]` -> the same shape.
    pub(crate) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, heads, tokens, channels] = x.dims();
        let pairs = self.precision.widen(x).reshape([batch, heads, tokens, channels / 2, 2]);
        let (even, odd) = (pairs.clone().slice_dim(4, 0..1), pairs.slice_dim(4, 1..2));
        let Tables { cos, sin, .. } = self.tables().clone();
        let turned_even = even.clone() * cos.clone() - odd.clone() * sin.clone();
        let turned_odd = odd * cos + even * sin;
        let turned = Tensor::cat(vec![turned_even, turned_odd], 4);
        self.precision.narrow(turned.reshape([batch, heads, tokens, channels]))
    }

    /// What is hidden, `[batch, 1, queries, keys]`, `true` = hidden.
    pub(crate) fn hidden(&self) -> Tensor<4, Bool> {
        self.tables().hidden.clone()
    }

    fn tables(&self) -> &Tables {
        self.tensors.get_or_init(|| {
            let Places { cos, sin, ranges } = &self.places;
            let (batch, tokens) = (ranges.batch(), ranges.queries());
            let shape = [batch, 1, tokens, cos.len() / (batch * tokens), 1];
            let table = |numbers: &[f32]| {
                Tensor::from_data(TensorData::new(numbers.to_vec(), shape), &self.device)
            };
            Tables { cos: table(cos), sin: table(sin), hidden: ranges.hidden(&self.device) }
        })
    }
}

/// Axis (0 row, 1 column) and angular frequency of every channel pair.
pub(crate) fn frequencies(config: &BackboneConfig) -> Vec<(usize, f64)> {
    let pairs = config.rotary_channels() / 2;
    let theta = |index: usize, of: usize| config.rotary_base.powf(-(index as f64) / of as f64);
    match config.positions {
        PositionScheme::RopeTv | PositionScheme::RopeTie => {
            (0..pairs).map(|pair| (pair % 2, theta(pair, pairs))).collect()
        }
        PositionScheme::Halves => {
            let half = pairs / 2;
            (0..pairs).map(|pair| (pair / half, theta(pair % half, half))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlockConfig;

    fn config(positions: PositionScheme) -> BackboneConfig {
        BackboneConfig {
            width: 8,
            depth: 1,
            block: BlockConfig::Gau { expansion: 2, key_size: 8, bias: false },
            positions,
            rotary_base: 100.0,
            norm_epsilon: 1e-6,
        }
    }

    #[test]
    fn on_the_diagonal_rope_tv_is_one_dimensional_rope() {
        let thetas: Vec<f64> =
            frequencies(&config(PositionScheme::RopeTv)).iter().map(|f| f.1).collect();
        let one_dimensional: Vec<f64> =
            (0..4).map(|p| 100f64.powf(-2.0 * p as f64 / 8.0)).collect();
        assert_eq!(thetas, one_dimensional);
    }

    #[test]
    fn the_halves_layout_gives_both_axes_the_same_frequencies() {
        let found = frequencies(&config(PositionScheme::Halves));
        assert_eq!(found, vec![(0, 1.0), (0, 0.1), (1, 1.0), (1, 0.1)]);
    }

    #[test]
    fn scores_depend_on_relative_positions_only() {
        let device = Device::flex();
        let score = |shift: f64| {
            let ranges = KeyRanges::new(1, 2, vec![[0, 1], [0, 2]]).unwrap();
            let positions = [[1.0 + shift, 2.0 + shift], [4.0 + shift, 3.0 + shift]];
            let attend = Attend::new(&config(PositionScheme::RopeTv), &positions, ranges, &device);
            let x: Tensor<4> =
                Tensor::<1>::from_floats([0.3, -1.0, 0.5, 2.0, -0.7, 0.1, 1.5, 0.9], &device)
                    .reshape([1, 1, 1, 8])
                    .expand([1, 1, 2, 8]);
            let turned = attend.rotate(x);
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
