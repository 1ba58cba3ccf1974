//! The patch discriminator of VQGAN (Esser et al. 2021, arXiv:2012.09841, equations 5 to 7): it
//! says of every region of an image whether it was decoded, and the decoder learns to be taken for
//! real:
//!
//! ```text
//! discriminator:  mean relu(1 - D(x)) + mean relu(1 + D(x'))    all over 2      (hinge)
//! adversarial:    λ · mean -D(x'),   λ = |∇ error| / (|∇ (-D)| + 1e-4)   of the last convolution
//! ```
//!
//! Both are terms of one loss, and one backward pass computes both gradients: the discriminator is
//! shown images without their gradients, and the decoder is shown to a discriminator without its
//! own. The perceptual distance of the paper needs another network and is not here.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::activation::{leaky_relu, relu};
use mm_backbone::Init;
use mm_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::CodecError;
use crate::convolution::Convolution;
use crate::norm::GroupNorm;

/// Sizes of a discriminator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscriminatorConfig {
    /// Channels of the first level; every further level has twice as many, up to eight times.
    pub channels: usize,
    /// Levels, each of which halves the image.
    pub layers: usize,
}

impl DiscriminatorConfig {
    /// Checks every field that can be wrong.
    pub fn validate(&self) -> Result<(), CodecError> {
        let Self { channels, layers } = *self;
        CodecError::check("channels", (4..=1024).contains(&channels), channels, "4 to 1024")?;
        CodecError::check(
            "channels",
            channels.is_multiple_of(GROUPS),
            channels,
            "a multiple of 4",
        )?;
        CodecError::check("layers", (1..=6).contains(&layers), layers, "1 to 6")
    }
}

/// Groups of the group norms, which take the place of batch norms: a micro-batch is small.
const GROUPS: usize = 4;
/// The slope of the activation below zero.
const SLOPE: f64 = 0.2;
/// No gradient of the last convolution is taken for smaller.
const LEAST: f64 = 1e-4;
/// The largest weight of the adversarial term.
const MOST: f64 = 1e4;

/// One level, which halves an image.
#[derive(Module, Debug)]
pub struct Level {
    conv: Convolution,
    /// Absent at the first level.
    norm: Option<GroupNorm>,
}

/// A network that tells decoded images from real ones, region by region.
#[derive(Module, Debug)]
pub struct Discriminator {
    levels: Vec<Level>,
    out: Convolution,
}

/// What a discriminator adds to the loss of a codec.
#[derive(Debug, Clone)]
pub struct Adversarial {
    /// What the decoder minimizes, with its adaptive weight, `[1]`.
    pub adversarial: Tensor<1>,
    /// What the discriminator minimizes, `[1]`.
    pub discriminator: Tensor<1>,
}

impl Discriminator {
    pub(crate) fn new(init: &mut Init, config: &DiscriminatorConfig) -> Self {
        let mut inputs = mm_patch::RGB_CHANNELS;
        let mut levels = vec![];
        for level in 0..config.layers {
            let outputs = config.channels << level.min(3);
            let conv = Convolution::of_neighbors(init, inputs, outputs, 1.0);
            let norm = (level > 0).then(|| GroupNorm::new(init, outputs, GROUPS));
            levels.push(Level { conv, norm });
            inputs = outputs;
        }
        Self { levels, out: Convolution::of_neighbors(init, inputs, 1, 0.1) }
    }

    /// Computes how real every region is: `[images, 3, height, width]` -> `[images, 1, rows,
    /// cols]`. An image with an odd side stays as large as it is.
    pub(crate) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut x = images;
        for level in &self.levels {
            let [_, _, height, width] = x.dims();
            let halves = height.is_multiple_of(2) && width.is_multiple_of(2);
            x = if halves {
                level.conv.halved(x, Precision::F32)
            } else {
                level.conv.forward(x, Precision::F32)
            };
            if let Some(norm) = &level.norm {
                x = norm.forward(x);
            }
            x = leaky_relu(x, SLOPE);
        }
        self.out.forward(x, Precision::F32)
    }

    /// Computes both terms of real and decoded images, `[images, 3, height, width]` each. `last`
    /// computes the decoded images again, with a graph of their own, and `weight` is what its
    /// gradients are taken of: the last convolution's `[outputs, inputs, 3, 3]`.
    pub(crate) fn terms(
        &self,
        real: Tensor<4>,
        decoded: Tensor<4>,
        last: &dyn Fn() -> Tensor<4>,
        weight: &Tensor<4>,
    ) -> Adversarial {
        let fixed = self.valid();
        let size = |loss: Tensor<1>| {
            let grads = loss.backward();
            let grad = weight.grad(&grads).expect("the images depend on the last convolution");
            grad.square().sum().sqrt()
        };
        let error = size((last() - real.clone()).square().mean());
        let taken = size(fixed.forward(last()).mean());
        let factor = (error / (taken + LEAST)).clamp(0.0, MOST);
        let found = -fixed.forward(decoded.clone()).mean();
        let (of_real, of_decoded) = (self.forward(real), self.forward(decoded.detach()));
        let hinge = relu(1.0 - of_real).mean() + relu(of_decoded + 1.0).mean();
        Adversarial { adversarial: found * factor, discriminator: hinge / 2.0 }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Gradients;

    use super::*;
    use crate::{
        AutoencoderSizes, CodeAutoencoder, CodeConfig, CodebookConfig, Codec, QuantizerConfig,
    };

    fn codec(device: &Device) -> CodeAutoencoder {
        let network = AutoencoderSizes {
            block_out_channels: vec![4, 4],
            layers_per_block: 1,
            norm_num_groups: 2,
            mid_block_add_attention: false,
        };
        let codebook = CodebookConfig { codes: 7, channels: 3, decay: 0.9, dead_below: 0.02 };
        let discriminator = Some(DiscriminatorConfig { channels: 4, layers: 2 });
        let quantizer = QuantizerConfig::Codebook(codebook);
        let config = CodeConfig { network, quantizer, discriminator, queries: None };
        CodeAutoencoder::drawn(&config, &mut Init::new(5, device))
    }

    /// Collects the sum of the squares of the gradients of every weight, by name.
    struct Squares<'a> {
        grads: &'a Gradients,
        path: Vec<String>,
        found: Vec<(String, f32)>,
    }

    impl ModuleVisitor for Squares<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(grad) = param.val().grad(self.grads) else { return };
            let square = grad.square().sum().into_scalar::<f32>();
            self.found.push((self.path.join("."), square));
        }
    }

    fn squares(codec: &Codec, loss: Tensor<1>) -> Vec<(String, f32)> {
        let grads = loss.backward();
        let mut squares = Squares { grads: &grads, path: vec![], found: vec![] };
        codec.visit(&mut squares);
        squares.found.into_iter().filter(|(_, square)| *square > 0.0).collect()
    }

    #[test]
    fn each_term_moves_one_side_alone_and_the_weight_makes_both_gradients_equally_large() {
        let device = Device::flex().autodiff();
        let codec = Codec::Codes(codec(&device));
        let images = Init::new(1, &Device::flex()).normal([2, 3, 8, 8], 1.0).val();
        let pass = || {
            let pass = codec.pass(images.clone(), images.clone(), Precision::F32);
            (pass.adversarial.clone().expect("it has a discriminator"), pass)
        };
        let is_judge = |name: &String| name.starts_with("discriminator");
        let own = squares(&codec, pass().0.discriminator);
        assert!(own.len() > 4 && own.iter().all(|(name, _)| is_judge(name)), "{own:?}");
        let fooled = squares(&codec, pass().0.adversarial);
        assert!(fooled.len() > 4 && !fooled.iter().any(|(name, _)| is_judge(name)), "{fooled:?}");
        let error = squares(&codec, (pass().1.images - images.clone()).square().mean());
        let last = |found: &[(String, f32)]| {
            let weight = found.iter().find(|(name, _)| name == "decoder.conv_out.weight");
            weight.expect("the last convolution has a gradient").1.sqrt()
        };
        let (fooled, error) = (last(&fooled), last(&error));
        assert!((fooled / error - 1.0).abs() < 0.05, "{fooled} and {error}");
    }

    #[test]
    fn a_codec_that_is_not_trained_has_no_terms() {
        let device = Device::flex();
        let images = Init::new(1, &device).normal([1, 3, 8, 8], 1.0).val();
        let pass = Codec::Codes(codec(&device)).pass(images.clone(), images, Precision::F32);
        assert!(pass.adversarial.is_none());
    }
}
