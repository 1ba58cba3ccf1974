//! How a model draws unless it is told otherwise: the contents of `generation_config.json`.

use mm_diffusion::{Guidance, Sampler};
use mm_patch::{Grid, PatchError};
use serde::{Deserialize, Serialize};

use crate::{DocumentError, GenerateOptions, LoadedModel};

/// The size of the images that a model was trained on, and how it draws them. The file stands in
/// the model folder, so that a model is used without the recipe that trained it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationConfig {
    /// Columns of an image, pixels.
    pub width: usize,
    /// Rows of an image, pixels.
    pub height: usize,
    /// How an image is denoised.
    pub sampler: Sampler,
    /// Denoising steps of an image.
    pub steps: usize,
    /// How strongly an image follows its prompt.
    pub guidance: Guidance,
}

impl GenerationConfig {
    /// Returns the usual settings for images of this size: ten steps of Euler's method, guided.
    pub fn of_size(width: usize, height: usize) -> Self {
        let GenerateOptions { sampler, steps, guidance, .. } = GenerateOptions::default();
        Self { width, height, sampler, steps, guidance }
    }

    /// Returns the patches of an image, for square patches of `patch` pixels.
    pub fn grid(&self, patch: usize) -> Result<Grid, PatchError> {
        Grid::of_size(self.width, self.height, patch)
    }
}

impl LoadedModel {
    /// Returns the patches of an image of the size that the model was trained on.
    pub fn grid(&self) -> Result<Grid, DocumentError> {
        self.generation
            .grid(self.config.patch)
            .map_err(|source| DocumentError::Image { index: 1, source })
    }

    /// Returns the model's own settings of generation, with greedy text.
    pub fn options(&self, seed: u64) -> GenerateOptions {
        GenerateOptions {
            sampler: self.generation.sampler,
            steps: self.generation.steps,
            guidance: self.generation.guidance,
            seed,
            ..GenerateOptions::default()
        }
    }
}
