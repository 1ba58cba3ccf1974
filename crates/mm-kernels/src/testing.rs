//! Random numbers for tests.

use burn::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Draws normal numbers of mean 0, `[…]`, as a pure function of `seed`.
pub fn normal<const D: usize>(seed: u64, shape: [usize; D], deviation: f64) -> Tensor<D> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = shape.iter().product::<usize>();
    let numbers: Vec<f32> =
        (0..count).map(|_| (rng.sample::<f64, _>(StandardNormal) * deviation) as f32).collect();
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}
