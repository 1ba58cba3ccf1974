//! A linear map, `y = x W + b`, with the weight stored `[inputs, outputs]`.

use burn::module::Param;
use burn::prelude::*;

use crate::Init;

/// `y = x W + b`; the bias is optional.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Normal weights of standard deviation 1/sqrt(inputs), so that outputs are as large as inputs, or whatever law `init`
    /// has; a bias, if any, is zero.
    pub fn new(init: &mut Init, inputs: usize, outputs: usize, bias: bool) -> Self {
        Self::scaled(init, [inputs, outputs], bias, 1.0)
    }

    /// For the last map of a residual branch: smaller by sqrt(2 depth), so that a deep stack does not grow its input
    /// (Radford et al. 2019).
    pub fn residual(
        init: &mut Init,
        inputs: usize,
        outputs: usize,
        bias: bool,
        depth: usize,
    ) -> Self {
        Self::scaled(init, [inputs, outputs], bias, (2.0 * depth as f64).powf(-0.5))
    }

    /// The same with weights `gain` times as large; `[inputs, outputs]`.
    pub fn scaled(init: &mut Init, [inputs, outputs]: [usize; 2], bias: bool, gain: f64) -> Self {
        let weight = init.matrix([inputs, outputs], gain);
        Self { weight, bias: bias.then(|| init.constant([outputs], 0.0)) }
    }

    /// All zero, with a bias, `[inputs, outputs]`: a map that changes nothing at first.
    pub fn zero(init: &mut Init, [inputs, outputs]: [usize; 2]) -> Self {
        let weight = init.constant([inputs, outputs], 0.0);
        Self { weight, bias: Some(init.constant([outputs], 0.0)) }
    }

    /// `[…, inputs]` -> `[…, outputs]`, in the type of `x`: weights of another are rounded to it, and keep their own.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let kind = x.dtype();
        let bias = self.bias.as_ref().map(|bias| bias.val().cast(kind));
        burn::tensor::module::linear(x, self.weight.val().cast(kind), bias)
    }
}
