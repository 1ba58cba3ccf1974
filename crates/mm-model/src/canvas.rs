//! Images that no prompt describes: drawn from noise, or mixed from real ones, by any sampler.
//!
//! An image's noise is a function of the seed and the image's number alone, so neither how many are drawn nor how many at once
//! changes a picture.

use std::ops::Range;

use burn::prelude::*;
use mm_diffusion::{Analytic, Level, Sampler, analytic_dpm};
use mm_patch::{Grid, Image, image_to_patches};

use crate::decoder::Decoder;
use crate::draw::images_of;
use crate::random::{Purpose, normals, stream};
use crate::{Document, DocumentError, GenerateError, LoadedModel};

/// Images denoised at once.
const TOGETHER: usize = 16;

/// The way from noise to image.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    /// The levels visited, noisiest first.
    pub levels: &'a [Level],
    /// The sampler.
    pub method: Method<'a>,
}

/// A sampler and what it needs to know.
#[derive(Debug, Clone, Copy)]
pub enum Method<'a> {
    /// One that needs nothing but the network.
    Plain(Sampler),
    /// Analytic-DPM with what was measured of this network.
    Analytic(Analytic<'a>),
}

/// Some images of one size being denoised at once.
#[derive(Debug)]
pub struct Canvas<'a> {
    decoder: Decoder<'a>,
    device: Device,
    grid: Grid,
    images: usize,
}

impl LoadedModel {
    /// A canvas for `images` pictures of `grid` that follow an empty document.
    pub fn canvas(&self, grid: Grid, images: usize) -> Result<Canvas<'_>, GenerateError> {
        if images == 0 {
            return Err(GenerateError::NoPrompt);
        }
        let prompt = self.drawing_prompt(&Document::default(), grid)?;
        let (decoder, _) = Decoder::prefill(&self.model, &self.config, &vec![prompt; images]);
        Ok(Canvas { decoder, device: self.model.device(), grid, images })
    }

    /// Draws the images of these numbers from noise.
    pub fn sample(
        &self,
        grid: Grid,
        numbers: Range<u64>,
        walk: Walk<'_>,
        seed: u64,
    ) -> Result<Vec<Image>, GenerateError> {
        let mut drawn = vec![];
        for first in numbers.clone().step_by(TOGETHER) {
            let canvas = self.canvas(grid, TOGETHER.min((numbers.end - first) as usize))?;
            let mut noise = canvas.noise(seed, first);
            let start = noise();
            drawn.extend(images_of(canvas.denoise(walk, start, &mut noise), grid)?);
        }
        Ok(drawn)
    }

    /// Pictures between two real ones, for each pair `cols` of them: mixed pixel by pixel from the first to the second, noised to
    /// `from`, and denoised again.
    pub fn interpolate(
        &self,
        pairs: &[[Image; 2]],
        cols: usize,
        from: &Level,
        (walk, seed): (Walk<'_>, u64),
    ) -> Result<Vec<Vec<Image>>, GenerateError> {
        let mut rows = vec![];
        for (index, [first, last]) in pairs.iter().enumerate() {
            let wrong = |source| DocumentError::Image { index: index + 1, source };
            let grid = Grid::of_size(first.width(), first.height(), self.config.patch);
            let grid = grid.map_err(wrong)?;
            let ends = [first, last].map(|image| image_to_patches(image, grid).map_err(wrong));
            let [first, last] = ends;
            let mixed = mixtures(&first?, &last?, cols);
            let one = grid.tokens() * grid.patch_dim();
            let mut row = vec![];
            for some in mixed.chunks(TOGETHER * one) {
                let canvas = self.canvas(grid, some.len() / one)?;
                let mut noise = canvas.noise(seed, (index * cols + row.len()) as u64);
                let start = from.noised_tensor(canvas.tensor(some.to_vec()), noise());
                row.extend(images_of(canvas.denoise(walk, start, &mut noise), grid)?);
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

impl Canvas<'_> {
    /// The network's estimate of clean patches: `[images, patches, numbers]` -> the same shape.
    pub fn clean(&self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        self.decoder.clean(noisy, self.grid, level)
    }

    /// The network's estimate of the noise in them: `[images, patches, numbers]` -> the same shape.
    pub fn eps(&self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        let clean = self.clean(noisy.clone(), level);
        level.eps_in(noisy, clean)
    }

    /// Standard normal noise of the images from number `first` on, fresh at every call: `[images, patches, numbers]`.
    pub fn noise(&self, seed: u64, first: u64) -> impl FnMut() -> Tensor<3> + use<> {
        let one = self.grid.tokens() * self.grid.patch_dim();
        let (shape, device) = (self.shape(), self.device.clone());
        let numbers = first..first + self.images as u64;
        let mut streams: Vec<_> =
            numbers.map(|number| stream(seed, Purpose::Noise, 0, number)).collect();
        move || {
            let fresh: Vec<f32> = streams.iter_mut().flat_map(|rng| normals(rng, one)).collect();
            Tensor::from_data(TensorData::new(fresh, shape), &device)
        }
    }

    /// Goes the whole way: noisy `[images, patches, numbers]` -> clean of the same shape, some a little outside of [-1, 1].
    pub fn denoise(
        &self,
        walk: Walk<'_>,
        start: Tensor<3>,
        noise: &mut dyn FnMut() -> Tensor<3>,
    ) -> Tensor<3> {
        let mut clean = |noisy: Tensor<3>, level: &Level| self.clean(noisy, level);
        let mut fresh = |_step: usize| noise();
        match walk.method {
            Method::Plain(sampler) => sampler.sample(walk.levels, start, &mut clean, &mut fresh),
            Method::Analytic(with) => {
                analytic_dpm(walk.levels, start, with, &mut clean, &mut fresh)
            }
        }
    }

    /// Numbers of all images on the device: `[images, patches, numbers]`.
    pub fn tensor(&self, numbers: Vec<f32>) -> Tensor<3> {
        Tensor::from_data(TensorData::new(numbers, self.shape()), &self.device)
    }

    fn shape(&self) -> [usize; 3] {
        [self.images, self.grid.tokens(), self.grid.patch_dim()]
    }
}

/// `(1 - λ) first + λ last`, number by number, for `cols` even values of λ from 0 to 1, one after another.
fn mixtures(first: &[f32], last: &[f32], cols: usize) -> Vec<f32> {
    let at = |col: usize| col as f32 / (cols - 1).max(1) as f32;
    let mix = |at: f32| first.iter().zip(last).map(move |(a, b)| a * (1.0 - at) + b * at);
    (0..cols).flat_map(|col| mix(at(col))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixtures_go_evenly_from_the_first_to_the_last() {
        let found = mixtures(&[0.0, 1.0], &[1.0, -1.0], 3);
        assert_eq!(found, [0.0, 1.0, 0.5, 0.0, 1.0, -1.0]);
        assert_eq!(mixtures(&[0.25], &[1.0], 1), [0.25]);
    }
}
