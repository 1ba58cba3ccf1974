//! Images alone: grids of samples, and the statistic that Analytic-DPM needs.

use mm_diffusion::Level;
use mm_model::random::{Purpose, normals, stream};
use mm_model::{LoadedModel, Method, SamplingPlan};
use mm_patch::{Image, image_to_patches};
use rand::RngExt;

use crate::EvalError;
use mm_data::{DataSet, Split};

/// Draws a grid of `count` images as the model's generation settings say, about as wide as high.
pub fn image_only_grid(model: &LoadedModel, count: usize, seed: u64) -> Result<Image, EvalError> {
    let levels = model
        .config
        .schedule
        .sampling_levels(model.generation.steps)
        .map_err(mm_model::GenerateError::from)?;
    let walk = SamplingPlan { levels: &levels, method: Method::Plain(model.generation.sampler) };
    let drawn = model.sample(model.grid()?, 0..count as u64, walk, seed)?;
    Ok(table(&drawn, square(drawn.len())))
}

/// The number of columns that makes a table of `count` pictures about as wide as high.
pub fn square(count: usize) -> usize {
    (count as f64).sqrt().ceil().max(1.0) as usize
}

/// Pictures of one size edge to edge, `cols` a row; what is left of the last row is white.
pub fn table(images: &[Image], cols: usize) -> Image {
    let Some(first) = images.first() else { return Image::filled(1, 1, [255; 3]) };
    let (width, height) = (first.width(), first.height());
    let cols = cols.clamp(1, images.len());
    let mut sheet = Image::filled(cols * width, images.len().div_ceil(cols) * height, [255; 3]);
    for (at, image) in images.iter().enumerate() {
        sheet.paste(image, at % cols * width, at / cols * height);
    }
    sheet
}

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
    let canvas = model.canvas(grid, size)?;
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
                wanted: "a picture",
            })?;
            let wrong = |source| mm_model::DocumentError::Image { index: 1, source };
            let patches = image_to_patches(&example.image, grid).map_err(wrong)?;
            let eps = normals(&mut stream(seed, Purpose::Noise, key, number), patches.len());
            noisy.extend(level.noised_patches(&patches, &eps));
        }
        let found = canvas.eps(canvas.tensor(noisy), level);
        total += f64::from(found.square().mean().into_scalar::<f32>());
    }
    Ok(total / batches.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_filled_row_by_row_and_ends_in_white() {
        let pictures: Vec<Image> =
            (0..5).map(|grey| Image::filled(2, 2, [grey as u8 * 10; 3])).collect();
        let sheet = table(&pictures, square(5));
        assert_eq!((sheet.width(), sheet.height()), (6, 4));
        assert_eq!(sheet.pixel(4, 0), [20; 3]);
        assert_eq!(sheet.pixel(0, 3), [30; 3]);
        assert_eq!(sheet.pixel(5, 3), [255; 3]);
    }
}
