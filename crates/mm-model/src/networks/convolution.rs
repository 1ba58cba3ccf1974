//! The 3x3 convolution with a border of zeros: `y[o] = Σ_i W[o, i] ⋆ x[i] + b[o]`.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::Init;
use mm_kernels::{Precision, convolution};

/// Channels of images to channels of as large images.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[outputs, inputs, 3, 3]`
    weight: Param<Tensor<4>>,
    /// `[outputs]`
    bias: Option<Param<Tensor<1>>>,
}

impl Convolution {
    /// Draws uniform weights of variance `gain / (9 (inputs + outputs) / 2)`, as Su's script does,
    /// without a bias.
    pub(crate) fn new(init: &mut Init, inputs: usize, outputs: usize, gain: f64) -> Self {
        let bound = (3.0 * gain / (4.5 * (inputs + outputs) as f64)).sqrt();
        Self { weight: init.uniform([outputs, inputs, 3, 3], bound), bias: None }
    }

    /// Passes `channels` channels on as they are, at first; with a bias.
    pub(crate) fn identity(init: &mut Init, channels: usize) -> Self {
        let mut weight = vec![0.0f32; channels * channels * 9];
        for channel in 0..channels {
            weight[(channel * channels + channel) * 9 + 4] = 1.0; // the middle of the kernel
        }
        Self {
            weight: init.given([channels, channels, 3, 3], weight),
            bias: Some(init.constant([channels], 0.0)),
        }
    }

    pub(crate) fn device(&self) -> Device {
        self.weight.val().device()
    }

    /// `[images, inputs, height, width]` -> `[images, outputs, height, width]`.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_in(x, Precision::F32)
    }

    /// Computes what [`forward`](Self::forward) does, of factors rounded to a type.
    pub(crate) fn forward_in(&self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        let y = convolution(x, self.weight.val(), precision);
        match &self.bias {
            Some(bias) => {
                let [_, outputs, _, _] = y.dims();
                y + bias.val().reshape([1, outputs, 1, 1])
            }
            None => y,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_changes_nothing_and_a_kernel_looks_at_neighbours() {
        let device = Device::flex();
        let mut init = Init::new(1, &device);
        let x = init.normal([2, 3, 4, 5], 1.0).val();
        let same = Convolution::identity(&mut init, 3).forward(x.clone());
        assert_eq!(same.into_data(), x.clone().into_data());
        let other = Convolution::new(&mut init, 3, 2, 1.0);
        let y = other.forward(x.clone());
        assert_eq!(y.dims(), [2, 2, 4, 5]);
        // One output number by hand: image 1, channel 0, the upper left corner.
        let w = other.weight.val();
        let by_hand: f32 = (0..2)
            .flat_map(|row| (0..2).map(move |col| (row, col)))
            .map(|(row, col)| {
                let seen = x.clone().slice([1..2, 0..3, row..row + 1, col..col + 1]);
                let kernel = w.clone().slice([0..1, 0..3, row + 1..row + 2, col + 1..col + 2]);
                (seen * kernel).sum().into_scalar::<f32>()
            })
            .sum();
        let found = y.slice([1..2, 0..1, 0..1, 0..1]).into_scalar::<f32>();
        assert!((found - by_hand).abs() < 1e-5, "{found}, {by_hand}");
    }
}
