//! A codec as a network: images come as patches, and go out as patches again.
//!
//! A codec does not denoise. Its loss is the squared error of the images that it decodes, and what
//! is minimized of its latents beside that; the noise of a batch is what Gaussian latents are drawn
//! with.

use burn::prelude::*;
use mm_codec::{Adversarial, Codec, ImageCodec};
use mm_kernels::Precision;

use crate::batch::{ImageTargets, Inputs};
use crate::networks::pixels::on_pixels;

/// Computes what a codec makes of the patches that a network is shown, and zeros where there is
/// none: `[rows * tokens, patch_dim]`.
pub(crate) fn hidden(codec: &Codec, inputs: &Inputs) -> Tensor<2> {
    let tokens = inputs.rows * inputs.tokens;
    match &inputs.patches {
        None => Tensor::zeros([tokens, 1], &codec.device()),
        Some(patches) => {
            let decoded = on_pixels(patches.noisy.clone(), &patches.grids, &mut |images, _| {
                codec.decode(codec.encode(images))
            });
            let none = Tensor::zeros([tokens, decoded.dims()[1]], &codec.device());
            Tensor::cat(vec![none, decoded], 0).select(0, patches.source.clone())
        }
    }
}

/// What a codec makes of the target images of a batch.
pub(crate) struct Decoded {
    /// Their patches, `[patches, patch_dim]`.
    pub patches: Tensor<2>,
    /// The latents' share of the loss, a mean over all patches, `[1]`.
    pub latent: Tensor<1>,
    /// What a discriminator adds, means over all patches.
    pub adversarial: Option<Adversarial>,
}

/// Encodes and decodes the target images of a batch.
pub(crate) fn decoded(codec: &Codec, target: &ImageTargets, precision: Precision) -> Decoded {
    let count = target.clean.dims()[0];
    let mut latent: Option<Tensor<1>> = None;
    let mut adversarial: Option<Adversarial> = None;
    let eps = noise_images(target);
    let patches = on_pixels(target.clean.clone(), &target.grids, &mut |images, which| {
        let noise = which.iter().map(|image| eps[*image].clone()).collect();
        let pass = codec.pass(images, Tensor::cat(noise, 0), precision);
        let tokens: usize = which.iter().map(|image| target.grids[*image].tokens()).sum();
        let share = tokens as f64 / count as f64;
        latent = Some(added(latent.take(), pass.latent, share));
        if let Some(terms) = pass.adversarial {
            let [fools, tells] = match adversarial.take() {
                Some(sum) => [Some(sum.adversarial), Some(sum.discriminator)],
                None => [None, None],
            };
            adversarial = Some(Adversarial {
                adversarial: added(fools, terms.adversarial, share),
                discriminator: added(tells, terms.discriminator, share),
            });
        }
        pass.images
    });
    let latent = latent.unwrap_or_else(|| Tensor::zeros([1], &codec.device()));
    Decoded { patches, latent, adversarial }
}

/// Adds a share of a mean to the sum so far, both `[1]`.
fn added(sum: Option<Tensor<1>>, mean: Tensor<1>, share: f64) -> Tensor<1> {
    match sum {
        Some(sum) => sum + mean * share,
        None => mean * share,
    }
}

/// Returns the noise of every target image, `[1, colors, height, width]` each.
fn noise_images(target: &ImageTargets) -> Vec<Tensor<4>> {
    let mut start = 0;
    let one = |grid: &mm_patch::Grid| {
        let patches = target.eps.clone().narrow(0, start, grid.tokens());
        start += grid.tokens();
        mm_patch::unpatchify(patches.unsqueeze_dim(0), *grid)
    };
    target.grids.iter().map(one).collect()
}
