//! What a modulated block is told beside its tokens: one row of channels for each thing that
//! conditions, and for every token which row is its own. The backbone does not know what a row
//! means.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::silu;

use crate::{Init, Linear};

/// Rows of a condition, gathered a token at a time: a few rows are cheap where one for every token
/// would not be.
///
/// ```
/// use burn::prelude::*;
/// use mm_backbone::Condition;
///
/// let device = Device::flex();
/// let rows = Tensor::<2>::zeros([2, 8], &device); // of text, of one image
/// let index = Tensor::<1, Int>::from_ints([0, 1, 1, 0], &device); // of four tokens
/// let condition = Condition::new(rows, index);
/// # let _ = condition;
/// ```
#[derive(Debug, Clone)]
pub struct Condition {
    /// `[rows, channels]`
    rows: Tensor<2>,
    /// `[batch * tokens]`
    index: Tensor<1, Int>,
}

impl Condition {
    /// Takes `rows`, `[rows, channels]`, and for every token its row, `index`: `[batch * tokens]`.
    pub fn new(rows: Tensor<2>, index: Tensor<1, Int>) -> Self {
        Self { rows, index }
    }

    /// Returns the rows, `[rows, channels]`.
    pub(crate) fn rows(&self) -> Tensor<2> {
        self.rows.clone()
    }

    /// Returns the condition without autodiff.
    pub(crate) fn without_autodiff(&self) -> Self {
        let (rows, index) = (self.rows.clone(), self.index.clone());
        Self { rows: rows.without_autodiff(), index: index.without_autodiff() }
    }

    /// Returns a condition of the same tokens with other rows, `[rows, channels]`.
    pub(crate) fn with_rows(&self, rows: Tensor<2>) -> Self {
        Self { rows, index: self.index.clone() }
    }
}

/// The map `W swish(c) + b` from a token's condition `c` to several vectors, which are all zero at
/// first.
#[derive(Module, Debug)]
pub(crate) struct Modulation {
    proj: Linear,
}

impl Modulation {
    /// Makes the map to `parts` vectors of `width` channels.
    pub(crate) fn new(init: &mut Init, width: usize, parts: usize) -> Self {
        Self { proj: Linear::zero(init, width, parts * width) }
    }

    /// Returns the vectors of every token of a batch, `[batch, tokens, channels]` each. Where
    /// nothing conditions, the condition is zero and all tokens share one vector,
    /// `[1, 1, channels]`.
    pub(crate) fn parts<const N: usize>(
        &self,
        condition: Option<&Condition>,
        batch: usize,
        tokens: usize,
    ) -> [Tensor<3>; N] {
        let all: Tensor<3> = match condition {
            Some(Condition { rows, index }) => {
                let rows = self.proj.forward(silu(rows.clone()));
                let [_, channels] = rows.dims();
                rows.select(0, index.clone()).reshape([batch, tokens, channels])
            }
            None => self.proj.bias.as_ref().map(Param::val).expect("made with a bias").unsqueeze(),
        };
        let width = all.dims()[2] / N;
        std::array::from_fn(|part| all.clone().narrow(2, part * width, width))
    }
}
