//! Inpainting: what a mask frees is drawn anew, and the rest of the image is kept to the bit.
//!
//! Known pixels are put back at every step with that step's noise, as in RePaint (Lugmayr et al.
//! 2022, arXiv:2201.09865, eq. 8) without its jumps back in time: the network is shown
//! `s x + n e` at a known pixel `x`, where `e` is the noise of the start, and the estimate of that
//! pixel is `x`. Rounding errors of the tensors end with the image: the bytes of kept pixels are
//! copied from the input.

use burn::prelude::*;
use mm_diffusion::Level;
use mm_patch::{Grid, Image, image_to_patches};

use super::error::{EditError, grid_of, same_size};
use super::image_to_image::{CLEAN, check_strength, steps_of};
use super::mask::Mask;
use crate::generate::constrain::Constrain;

/// What the gray pixels of a mask mean; black and white ones mean the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SoftMask {
    /// A share of the new pixel: the estimate at every step is the mean of the network's and the
    /// known pixel, weighted by the mask.
    #[default]
    Blend,
    /// A strength of its own for each pixel, as in differential diffusion (Levin and Fried 2023,
    /// arXiv:2306.00950): a pixel is known until the step at which [`ImageToImage`] of that
    /// strength would start, and free from then on.
    ///
    /// [`ImageToImage`]: super::image_to_image::ImageToImage
    Strength,
}

/// An image, of which the pixels that a mask frees are drawn anew.
///
/// ```
/// use mm_model::{Document, Inpaint, LoadedModel, Mask, Region};
/// use mm_patch::Image;
///
/// fn without_the_middle(
///     model: &LoadedModel,
///     image: Image, // 32 x 32 pixels
/// ) -> Result<Vec<Image>, Box<dyn std::error::Error>> {
///     let mask = Mask::rectangle(32, 32, Region { x: 8, y: 8, width: 16, height: 16 })?;
///     let mut inpaint = Inpaint::new(image, mask, model.config.patch)?;
///     let prompt = Document::of_text("red K on yellow");
///     Ok(model.draw_constrained(&prompt, 4, inpaint.grid(), &model.options(0), &mut inpaint)?)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Inpaint {
    image: Image,
    mask: Mask,
    grid: Grid,
    soft: SoftMask,
    strength: f64,
    /// The number of denoising steps of the whole way.
    steps: usize,
    /// The levels that are visited.
    levels: Vec<Level>,
    known: Option<Known>,
}

/// What is known of the image, on the device.
#[derive(Debug, Clone)]
struct Known {
    /// The clean patches, `[1, patches, patch_dim]`.
    clean: Tensor<3>,
    /// How free each number is, on the same axes: a share for [`SoftMask::Blend`], and the number
    /// of steps for [`SoftMask::Strength`].
    free: Tensor<3>,
    /// The noise of the start, `[rows, patches, patch_dim]`.
    eps: Tensor<3>,
}

impl Inpaint {
    /// Prepares an edit of the pixels that `mask` frees, for a model of square patches of `patch`
    /// pixels.
    pub fn new(image: Image, mask: Mask, patch: usize) -> Result<Self, EditError> {
        let grid = grid_of("image", image.width(), image.height(), patch)?;
        same_size("mask", mask.width(), mask.height(), &image)?;
        if mask.is_empty() {
            return Err(EditError::EmptyMask);
        }
        let soft = SoftMask::Blend;
        Ok(Self { image, mask, grid, soft, strength: 1.0, steps: 0, levels: vec![], known: None })
    }

    /// Says what the gray pixels of the mask mean.
    #[must_use]
    pub fn soft(self, soft: SoftMask) -> Self {
        Self { soft, ..self }
    }

    /// Lets the edit start from the image at this strength instead of from noise alone, as
    /// [`ImageToImage`](super::image_to_image::ImageToImage) does; 1 starts from noise.
    pub fn strength(self, strength: f64) -> Result<Self, EditError> {
        check_strength(strength)?;
        Ok(Self { strength, ..self })
    }

    /// Returns the patches of the image.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Returns the number of the last steps in which a pixel of this byte of the mask is free.
    fn free_steps(&self, byte: u8) -> usize {
        let own = match self.soft {
            SoftMask::Blend if byte > 0 => 1.0,
            _ => f64::from(byte) / 255.0,
        };
        steps_of(own * self.strength, self.steps)
    }

    /// Returns the mask as numbers of patches: shares, or steps.
    fn free(&self) -> Vec<f32> {
        let mask =
            image_to_patches(&self.mask.image(), self.grid).expect("the sizes were compared");
        let number = |number: f32| match self.soft {
            SoftMask::Blend => (number + 1.0) / 2.0,
            SoftMask::Strength => self.free_steps(((number + 1.0) * 127.5).round() as u8) as f32,
        };
        mask.into_iter().map(number).collect()
    }

    /// Returns `fresh` where pixels are free at `level`, and `known` elsewhere.
    fn mix(&self, fresh: Tensor<3>, known: Tensor<3>, level: &Level) -> Tensor<3> {
        let free = &self.known.as_ref().expect("the drawing was started").free;
        let free = match self.soft {
            SoftMask::Blend => free.clone(),
            SoftMask::Strength => {
                let past = |seen: &&Level| seen.signal_fraction() <= level.signal_fraction();
                let left = self.levels.len() - self.levels.iter().take_while(past).count();
                free.clone().greater_elem(left as f32).float()
            }
        };
        fresh * free.clone() + known * (1.0 - free)
    }
}

impl Constrain for Inpaint {
    fn first_step(&mut self, steps: usize) -> usize {
        self.steps = steps;
        let most = self.mask.bytes().iter().copied().max().unwrap_or(0);
        steps - self.free_steps(most)
    }

    fn start(&mut self, noise: Tensor<3>, levels: &[Level]) -> Tensor<3> {
        let device = noise.device();
        let shape = [1, self.grid.tokens(), self.grid.patch_dim()];
        let tensor =
            |numbers: Vec<f32>| Tensor::<3>::from_data(TensorData::new(numbers, shape), &device);
        let clean = image_to_patches(&self.image, self.grid).expect("the grid is the image's");
        let known = Known { clean: tensor(clean), free: tensor(self.free()), eps: noise.clone() };
        self.levels = levels.to_vec();
        let from = levels.first().copied().unwrap_or(CLEAN);
        let noised = from.noised_tensor(known.clean.clone(), noise.clone());
        self.known = Some(known);
        if levels.len() < self.steps { noised } else { self.mix(noise, noised, &from) }
    }

    fn state(&mut self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        let Some(Known { clean, eps, .. }) = &self.known else { return noisy };
        let noised = level.noised_tensor(clean.clone(), eps.clone());
        self.mix(noisy, noised, level)
    }

    fn clean(&mut self, clean: Tensor<3>, level: &Level) -> Tensor<3> {
        let Some(Known { clean: known, .. }) = &self.known else { return clean };
        self.mix(clean, known.clone(), level)
    }

    fn finish(&self, mut image: Image, _drawn: &[f32]) -> Image {
        for (at, &free) in self.mask.bytes().iter().enumerate() {
            if free == 0 {
                let (x, y) = (at % self.mask.width(), at / self.mask.width());
                image.set_pixel(x, y, self.image.pixel(x, y));
            }
        }
        image
    }
}
