//! A convolutional U-Net in the manner of Su's ddpm.py (Su Jianlin, Keras-DDPM;
//! kexue.fm/archives/9152), after Ho et al. (2020, arXiv:2006.11239) and Ronneberger et al. (2015,
//! arXiv:1505.04597):
//!
//! ```text
//! x ── conv ── r r ──────────────────────────────── + r r ── norm ── conv ── y       level 0: full resolution
//!                └ halve ── r r ──────────── + r r ─┘                               level 1: half
//!                             └ halve … r … double ┘                                r: residual block, see `parts`
//! ```
//!
//! What the way down made is added on the way up, not joined: to what was doubled the level's last
//! output, to the output of every block on the way up the output of its mirror, to that of the last
//! the level's input. The embedding of the noise level goes into every block.
//!
//! It knows images alone: no text, no mask, no cache; every image is denoised for itself. Patches
//! are put together to pixels at its entry and cut again at its exit, so that batches, losses and
//! samplers are those of the other networks.
//!
//! Where this departs from ddpm.py:
//! - An image with an odd side is not halved, so any size of image works; attention is possible.
//! - The embedding of the noise level may be sinusoidal with a perceptron; Su's is a table.

mod config;
mod parts;

pub use config::UnetConfig;

use burn::prelude::*;
use mm_backbone::{BlockOptions, Init};
use mm_kernels::{doubled, halved};

use crate::TimeConfig;
use crate::batch::{Inputs, Patches};
use crate::networks::convolution::Convolution;
use crate::networks::pixels::on_pixels;
use crate::networks::time::TimeEmbedding;
use config::Channels;
use parts::{GroupNorm, Residual};

/// The U-Net's weights.
#[derive(Module, Debug)]
pub struct Unet {
    time: TimeEmbedding,
    first: Convolution,
    /// A list of blocks for every level, from full resolution down.
    down: Vec<Vec<Residual>>,
    middle: Residual,
    /// The blocks of the way up, the deepest first.
    up: Vec<Vec<Residual>>,
    norm: GroupNorm,
    last: Convolution,
    #[module(skip)]
    config: UnetConfig,
}

impl Unet {
    pub(crate) fn new(config: &UnetConfig, time: &TimeConfig, init: &mut Init) -> Self {
        let levels = config.growth.len();
        let gain = (2.0 * levels as f64 + 1.0).powf(-0.5);
        let Channels { down, middle, up } = config.channels();
        let level = |(level, blocks): (usize, Vec<[usize; 2]>), init: &mut Init| {
            let attends = config.attention.contains(&level);
            let block = |channels| Residual::new(init, config, channels, gain, attends);
            blocks.into_iter().map(block).collect::<Vec<_>>()
        };
        Self {
            time: TimeEmbedding::new(time, config.width, init)
                .expect("a checked U-Net is told the time"),
            first: Convolution::new(init, mm_patch::RGB_CHANNELS, config.width, 1.0),
            down: down.into_iter().enumerate().map(|blocks| level(blocks, init)).collect(),
            middle: Residual::new(init, config, middle, gain, false),
            up: (0..levels).rev().zip(up).map(|blocks| level(blocks, init)).collect(),
            norm: GroupNorm::new(init, config.width, config.groups),
            last: Convolution::new(init, config.width, mm_patch::RGB_CHANNELS, 1.0),
            config: config.clone(),
        }
    }

    pub(crate) fn device(&self) -> Device {
        self.first.device()
    }

    /// The output at every patch, and zeros where there is none: `[rows * tokens, numbers]`.
    pub(crate) fn hidden(&self, inputs: &Inputs) -> Tensor<2> {
        let places = inputs.rows * inputs.tokens;
        match &inputs.patches {
            None => Tensor::zeros([places, 1], &self.device()),
            Some(patches) => {
                let drawn = self.patches(patches, inputs.options);
                let none = Tensor::zeros([places, drawn.dims()[1]], &self.device());
                Tensor::cat(vec![none, drawn], 0).select(0, patches.source.clone())
            }
        }
    }

    /// `[patches, numbers]` of all images.
    fn patches(&self, patches: &Patches, options: BlockOptions) -> Tensor<2> {
        let times = self.time.forward(&patches.timesteps, &patches.jumps, &self.device());
        on_pixels(patches.noisy.clone(), &patches.grids, &mut |images, which| {
            let which: Vec<i32> = which.iter().map(|image| *image as i32).collect();
            let which = TensorData::new(which.clone(), [which.len()]);
            let time = times.clone().select(0, Tensor::from_data(which, &self.device()));
            self.forward(images, &time, options)
        })
    }

    /// `x`: `[images, colors, height, width]`, `time`: `[images, width]` -> the shape of `x`.
    pub(crate) fn forward(
        &self,
        x: Tensor<4>,
        time: &Tensor<2>,
        options: BlockOptions,
    ) -> Tensor<4> {
        let residual = |block: &Residual, x: Tensor<4>| {
            if options.activation_checkpointing {
                block.forward_checkpointed(x, time, options.precision)
            } else {
                block.forward(x, time, options.precision)
            }
        };
        let mut x = self.first.forward(x);
        let mut levels = vec![];
        for blocks in &self.down {
            let [_, _, height, width] = x.dims();
            let mut kept = vec![x.clone()];
            for block in blocks {
                x = residual(block, x);
                kept.push(x.clone());
            }
            let halves = self.config.halves(height, width);
            if halves {
                x = halved(x);
            } else {
                kept.pop(); // it goes on as it is
            }
            levels.push((kept, halves));
        }
        x = residual(&self.middle, x);
        for (blocks, (mut kept, halves)) in self.up.iter().zip(levels.into_iter().rev()) {
            if halves {
                x = doubled(x) + kept.pop().expect("the level's last output");
            }
            for (block, mirror) in blocks.iter().zip(kept.into_iter().rev()) {
                x = residual(block, x) + mirror;
            }
        }
        self.last.forward(self.norm.forward(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Module;

    /// Su's sizes, an eighth as wide.
    fn config() -> UnetConfig {
        UnetConfig {
            width: 16,
            growth: vec![1, 1, 2, 2],
            blocks: 2,
            groups: 4,
            smallest: 4,
            attention: vec![2],
        }
    }

    fn network(config: &UnetConfig) -> Unet {
        let time = TimeConfig::Table { steps: 10 };
        Unet::new(config, &time, &mut Init::new(1, &Device::flex()))
    }

    #[test]
    fn parameters_are_counted_as_they_are_made() {
        for attention in [vec![], vec![0, 2]] {
            let config = UnetConfig { attention, ..config() };
            let table = 10 * config.width; // of times, which is counted elsewhere
            let made = network(&config).num_params() - table;
            assert_eq!(config.parameters(), made, "{config:?}");
        }
    }

    #[test]
    fn any_size_of_image_comes_out_as_large_as_it_went_in() {
        let network = network(&config());
        let device = Device::flex();
        let time = Tensor::ones([2, 16], &device);
        for [height, width] in [[16, 16], [12, 20], [5, 8], [2, 2]] {
            let x = Init::new(2, &device).normal([2, 3, height, width], 1.0).val();
            let y = network.forward(x, &time, BlockOptions::default());
            assert_eq!(y.dims(), [2, 3, height, width]);
            assert!(y.abs().max().into_scalar::<f32>() < 1e3);
        }
    }

    #[test]
    fn every_pixel_sees_the_whole_image_and_no_other_image() {
        let network = network(&UnetConfig { attention: vec![], ..config() });
        let device = Device::flex();
        let time = Tensor::zeros([2, 16], &device);
        let x = Init::new(2, &device).normal([2, 3, 16, 16], 1.0).val();
        let mut changed = x.clone().into_data().try_to_vec::<f32>().unwrap();
        changed[0] += 1.0; // the first image's upper left corner
        let changed = Tensor::from_data(TensorData::new(changed, [2, 3, 16, 16]), &device);
        let forward = |x| network.forward(x, &time, BlockOptions::default());
        let change = forward(changed) - forward(x);
        let of = |image: usize, row: usize| {
            let part = change.clone().slice([image..image + 1, 0..3, row..row + 1, 0..16]);
            part.abs().max().into_scalar::<f32>()
        };
        assert!(of(0, 15) > 1e-6);
        assert_eq!(of(1, 0), 0.0);
    }

    #[test]
    fn blocks_that_are_computed_again_give_the_same_numbers_and_gradients() {
        let network = network(&config()).train();
        let device = Device::flex();
        let results = |activation_checkpointing| {
            let leaf = |seed, shape| {
                let x: Tensor<4> = Init::new(seed, &device).normal(shape, 1.0).val();
                x.without_autodiff().autodiff().require_grad()
            };
            let (x, time) = (leaf(2, [2, 3, 16, 16]), leaf(3, [2, 16, 1, 1]));
            let options = BlockOptions { activation_checkpointing, ..BlockOptions::default() };
            let y = network.forward(x.clone(), &time.clone().reshape([2, 16]), options);
            let grads = (y.clone() * leaf(4, [2, 3, 16, 16]).without_autodiff()).sum().backward();
            let own = &network.down[0][0];
            let weight = own.parameters().map(|weight| weight.grad(&grads).unwrap().into_data());
            let inputs = [x, time].map(|x| x.grad(&grads).unwrap().into_data());
            [vec![y.into_data()], inputs.to_vec(), weight.to_vec()].concat()
        };
        for (found, wanted) in results(true).iter().zip(results(false)) {
            found.assert_approx_eq::<f32>(&wanted, burn::tensor::Tolerance::rel_abs(1e-5, 1e-5));
        }
    }

    #[test]
    fn a_wrong_size_is_named() {
        let check = |change: fn(&mut UnetConfig), message: &str| {
            let mut config = config();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        };
        check(|c| c.groups = 3, "`unet.groups` is 3, wanted a divisor of `unet.width`");
        check(|c| c.blocks = 0, "`unet.blocks` is 0, wanted 1 to 256");
        check(
            |c| c.blocks = usize::MAX,
            &format!("`unet.blocks` is {}, wanted 1 to 256", usize::MAX),
        );
        check(
            |c| c.growth = vec![1; 1000],
            "`unet.growth` is of 1000 levels, wanted at most 256 levels",
        );
        check(
            |c| c.growth = vec![1, 0],
            "`unet.growth` is [1, 0], wanted one multiple of the width, at least 1, for every level",
        );
        check(
            |c| c.attention = vec![4],
            "`unet.attention` is [4], wanted numbers of levels, counted from 0",
        );
        assert!(config().validate().is_ok());
    }

    #[test]
    fn flops_are_counted_as_by_hand() {
        let one = UnetConfig {
            width: 1,
            growth: vec![1],
            blocks: 1,
            groups: 1,
            smallest: 4,
            attention: vec![],
        };
        // Products at a pixel: 3 x 9 at both ends, 2 x 9 in each of three blocks.
        let (ends, blocks) = (2 * 27, 3 * 18);
        assert_eq!(one.flops(2, 2), 2 * 4 * (ends + blocks));
        let two = UnetConfig { growth: vec![1, 1], ..one };
        let deep = 3 * 18; // down, middle and up at half the resolution
        assert_eq!(two.flops(8, 8), 2 * (64 * (ends + 2 * 18) + 16 * deep));
    }

    #[test]
    fn the_seeds_network_has_its_size() {
        let seed = UnetConfig {
            width: 128,
            growth: vec![1, 1, 2, 2, 4, 4],
            blocks: 2,
            groups: 32,
            smallest: 4,
            attention: vec![],
        };
        let millions = seed.parameters() as f64 / 1e6;
        assert!((40.0..70.0).contains(&millions), "{millions}");
    }
}
