//! Convolutions of 3x3 and of 1x1 pixels with a bias, laid out as PyTorch's: `[outputs, inputs,
//! side, side]`.

use burn::module::Param;
use burn::prelude::*;
use mm_backbone::Init;
use mm_kernels::Precision;

/// A convolution; its border is of zeros, so an image keeps its size.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[outputs, inputs, side, side]` with a side of 3 or 1.
    weight: Param<Tensor<4>>,
    /// `[outputs]`
    bias: Param<Tensor<1>>,
}

impl Convolution {
    /// Draws normal weights of standard deviation `gain / sqrt(9 inputs)`, and a bias of zeros.
    pub(crate) fn of_neighbors(init: &mut Init, inputs: usize, outputs: usize, gain: f64) -> Self {
        Self::new(init, [outputs, inputs, 3, 3], gain)
    }

    /// Draws a map of the channels of every pixel.
    pub(crate) fn of_pixels(init: &mut Init, inputs: usize, outputs: usize, gain: f64) -> Self {
        Self::new(init, [outputs, inputs, 1, 1], gain)
    }

    fn new(init: &mut Init, shape: [usize; 4], gain: f64) -> Self {
        let [outputs, inputs, side, _] = shape;
        let weight = init.normal(shape, gain * ((inputs * side * side) as f64).powf(-0.5));
        Self { weight, bias: init.constant([outputs], 0.0) }
    }

    pub(crate) fn device(&self) -> Device {
        self.weight.val().device()
    }

    /// Returns the weights, `[outputs, inputs, side, side]`.
    pub(crate) fn weight(&self) -> Tensor<4> {
        self.weight.val()
    }

    /// Computes `[images, inputs, height, width]` -> `[images, outputs, height, width]`. Factors of
    /// 3x3 pixels are rounded to `precision`.
    pub(crate) fn forward(&self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        let weight = self.weight.val();
        let [outputs, inputs, side, _] = weight.dims();
        let y = if side == 3 {
            mm_kernels::convolution(x, weight, precision)
        } else {
            mm_kernels::linear_of_pixels(x, weight.reshape([outputs, inputs]))
        };
        y + self.bias.val().reshape([1, outputs, 1, 1])
    }

    /// Computes every second row and column of a convolution of 3x3 pixels that looks one pixel to
    /// the right and below: `[images, inputs, height, width]` -> `[images, outputs, height/2,
    /// width/2]`.
    ///
    /// That is a stride of 2 over an image with a border of zeros at the right and the bottom
    /// alone. The rows between are computed and left out, because the kernel of the whole
    /// convolution has a fast backward pass.
    pub(crate) fn halved(&self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        let y = self.forward(x, precision);
        let [images, channels, height, width] = y.dims();
        let (rows, cols) = (height / 2, width / 2);
        y.reshape([images * channels, rows, 2, cols, 2])
            .slice([0..images * channels, 0..rows, 1..2, 0..cols, 1..2])
            .reshape([images, channels, rows, cols])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;

    use super::*;

    #[test]
    fn the_two_sizes_and_the_halving_are_burns_convolutions() {
        let device = Device::flex();
        let mut init = Init::new(1, &device);
        let x = init.normal([2, 3, 6, 4], 1.0).val();
        let near = Convolution::of_neighbors(&mut init, 3, 5, 1.0);
        let single = Convolution::of_pixels(&mut init, 3, 5, 1.0);
        let close = |found: Tensor<4>, wanted: Tensor<4>| {
            assert_eq!(found.dims(), wanted.dims());
            let most = (found - wanted).abs().max().into_scalar::<f32>();
            assert!(most < 1e-5, "{most}");
        };
        let plain = |map: &Convolution, x: Tensor<4>, stride: usize, pad: usize| {
            let options = ConvOptions::new([stride; 2], [pad; 2], [1, 1], 1);
            conv2d(x, map.weight.val(), Some(map.bias.val()), options)
        };
        close(near.forward(x.clone(), Precision::F32), plain(&near, x.clone(), 1, 1));
        close(single.forward(x.clone(), Precision::F32), plain(&single, x.clone(), 1, 0));
        let below = Tensor::zeros([2, 3, 1, 4], &device);
        let padded = Tensor::cat(vec![x.clone(), below], 2);
        let padded = Tensor::cat(vec![padded, Tensor::zeros([2, 3, 7, 1], &device)], 3);
        close(near.halved(x, Precision::F32), plain(&near, padded, 2, 0));
    }
}
