//! One-dimensional codes, as the first half of SEED (Ge et al. 2023, arXiv:2307.08041): a few
//! queries look at the cells of an image, and a code is made of every query instead of every cell.
//! A query sees itself and those before it, so the codes have an order that is not one of places:
//!
//! ```text
//! encoder ─ cells ─► queries (causal among themselves, cross-attention to the cells) ─► codes
//! codes ─► one vector a place (cross-attention to the codes) ─ cells ─► decoder
//! ```
//!
//! SEED decodes with a frozen Stable Diffusion and learns from captions; here the decoder is the
//! codec's own and the pixels are all that is learned from.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::{silu, softmax};
use mm_backbone::Init;
use serde::{Deserialize, Serialize};

use crate::CodecError;

/// Sizes of one-dimensional codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueriesConfig {
    /// The number of queries, which is that of the codes of an image.
    pub count: usize,
    /// Layers before the codes, and as many behind them.
    pub layers: usize,
    /// Rows of the cells of an image; every image has as many.
    pub rows: usize,
    /// Columns of the cells of an image.
    pub cols: usize,
}

impl QueriesConfig {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), CodecError> {
        let Self { count, layers, rows, cols } = *self;
        CodecError::check("count", (1..=4096).contains(&count), count, "1 to 4096")?;
        CodecError::check("layers", (1..=32).contains(&layers), layers, "1 to 32")?;
        CodecError::check("rows", (1..=1024).contains(&rows), rows, "1 to 1024")?;
        CodecError::check("cols", (1..=1024).contains(&cols), cols, "1 to 1024")
    }
}

/// A linear map with a bias.
#[derive(Module, Debug)]
pub struct Map {
    /// `[inputs, outputs]`
    weight: Param<Tensor<2>>,
    /// `[outputs]`
    bias: Param<Tensor<1>>,
}

impl Map {
    fn new(init: &mut Init, inputs: usize, outputs: usize, gain: f64) -> Self {
        let weight = init.normal([inputs, outputs], gain * (inputs as f64).powf(-0.5));
        Self { weight, bias: init.constant([outputs], 0.0) }
    }

    /// Computes `[images, tokens, inputs]` -> `[images, tokens, outputs]`.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [images, tokens, inputs] = x.dims();
        let [_, outputs] = self.weight.dims();
        let y = x.reshape([images * tokens, inputs]).matmul(self.weight.val());
        (y + self.bias.val().reshape([1, outputs])).reshape([images, tokens, outputs])
    }
}

/// A norm of every token by its root mean square, with a learned scale.
#[derive(Module, Debug)]
pub struct Norm {
    /// `[channels]`
    weight: Param<Tensor<1>>,
}

impl Norm {
    fn new(init: &mut Init, channels: usize) -> Self {
        Self { weight: init.constant([channels], 1.0) }
    }

    /// Computes `[images, tokens, channels]` -> the same shape.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, _, channels] = x.dims();
        let size = (x.clone().square().mean_dim(2) + 1e-6).sqrt();
        x / size * self.weight.val().reshape([1, 1, channels])
    }
}

/// Attention of one head.
#[derive(Module, Debug)]
pub struct Attention {
    norm: Norm,
    to_q: Map,
    to_k: Map,
    to_v: Map,
    to_out: Map,
}

impl Attention {
    fn new(init: &mut Init, width: usize, seen: usize) -> Self {
        Self {
            norm: Norm::new(init, width),
            to_q: Map::new(init, width, width, 1.0),
            to_k: Map::new(init, seen, width, 1.0),
            to_v: Map::new(init, seen, width, 1.0),
            to_out: Map::new(init, width, width, 0.5),
        }
    }

    /// Adds to tokens `[images, tokens, width]` what they find among others, `[images, others,
    /// seen]`; `hidden` is what is added to the scores, `[1, tokens, others]`.
    fn forward(&self, x: Tensor<3>, others: Tensor<3>, hidden: Option<Tensor<3>>) -> Tensor<3> {
        let [_, _, width] = x.dims();
        let queries = self.to_q.forward(self.norm.forward(x.clone())) * (width as f64).powf(-0.5);
        let scores = queries.matmul(self.to_k.forward(others.clone()).swap_dims(1, 2));
        let scores = match hidden {
            Some(hidden) => scores + hidden,
            None => scores,
        };
        x + self.to_out.forward(softmax(scores, 2).matmul(self.to_v.forward(others)))
    }
}

/// One layer: attention among the tokens, attention to others, and a map of every token.
#[derive(Module, Debug)]
pub struct Layer {
    own: Attention,
    cross: Attention,
    norm: Norm,
    up: Map,
    down: Map,
}

impl Layer {
    fn new(init: &mut Init, width: usize, seen: usize) -> Self {
        Self {
            own: Attention::new(init, width, width),
            cross: Attention::new(init, width, seen),
            norm: Norm::new(init, width),
            up: Map::new(init, width, 2 * width, 1.0),
            down: Map::new(init, 2 * width, width, 0.5),
        }
    }

    /// Computes `[images, tokens, width]` -> the same shape, given others, `[images, others,
    /// seen]`, and what is added to the scores among the tokens, `[1, tokens, tokens]`.
    fn forward(&self, x: Tensor<3>, others: Tensor<3>, hidden: Option<Tensor<3>>) -> Tensor<3> {
        let x = self.own.forward(x.clone(), x, hidden);
        let x = self.cross.forward(x, others, None);
        let more = self.down.forward(silu(self.up.forward(self.norm.forward(x.clone()))));
        x + more
    }
}

/// What makes queries of cells, and cells of what was made of queries.
#[derive(Module, Debug)]
pub struct Queries {
    /// The queries before they see anything, `[count, width]`.
    queries: Param<Tensor<2>>,
    /// What stands at every place before it sees a code, `[rows * cols, width]`.
    blank: Param<Tensor<2>>,
    /// What is added to every cell to tell where it is, `[rows * cols, features]`.
    at: Param<Tensor<2>>,
    /// What is added to every code to tell which one it is, `[count, channels]`.
    numbers: Param<Tensor<2>>,
    before: Vec<Layer>,
    to_codes: Map,
    behind: Vec<Layer>,
    to_cells: Map,
    rows: usize,
    cols: usize,
}

impl Queries {
    /// Makes queries of a `width` over cells of so many channels, which become `channels` of a
    /// code.
    pub(crate) fn new(
        init: &mut Init,
        config: &QueriesConfig,
        width: usize,
        channels: usize,
    ) -> Self {
        let QueriesConfig { count, layers, rows, cols } = *config;
        let places = rows * cols;
        Self {
            queries: init.normal([count, width], 1.0),
            blank: init.normal([places, width], 1.0),
            at: init.normal([places, width], 0.5),
            numbers: init.normal([count, channels], 0.5),
            before: (0..layers).map(|_| Layer::new(init, width, width)).collect(),
            to_codes: Map::new(init, width, channels, 1.0),
            behind: (0..layers).map(|_| Layer::new(init, width, channels)).collect(),
            to_cells: Map::new(init, width, channels, 1.0),
            rows,
            cols,
        }
    }

    /// Computes what codes are made of: cells `[images, width, rows, cols]` -> `[images, channels,
    /// 1, count]`.
    pub(crate) fn look(&self, cells: Tensor<4>) -> Tensor<4> {
        let [images, width, rows, cols] = cells.dims();
        let cells = cells.reshape([images, width, rows * cols]).swap_dims(1, 2);
        let cells = cells + self.at.val().unsqueeze_dim(0);
        let [count, _] = self.queries.dims();
        let mut x = self.queries.val().unsqueeze_dim::<3>(0).repeat_dim(0, images);
        let hidden = causal(count, &x);
        for layer in &self.before {
            x = layer.forward(x, cells.clone(), Some(hidden.clone()));
        }
        self.to_codes.forward(x).swap_dims(1, 2).unsqueeze_dim(2)
    }

    /// Computes the cells of what codes say: `[images, channels, 1, count]` -> `[images, channels,
    /// rows, cols]`.
    pub(crate) fn place(&self, codes: Tensor<4>) -> Tensor<4> {
        let [images, channels, _, count] = codes.dims();
        let codes = codes.reshape([images, channels, count]).swap_dims(1, 2);
        let codes = codes + self.numbers.val().unsqueeze_dim(0);
        let mut x = self.blank.val().unsqueeze_dim::<3>(0).repeat_dim(0, images);
        for layer in &self.behind {
            x = layer.forward(x, codes.clone(), None);
        }
        let cells = self.to_cells.forward(x).swap_dims(1, 2);
        cells.reshape([images, channels, self.rows, self.cols])
    }
}

/// Returns what hides every token behind a query from it, on the device and in the type of `like`,
/// `[images, count, width]`: `[1, count, count]`.
fn causal(count: usize, like: &Tensor<3>) -> Tensor<3> {
    let hidden = |at: usize| if at % count > at / count { -1e9 } else { 0.0 };
    let numbers: Vec<f64> = (0..count * count).map(hidden).collect();
    let numbers = TensorData::new(numbers, [1, count, count]);
    Tensor::from_data(numbers, (&like.device(), like.dtype()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: QueriesConfig = QueriesConfig { count: 5, layers: 2, rows: 2, cols: 3 };

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().unwrap()
    }

    #[test]
    fn a_code_does_not_depend_on_the_queries_behind_it() {
        let device = Device::flex();
        let mut init = Init::new(2, &device);
        let queries = Queries::new(&mut init, &CONFIG, 8, 3);
        let cells = init.normal([2, 8, 2, 3], 1.0).val();
        let before = queries.look(cells.clone());
        assert_eq!(before.dims(), [2, 3, 1, 5]);
        let mut other = queries.clone();
        other.queries = other.queries.map(|all| {
            let last = all.clone().narrow(0, 3, 2) + 1.0;
            Tensor::cat(vec![all.narrow(0, 0, 3), last], 0)
        });
        let after = other.look(cells);
        let of = |codes: &Tensor<4>, from: usize, count: usize| {
            numbers(codes.clone().narrow(3, from, count))
        };
        assert_eq!(of(&before, 0, 3), of(&after, 0, 3));
        assert_ne!(of(&before, 3, 1), of(&after, 3, 1));
        assert_ne!(of(&before, 4, 1), of(&after, 4, 1));
    }

    #[test]
    fn every_place_sees_every_code_and_every_code_every_cell() {
        let device = Device::flex().autodiff();
        let mut init = Init::new(2, &device);
        let queries = Queries::new(&mut init, &CONFIG, 8, 3);
        let cells = Init::new(4, &device).normal([1, 8, 2, 3], 1.0).val();
        let codes = Init::new(5, &device).normal([1, 3, 1, 5], 1.0).val();
        let cells = Tensor::from_data(cells.into_data(), &device).require_grad();
        let codes = Tensor::from_data(codes.into_data(), &device).require_grad();
        let grads = queries.look(cells.clone()).narrow(3, 0, 1).sum().backward();
        let seen = numbers(cells.grad(&grads).unwrap());
        assert!(seen.iter().all(|grad| *grad != 0.0), "{seen:?}");
        let placed = queries.place(codes.clone());
        assert_eq!(placed.dims(), [1, 3, 2, 3]);
        let grads = placed.narrow(3, 2, 1).narrow(2, 1, 1).sum().backward();
        let seen = numbers(codes.grad(&grads).unwrap());
        assert!(seen.iter().all(|grad| *grad != 0.0), "{seen:?}");
    }
}
