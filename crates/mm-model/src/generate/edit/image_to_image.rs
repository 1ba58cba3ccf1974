//! Image to image: an image is noised part of the way and denoised again, as in SDEdit (Meng et al.
//! 2022, arXiv:2108.01073).

use burn::prelude::*;
use mm_diffusion::Level;
use mm_patch::{Grid, Image, image_to_patches};

use super::error::{EditError, grid_of};
use crate::generate::constrain::Constrain;

/// An image from which a drawing starts, and how far it may leave it.
///
/// With an empty prompt the drawings are variations of the image.
#[derive(Debug, Clone)]
pub struct ImageToImage {
    image: Image,
    grid: Grid,
    strength: f64,
}

impl ImageToImage {
    /// Prepares an edit that makes the last `strength` of all denoising steps, rounded up. The
    /// image is noised to the level of the first of them. A strength of 0 returns the image, and 1
    /// makes all steps.
    pub fn new(image: Image, strength: f64, patch: usize) -> Result<Self, EditError> {
        check_strength(strength)?;
        let grid = grid_of("image", image.width(), image.height(), patch)?;
        Ok(Self { image, grid, strength })
    }

    /// Returns the patches of the image.
    pub fn grid(&self) -> Grid {
        self.grid
    }
}

impl Constrain for ImageToImage {
    fn first_step(&mut self, steps: usize) -> usize {
        steps - steps_of(self.strength, steps)
    }

    fn start(&mut self, noise: Tensor<3>, levels: &[Level]) -> Tensor<3> {
        let shape = [1, self.grid.tokens(), self.grid.patch_dim()];
        let clean = image_to_patches(&self.image, self.grid).expect("the grid is the image's");
        let clean = Tensor::from_data(TensorData::new(clean, shape), &noise.device());
        levels.first().unwrap_or(&CLEAN).noised_tensor(clean, noise)
    }
}

/// The level of an image without noise, from which no step is made.
pub(super) const CLEAN: Level = Level { timestep: 0.0, signal: 1.0, noise: 0.0 };

/// Fails unless a strength is from 0 to 1.
pub(super) fn check_strength(strength: f64) -> Result<(), EditError> {
    EditError::unless((0.0..=1.0).contains(&strength), "strength", strength, "a number from 0 to 1")
}

/// Returns how many of `steps` steps an edit of this strength makes: its share, rounded up.
pub(super) fn steps_of(strength: f64, steps: usize) -> usize {
    let exact = strength * steps as f64;
    ((exact - 1e-6).ceil().max(0.0) as usize).min(steps) // 0.7 of 10 steps are 7, not 8
}
