//! A linear map as a module, with the weight stored `[inputs, outputs]`.

use burn::module::Param;
use burn::prelude::*;
use mm_kernels::{LinearWeights, linear};

use crate::Init;

/// The map `y = x W + b`, whose bias is optional.
///
/// ```
/// use burn::prelude::*;
/// use mm_backbone::{Init, Linear};
///
/// let device = Device::flex();
/// let map = Linear::new(&mut Init::new(0, &device), 4, 6, true);
/// assert_eq!(map.forward(Tensor::<2>::ones([3, 4], &device)).dims(), [3, 6]);
/// ```
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Makes a map with normal weights of standard deviation 1/sqrt(inputs), so that outputs are as
    /// large as inputs, or of whatever law `init` has; a bias, if any, is zero.
    pub fn new(init: &mut Init, inputs: usize, outputs: usize, bias: bool) -> Self {
        Self::scaled(init, inputs, outputs, bias, 1.0)
    }

    /// Makes the last map of a residual branch: smaller by sqrt(2 depth), so that a deep stack does
    /// not grow its input (Radford et al. 2019).
    pub fn residual(
        init: &mut Init,
        inputs: usize,
        outputs: usize,
        bias: bool,
        depth: usize,
    ) -> Self {
        Self::scaled(init, inputs, outputs, bias, (2.0 * depth as f64).powf(-0.5))
    }

    /// Makes a map with weights `gain` times as large.
    pub fn scaled(init: &mut Init, inputs: usize, outputs: usize, bias: bool, gain: f64) -> Self {
        let weight = init.matrix(inputs, outputs, gain);
        Self { weight, bias: bias.then(|| init.constant([outputs], 0.0)) }
    }

    /// Makes a map of zeros, with a bias, which changes nothing at first.
    pub fn zero(init: &mut Init, inputs: usize, outputs: usize) -> Self {
        let weight = init.constant([inputs, outputs], 0.0);
        Self { weight, bias: Some(init.constant([outputs], 0.0)) }
    }

    /// Computes `[…, inputs]` -> `[…, outputs]` in the type of `x`: weights of another are rounded
    /// to it, and keep their own.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let LinearWeights { weight, bias } = self.weights();
        linear(x, &weight, bias.as_ref())
    }

    /// Returns the weights as kernels take them.
    pub(crate) fn weights(&self) -> LinearWeights {
        LinearWeights { weight: self.weight.val(), bias: self.bias.as_ref().map(Param::val) }
    }
}
