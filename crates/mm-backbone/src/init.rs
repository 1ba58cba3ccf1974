//! First values of parameters, drawn on the host so that every backend starts from the same numbers.

use burn::module::Param;
use burn::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Draws parameters in the order in which they are asked for.
#[derive(Debug)]
pub struct Init {
    rng: ChaCha8Rng,
    device: Device,
}

impl Init {
    /// A source of parameters that is a pure function of `seed`; the tensors live on `device`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), device: device.clone() }
    }

    /// The device on which parameters are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Uniform in `-bound..bound`; any shape `[…]`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        let draw = |rng: &mut ChaCha8Rng| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32;
        self.draw(shape, draw)
    }

    /// Normal with mean 0 and standard deviation `std`; any shape `[…]`.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        let draw = |rng: &mut ChaCha8Rng| (rng.sample::<f64, _>(StandardNormal) * std) as f32;
        self.draw(shape, draw)
    }

    /// All one number; any shape `[…]`.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f64) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::full(shape, value, &self.device))
    }

    fn draw<const D: usize>(
        &mut self,
        shape: [usize; D],
        one: impl Fn(&mut ChaCha8Rng) -> f32,
    ) -> Param<Tensor<D>> {
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| one(&mut self.rng)).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(numbers, shape), &self.device))
    }
}

/// Moves every weight, so that a test sees those that start at zero.
#[cfg(test)]
pub(crate) struct Shake(pub Init);

#[cfg(test)]
impl burn::module::ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|old| old.clone() + self.0.normal(old.dims(), 0.1).val())
    }
}
