//! First values of parameters, drawn on the host so that every backend starts from the same
//! numbers.

use burn::module::{Param, ParamId};
use burn::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// Draws parameters in the order in which they are asked for.
///
/// ```
/// use burn::prelude::*;
/// use mm_backbone::Init;
///
/// let device = Device::flex();
/// let draw = || Init::new(7, &device).normal([2, 3], 1.0).val().into_data();
/// assert_eq!(draw(), draw()); // a pure function of the seed
/// ```
#[derive(Debug)]
pub struct Init {
    rng: ChaCha8Rng,
    device: Device,
    law: Law,
}

/// How the weights of linear maps are drawn at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitLaw {
    /// Normal with standard deviation 1/sqrt(inputs), smaller for maps that close a branch or the
    /// network.
    #[default]
    Normal,
    /// Uniform within sqrt(6 / (inputs + outputs)) (Glorot & Bengio 2010), whatever the map is for,
    /// as in `su2024`.
    Glorot,
}

/// The source of numbers.
#[derive(Debug, Clone, Copy)]
enum Law {
    Drawn(InitLaw),
    /// Nothing is drawn: every parameter that would be is zero.
    Blank,
    /// Nothing is made: a parameter knows its shape, and is zero if somebody asks for its numbers.
    Shapes,
}

impl Init {
    /// Makes a source of parameters that is a pure function of `seed`; the tensors live on
    /// `device`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self::with_law(InitLaw::Normal, seed, device)
    }

    /// Makes such a source under another law.
    pub fn with_law(law: InitLaw, seed: u64, device: &Device) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng, device: device.clone(), law: Law::Drawn(law) }
    }

    /// Makes a source of zeros, for weights that are replaced at once or only counted.
    pub fn blank(device: &Device) -> Self {
        Self { law: Law::Blank, ..Self::new(0, device) }
    }

    /// Makes a source of shapes alone, which take no memory, for a model that is only counted.
    pub fn shapes(device: &Device) -> Self {
        Self { law: Law::Shapes, ..Self::new(0, device) }
    }

    /// Returns the device on which parameters are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Draws uniformly from `-bound..bound`, in any shape `[…]`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        let draw = |rng: &mut ChaCha8Rng| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32;
        self.draw(shape, draw)
    }

    /// Draws normally with mean 0 and standard deviation `std`, in any shape `[…]`.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        let draw = |rng: &mut ChaCha8Rng| (rng.sample::<f64, _>(StandardNormal) * std) as f32;
        self.draw(shape, draw)
    }

    /// Draws the weight `[inputs, outputs]` of a linear map; `gain` is what the normal law
    /// multiplies it by.
    pub fn matrix(&mut self, inputs: usize, outputs: usize, gain: f64) -> Param<Tensor<2>> {
        match self.law {
            Law::Drawn(InitLaw::Glorot) => {
                self.uniform([inputs, outputs], (6.0 / (inputs + outputs) as f64).sqrt())
            }
            Law::Drawn(InitLaw::Normal) | Law::Blank | Law::Shapes => {
                self.normal([inputs, outputs], gain * (inputs as f64).powf(-0.5))
            }
        }
    }

    /// Makes a parameter of one number alone, in any shape `[…]`.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f64) -> Param<Tensor<D>> {
        if let Law::Shapes = self.law {
            return self.shape(shape);
        }
        Param::from_tensor(Tensor::full(shape, value, &self.device))
    }

    /// Makes a parameter of given numbers, last axis fastest, in any shape `[…]`.
    pub fn given<const D: usize>(
        &mut self,
        shape: [usize; D],
        numbers: Vec<f32>,
    ) -> Param<Tensor<D>> {
        if let Law::Shapes = self.law {
            return self.shape(shape);
        }
        Param::from_tensor(Tensor::from_data(TensorData::new(numbers, shape), &self.device))
    }

    /// Makes a parameter without numbers, in any shape `[…]`.
    fn shape<const D: usize>(&self, shape: [usize; D]) -> Param<Tensor<D>> {
        let zeros = move |device: &Device, _: bool| Tensor::zeros(shape, device);
        Param::uninitialized(ParamId::new(), zeros, self.device.clone(), false, Shape::new(shape))
    }

    fn draw<const D: usize>(
        &mut self,
        shape: [usize; D],
        one: impl Fn(&mut ChaCha8Rng) -> f32,
    ) -> Param<Tensor<D>> {
        if let Law::Blank | Law::Shapes = self.law {
            return self.constant(shape, 0.0);
        }
        let numbers = (0..shape.iter().product()).map(|_| one(&mut self.rng)).collect();
        self.given(shape, numbers)
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
