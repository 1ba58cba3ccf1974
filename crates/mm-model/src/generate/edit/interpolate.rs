//! Images between two images or between two captions.

use burn::prelude::*;
use burn::tensor::read_sync;
use mm_diffusion::{Guidance, Level};
use mm_patch::{Grid, Image, image_to_patches};

use super::error::{EditError, same_size};
use super::invert::FromNoise;
use crate::generate::constrain::Constrain;
use crate::generate::image::{SamplingPlan, TOGETHER, images_of, numbered};
use crate::random::{Purpose, stream};
use crate::{Document, DocumentError, GenerateError, GenerateOptions, LoadedModel};

impl LoadedModel {
    /// Draws images between two real ones, for each pair `cols` of them: mixed pixel by pixel from
    /// the first to the second, noised to `from`, and denoised again.
    pub fn interpolate(
        &self,
        pairs: &[[Image; 2]],
        cols: usize,
        from: &Level,
        plan: SamplingPlan<'_>,
        seed: u64,
    ) -> Result<Vec<Vec<Image>>, GenerateError> {
        self.check_edits()?;
        let mut rows = vec![];
        for (index, [first, last]) in pairs.iter().enumerate() {
            let wrong = |source| DocumentError::Image { index: index + 1, source };
            let grid = Grid::of_size(first.width(), first.height(), self.config.patch);
            let grid = grid.map_err(wrong)?;
            let first = image_to_patches(first, grid).map_err(wrong)?;
            let last = image_to_patches(last, grid).map_err(wrong)?;
            let mixed = mixtures(&first, &last, cols);
            let one = grid.tokens() * grid.patch_dim();
            let mut row = vec![];
            for some in mixed.chunks(TOGETHER * one) {
                let images = some.len() / one;
                let session = self.image_session(grid, images)?;
                let sampler = session.image(grid, Guidance::OFF)?;
                let number = (index * cols + row.len()) as u64;
                let mut noise = sampler.noise(numbered(seed, number..number + images as u64));
                let start = from.noised_tensor(sampler.tensor(some.to_vec()), noise());
                let clean = sampler.sample(plan, start, &mut noise, &mut |_, _| ());
                row.extend(images_of(clean, grid)?);
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// Draws `count` images on the way from one image to another: both are
    /// [inverted](Self::invert) to their noise, and each image is drawn from noise between the two.
    /// The first and the last are what there and back makes of the given images.
    ///
    /// Noise lies near a sphere, so that the way between two of them is the arc (Shoemake 1985;
    /// Song et al. 2021, arXiv:2010.02502, eq. 67).
    pub fn interpolate_noise(
        &self,
        pair: &[Image; 2],
        prompt: &Document,
        count: usize,
        options: &GenerateOptions,
    ) -> Result<Vec<Image>, EditError> {
        let [first, last] = pair;
        same_size("second image", last.width(), last.height(), first)?;
        let options = GenerateOptions { guidance: Guidance::OFF, ..options.clone() };
        let first = self.invert(first, prompt, &options)?;
        let last = self.invert(last, prompt, &options)?;
        let mut images = vec![];
        for shares in evenly(count).chunks(TOGETHER) {
            let rows = shares.iter().map(|&share| arc(&first.noise, &last.noise, share));
            let mut between = FromNoise { noise: Tensor::cat(rows.collect(), 0), ..first.clone() };
            let grid = between.grid;
            images.extend(self.draw_constrained(
                prompt,
                shares.len(),
                grid,
                &options,
                &mut between,
            )?);
        }
        Ok(images)
    }

    /// Draws `count` images on the way from one caption to another, all from the same noise: at
    /// every step the estimate is the mean of what is estimated for either caption, weighted by how
    /// far the image is on the way. The first and the last are the drawings of the two captions.
    pub fn interpolate_captions(
        &self,
        prompts: &[Document; 2],
        count: usize,
        grid: Grid,
        options: &GenerateOptions,
    ) -> Result<Vec<Image>, GenerateError> {
        let mut images = vec![];
        for shares in evenly(count).chunks(TOGETHER / 2) {
            let [first, last] = prompts.each_ref().map(|prompt| vec![prompt.clone(); shares.len()]);
            let streams = vec![stream(options.seed, Purpose::Noise, 0, 0); 2 * shares.len()];
            let mut mixed = MixedRows { shares: shares.to_vec() };
            let prompts = [first, last].concat();
            let drawn = read_sync(self.draw_from(&prompts, grid, options, streams, &mut mixed))?;
            images.extend(drawn.into_iter().take(shares.len()));
        }
        Ok(images)
    }
}

/// Two halves of rows of which each row of one is mixed with that of the other.
struct MixedRows {
    /// The share of the second half in each row.
    shares: Vec<f32>,
}

impl Constrain for MixedRows {
    fn clean(&mut self, clean: Tensor<3>, _level: &Level) -> Tensor<3> {
        let rows = self.shares.len();
        let shares = TensorData::new(self.shares.clone(), [rows, 1, 1]);
        let share = Tensor::<3>::from_data(shares, &clean.device());
        let (first, last) = (clean.clone().narrow(0, 0, rows), clean.narrow(0, rows, rows));
        let mixed = first * (share.clone().neg() + 1.0) + last * share;
        Tensor::cat(vec![mixed.clone(), mixed], 0)
    }
}

/// Returns `count` even numbers from 0 to 1; a single one is 0.
fn evenly(count: usize) -> Vec<f32> {
    (0..count).map(|at| at as f32 / count.saturating_sub(1).max(1) as f32).collect()
}

/// Returns the point at `share` of the arc from `first` to `last`, `[1, patches, patch_dim]` each.
fn arc(first: &Tensor<3>, last: &Tensor<3>, share: f32) -> Tensor<3> {
    let dot = |a: &Tensor<3>, b: &Tensor<3>| {
        f64::from((a.clone() * b.clone()).sum().into_scalar::<f32>())
    };
    let cosine = dot(first, last) / (dot(first, first) * dot(last, last)).sqrt();
    let (angle, share) = (cosine.clamp(-1.0, 1.0).acos(), f64::from(share));
    let (before, after) = if angle.sin() > 1e-3 {
        (((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin())
    } else {
        (1.0 - share, share) // the arc is as good as straight
    };
    first.clone() * before + last.clone() * after
}

/// `(1 - λ) first + λ last`, number by number, for `cols` even values of λ from 0 to 1, one after
/// another.
fn mixtures(first: &[f32], last: &[f32], cols: usize) -> Vec<f32> {
    let mix = |at: f32| first.iter().zip(last).map(move |(a, b)| a * (1.0 - at) + b * at);
    evenly(cols).into_iter().flat_map(mix).collect()
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

    #[test]
    fn an_arc_keeps_the_length_and_ends_at_its_ends() {
        let tensor = |x: f32, y: f32| Tensor::<3>::from_data([[[x, y]]], &Device::flex());
        let (first, last) = (tensor(2.0, 0.0), tensor(0.0, 2.0));
        let at = |share| arc(&first, &last, share).into_data().try_to_vec::<f32>().unwrap();
        let close = |a: Vec<f32>, b: [f32; 2]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(at(0.0), [2.0, 0.0]) && close(at(1.0), [0.0, 2.0]));
        assert!(close(at(0.5), [2.0_f32.sqrt(); 2]));
        assert!(close(arc(&first, &first, 0.3).into_data().try_to_vec().unwrap(), [2.0, 0.0]));
    }
}
