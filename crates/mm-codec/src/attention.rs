//! One head of attention over all cells of an image:
//! `x + W_o softmax(q kᵀ / sqrt(channels)) v` with `q, k, v` of the normed `x`.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use mm_backbone::Init;

use crate::norm::GroupNorm;

/// A linear map laid out as PyTorch's, `y = x Wᵀ + b`.
#[derive(Module, Debug)]
pub struct Map {
    /// `[outputs, inputs]`
    weight: Param<Tensor<2>>,
    /// `[outputs]`
    bias: Param<Tensor<1>>,
}

impl Map {
    fn new(init: &mut Init, channels: usize, gain: f64) -> Self {
        let weight = init.normal([channels, channels], gain * (channels as f64).powf(-0.5));
        Self { weight, bias: init.constant([channels], 0.0) }
    }

    /// Computes `[images, cells, inputs]` -> `[images, cells, outputs]`.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [images, cells, inputs] = x.dims();
        let [outputs, _] = self.weight.dims();
        let y = x.reshape([images * cells, inputs]).matmul(self.weight.val().transpose());
        (y + self.bias.val().reshape([1, outputs])).reshape([images, cells, outputs])
    }
}

/// Attention in the middle of an encoder or a decoder.
#[derive(Module, Debug)]
pub struct CellAttention {
    group_norm: GroupNorm,
    to_q: Map,
    to_k: Map,
    to_v: Map,
    /// One map; diffusers has a list of it and of a dropout.
    to_out: Vec<Map>,
}

impl CellAttention {
    /// Makes attention that changes nothing at first.
    pub(crate) fn new(init: &mut Init, channels: usize, groups: usize) -> Self {
        Self {
            group_norm: GroupNorm::new(init, channels, groups),
            to_q: Map::new(init, channels, 1.0),
            to_k: Map::new(init, channels, 1.0),
            to_v: Map::new(init, channels, 1.0),
            to_out: vec![Map::new(init, channels, 0.0)],
        }
    }

    /// Computes `[images, channels, height, width]` -> the same shape.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [images, channels, height, width] = x.dims();
        let cells = self.group_norm.forward(x.clone());
        let cells = cells.reshape([images, channels, height * width]).swap_dims(1, 2);
        let scale = (channels as f64).powf(-0.5);
        let scores = (self.to_q.forward(cells.clone()) * scale)
            .matmul(self.to_k.forward(cells.clone()).swap_dims(1, 2));
        let mixed = softmax(scores, 2).matmul(self.to_v.forward(cells));
        let mixed = self.to_out.iter().fold(mixed, |mixed, map| map.forward(mixed));
        x + mixed.swap_dims(1, 2).reshape([images, channels, height, width])
    }
}
