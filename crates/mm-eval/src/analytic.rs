//! This module measures the statistic that Analytic-DPM needs (Bao et al. 2022, arXiv:2201.06503).

use mm_data::{DataSet, Split};
use mm_diffusion::{Guidance, Level};
use mm_model::LoadedModel;
use mm_model::random::{Purpose, normals, stream};
use mm_patch::image_to_patches;
use rand::RngExt;

use crate::EvalError;

/// Returns `E[ê²]`, the mean square of the network's estimates of the noise at a level, over
/// `batches` batches of `size` training images. Images and noise are a function of the seed and the
/// level.
pub fn mean_square_of_noise(
    model: &LoadedModel,
    data: &DataSet,
    level: &Level,
    batches: usize,
    size: usize,
    seed: u64,
) -> Result<f64, EvalError> {
    let grid = model.grid()?;
    let session = model.image_session(grid, size)?;
    let sampler = session.image(grid, Guidance::OFF)?;
    let key = level.timestep.to_bits();
    let mut total = 0.0;
    for batch in 0..batches {
        let mut noisy = vec![];
        for place in 0..size {
            let number = (batch * size + place) as u64;
            let mut rng = stream(seed, Purpose::Example, key, number);
            let index = match data.len(Split::Train) {
                Some(len) if len > 0 => rng.random_range(0..len),
                _ => number,
            };
            let example = data.example(Split::Train, index, &mut rng)?;
            let example = example.ok_or(mm_model::DocumentError::NotImageOnly {
                found: "a whole document".to_owned(),
                wanted: "an image",
            })?;
            let wrong = |source| mm_model::DocumentError::Image { index: 1, source };
            let patches = image_to_patches(&example.image, grid).map_err(wrong)?;
            let eps = normals(&mut stream(seed, Purpose::Noise, key, number), patches.len());
            noisy.extend(level.noised_patches(&patches, &eps));
        }
        let found = sampler.eps(sampler.tensor(noisy), level);
        total += f64::from(found.square().mean().into_scalar::<f32>());
    }
    Ok(total / batches.max(1) as f64)
}
