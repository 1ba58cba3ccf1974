//! The hook through which an edit takes part in the drawing of an image.

use burn::prelude::*;
use mm_diffusion::Level;
use mm_patch::{Grid, Image};

/// What an image has to keep while it is drawn.
///
/// The methods are called in the order in which they stand here, [`state`](Self::state) and
/// [`clean`](Self::clean) at every call of the network. All do nothing unless they are overridden,
/// so that an edit states only what it changes. Tensors are `[rows, patches, patch_dim]`, in
/// numbers from -1 to 1; what an edit knows of one image is broadcast over the rows.
///
/// Every sampler here moves along the clean estimate. Where the estimate is fixed at `x` and the
/// start is `s x + n e`, the state of a deterministic sampler is therefore `s x + n e` at every
/// level. A sampler that draws fresh noise leaves that line, and `state` puts it back for the
/// network's eyes.
///
/// ```
/// use burn::prelude::*;
/// use mm_diffusion::Level;
/// use mm_model::Constrain;
///
/// /// Keeps estimates in the range of pixels, as "dynamic thresholding" at 1 does.
/// struct Clipped;
///
/// impl Constrain for Clipped {
///     fn clean(&mut self, clean: Tensor<3>, _level: &Level) -> Tensor<3> {
///         clean.clamp(-1.0, 1.0)
///     }
/// }
/// ```
pub trait Constrain {
    /// Says whether nothing is asked, so that images may be written code by code too.
    fn is_free(&self) -> bool {
        false
    }

    /// Hears of the grid of the images that are drawn next, one a row.
    fn begin(&mut self, _grid: Grid) {}

    /// Returns the first of `steps` denoising steps that is made; those before are left out.
    fn first_step(&mut self, _steps: usize) -> usize {
        0
    }

    /// Returns the noisy patches from which the drawing starts. `noise` is standard normal, and
    /// `levels` are those that are visited; none where no step is made.
    /// `[rows, patches, patch_dim]` -> the same shape.
    fn start(&mut self, noise: Tensor<3>, _levels: &[Level]) -> Tensor<3> {
        noise
    }

    /// Returns the noisy patches of `level` that the network is shown instead of `noisy`:
    /// `[rows, patches, patch_dim]` -> the same shape.
    fn state(&mut self, noisy: Tensor<3>, _level: &Level) -> Tensor<3> {
        noisy
    }

    /// Returns the estimate of the clean patches, made at `level`, that the sampler goes on with:
    /// `[rows, patches, patch_dim]` -> the same shape.
    fn clean(&mut self, clean: Tensor<3>, _level: &Level) -> Tensor<3> {
        clean
    }

    /// Returns the image of one row, changed so that it keeps the constraint exactly. `image` is
    /// `drawn`, one image's patches in the order of [`mm_patch::patchify`], rounded to bytes.
    fn finish(&self, image: Image, _drawn: &[f32]) -> Image {
        image
    }
}

/// An image drawn without any constraint.
#[derive(Debug, Clone, Copy)]
pub struct Unconstrained;

impl Constrain for Unconstrained {
    fn is_free(&self) -> bool {
        true
    }
}
