//! Test data whose best denoiser is a formula: three channels, normal and independent.

use burn::prelude::*;
use burn::tensor::DType;

use crate::Level;

/// Data that is distributed as N(mean, std²) in each channel.
pub(crate) struct Gaussian {
    pub(crate) mean: [f64; 3],
    pub(crate) std: [f64; 3],
}

/// Data about as wide as pixels in [-1, 1]; the middle channel has unit variance.
pub(crate) const WIDE: Gaussian = Gaussian { mean: [0.5, -0.3, 0.2], std: [0.3, 1.0, 0.6] };

/// Data that is nearly known from its mean.
pub(crate) const NARROW: Gaussian = Gaussian { mean: [0.5, -0.3, 0.2], std: [0.02, 0.05, 0.1] };

/// Returns a tensor `[numbers / 3, 1, 3]` of the given precision.
pub(crate) fn rows(numbers: Vec<f64>, precision: DType) -> Tensor<3> {
    let batch = numbers.len() / 3;
    Tensor::from_data(TensorData::new(numbers, [batch, 1, 3]), (&Device::flex(), precision))
}

impl Gaussian {
    /// Returns E[x | z], the conditional mean of two joint normals. `z`: `[batch, 1, 3]` ->
    /// `[batch, 1, 3]`.
    pub(crate) fn denoise(&self, z: Tensor<3>, level: &Level) -> Tensor<3> {
        let precision = z.dtype();
        let gain = rows((0..3).map(|channel| self.gain(level, channel)).collect(), precision);
        let mean = rows(self.mean.to_vec(), precision);
        (z - mean.clone() * level.signal) * gain + mean
    }

    /// Returns by how much E[x | z] grows with z in a channel.
    pub(crate) fn gain(&self, level: &Level, channel: usize) -> f64 {
        level.signal * self.std[channel].powi(2) / self.std_at(level, channel).powi(2)
    }

    /// Returns the standard deviation of z in a channel.
    pub(crate) fn std_at(&self, level: &Level, channel: usize) -> f64 {
        (self.std[channel] * level.signal).hypot(level.noise)
    }
}
