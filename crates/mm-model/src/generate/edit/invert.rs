//! Inversion: an image back to the noise that a deterministic sampler would draw it from, and drawn
//! from there again, with the same caption or another (Song et al. 2021, arXiv:2010.02502).

use burn::prelude::*;
use mm_diffusion::{Guidance, Level, Sampler, invert};
use mm_patch::{Grid, Image, image_to_patches};

use super::error::{EditError, grid_of};
use crate::generate::constrain::Constrain;
use crate::{Document, GenerateOptions, GenerationSession, LoadedModel};

/// The noise of an image. As a constraint, it lets a drawing start there.
#[derive(Debug, Clone)]
pub struct FromNoise {
    /// The noisy patches of the noisiest level, `[rows, patches, patch_dim]`.
    pub noise: Tensor<3>,
    /// The patches of the image.
    pub grid: Grid,
}

impl Constrain for FromNoise {
    fn start(&mut self, _noise: Tensor<3>, _levels: &[Level]) -> Tensor<3> {
        self.noise.clone()
    }
}

/// By how much an image differs from itself after the way to its noise and back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundTrip {
    /// The root of the mean of the squared differences, in levels of a byte.
    pub rms: f64,
    /// The largest difference, in levels of a byte.
    pub largest: u8,
}

impl RoundTrip {
    /// Compares two images of one size.
    pub fn between(first: &Image, last: &Image) -> Self {
        let pairs = first.rgb().iter().zip(last.rgb());
        let differences = pairs.map(|(a, b)| a.abs_diff(*b));
        let squares: f64 = differences.clone().map(|by| f64::from(by).powi(2)).sum();
        let rms = (squares / first.rgb().len() as f64).sqrt();
        Self { rms, largest: differences.max().unwrap_or(0) }
    }
}

/// An image drawn again from its own noise.
#[derive(Debug, Clone)]
pub struct CaptionSwap {
    /// The drawing with the new caption.
    pub image: Image,
    /// The drawing with the old caption, which the image should equal.
    pub reconstruction: Image,
    /// By how much it does not.
    pub error: RoundTrip,
}

impl LoadedModel {
    /// Returns the noise from which the sampler of `options` draws an image after its prompt,
    /// without guidance.
    ///
    /// The sampler must draw no noise: `euler`, `ddim`, `heun` or `dpm++2m`. The way back is of the
    /// same order.
    pub fn invert(
        &self,
        image: &Image,
        prompt: &Document,
        options: &GenerateOptions,
    ) -> Result<FromNoise, EditError> {
        let second_order = match options.sampler {
            Sampler::Euler => false,
            Sampler::Ddim { eta: 0.0 } => false,
            Sampler::Heun | Sampler::DpmSolverPp2m => true,
            other => {
                let wanted = "one that draws no noise: euler, ddim, heun or dpm++2m";
                return Err(EditError::Setting {
                    name: "sampler",
                    found: other.to_string(),
                    wanted,
                });
            }
        };
        self.check_edits()?;
        let grid = grid_of("image", image.width(), image.height(), self.config.patch)?;
        let prompts = std::slice::from_ref(prompt);
        let session = GenerationSession::before_image(self, prompts, grid)?;
        let sampler = session.image(grid, Guidance::OFF)?;
        let levels = self.config.schedule.sampling_levels(options.steps);
        let levels = levels.map_err(crate::GenerateError::from)?;
        let clean = sampler.tensor(image_to_patches(image, grid)?);
        let mut denoise = |noisy: Tensor<3>, level: &Level| sampler.denoise(noisy, level);
        Ok(FromNoise { noise: invert(&levels, clean, second_order, &mut denoise), grid })
    }

    /// Draws an image again with another caption, from the noise that it has under its own.
    pub fn swap_caption(
        &self,
        image: &Image,
        old: &Document,
        new: &Document,
        options: &GenerateOptions,
    ) -> Result<CaptionSwap, EditError> {
        let mut start = self.invert(image, old, options)?;
        let grid = start.grid;
        let plain = GenerateOptions { guidance: Guidance::OFF, ..options.clone() };
        let reconstruction = self.draw_constrained(old, 1, grid, &plain, &mut start)?.remove(0);
        let error = RoundTrip::between(image, &reconstruction);
        let drawn = self.draw_constrained(new, 1, grid, options, &mut start)?.remove(0);
        Ok(CaptionSwap { image: drawn, reconstruction, error })
    }
}
