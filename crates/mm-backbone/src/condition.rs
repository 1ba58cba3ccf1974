//! What a modulated block is told beside its tokens: one row of channels for each thing that conditions, and for every token
//! which row is its own. The backbone does not know what a row means.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::silu;

use crate::{Attend, Init, Linear};

/// Rows of a condition, gathered a token at a time: a few rows are cheap where one for every token would not be.
#[derive(Debug, Clone)]
pub struct Condition {
    /// `[rows, channels]`
    rows: Tensor<2>,
    /// `[batch * tokens]`
    index: Tensor<1, Int>,
}

impl Condition {
    /// `rows`: `[rows, channels]`; `index`: for every token its row, `[batch * tokens]`.
    pub fn new(rows: Tensor<2>, index: Tensor<1, Int>) -> Self {
        Self { rows, index }
    }
}

/// `W swish(c) + b`, several vectors for every token out of its condition `c`; all zero at first.
#[derive(Module, Debug)]
pub struct Modulation {
    map: Linear,
}

impl Modulation {
    /// `parts` vectors of `width` channels.
    pub(crate) fn new(init: &mut Init, width: usize, parts: usize) -> Self {
        Self { map: Linear::zero(init, [width, parts * width]) }
    }

    /// `[batch, tokens, channels]` each. Where nothing conditions, the condition is zero and all tokens share one vector,
    /// `[1, 1, channels]`.
    pub(crate) fn parts<const N: usize>(&self, attend: &Attend) -> [Tensor<3>; N] {
        let all: Tensor<3> = match attend.condition() {
            Some(Condition { rows, index }) => {
                let rows = self.map.forward(silu(rows.clone()));
                let [_, channels] = rows.dims();
                let [batch, tokens] = attend.dims();
                rows.select(0, index.clone()).reshape([batch, tokens, channels])
            }
            None => self.map.bias.as_ref().map(Param::val).expect("made with a bias").unsqueeze(),
        };
        let width = all.dims()[2] / N;
        std::array::from_fn(|part| all.clone().narrow(2, part * width, width))
    }
}

/// `(1 + scale) ⊙ x + shift`, `[batch, tokens, channels]`.
pub(crate) fn modulate(x: Tensor<3>, [shift, scale]: [Tensor<3>; 2]) -> Tensor<3> {
    x * (scale + 1.0) + shift
}
