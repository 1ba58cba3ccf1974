//! Denoising of the images that come next in a batch of documents, by any sampler, with guidance.
//!
//! An image's noise is a function of the seed and the image's number alone, so neither how many are
//! drawn nor how many at once changes an image.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::read_sync;
use mm_diffusion::{Analytic, Guidance, GuidanceRule, Level, Sampler, analytic_dpm};
use mm_patch::{Grid, Image, patches_to_image, patchify, unpatchify};
use rand_chacha::ChaCha8Rng;

use super::constrain::{Constrain, Unconstrained};
use super::host::numbers_of;
use super::pass::Network;
use super::session::{CachedRows, GenerationSession};
use crate::batch::Jump;
use crate::random::{Purpose, normals, stream};
use crate::{Document, GenerateError, GenerateOptions, LoadedModel, Segment};

/// Images denoised at once.
pub(super) const TOGETHER: usize = 16;

/// How noise becomes an image.
#[derive(Debug, Clone, Copy)]
pub struct SamplingPlan<'a> {
    /// The levels visited, noisiest first.
    pub levels: &'a [Level],
    /// The sampler.
    pub method: SamplingMethod<'a>,
}

/// A sampler and what it needs to know.
#[derive(Debug, Clone, Copy)]
pub enum SamplingMethod<'a> {
    /// A sampler that needs nothing but the network.
    Plain(Sampler),
    /// Analytic-DPM with what was measured of this network.
    Analytic(Analytic<'a>),
}

/// One image a row of a [`GenerationSession`] being denoised. With guidance, the conditional and
/// the unconditional branch are computed in one batch of twice as many rows.
#[derive(Debug)]
pub struct ImageSampler<'s> {
    session: &'s GenerationSession<'s>,
    grid: Grid,
    guidance: Guidance,
    /// The rows of the session and as many of the negative prompt, where guidance may be active.
    both: Option<CachedRows<'s>>,
}

impl GenerationSession<'_> {
    /// Prepares the image of `grid` that comes next in every row, to be denoised with guidance
    /// away from what the model draws without a prompt.
    pub fn image(&self, grid: Grid, guidance: Guidance) -> Result<ImageSampler<'_>, GenerateError> {
        self.image_against(grid, guidance, &Document::default())
    }

    /// Does what [`Self::image`] does, with guidance away from what a negative prompt describes.
    pub fn image_against(
        &self,
        grid: Grid,
        guidance: Guidance,
        negative: &Document,
    ) -> Result<ImageSampler<'_>, GenerateError> {
        let model = self.model();
        if model.config.network.coded().is_some() {
            return Err(GenerateError::IsCoded);
        }
        let distilled = model.config.time.is_distilled(); // which takes guidance as an input
        let guided = model.config.has_prompts() && guidance.scale != 1.0 && !distilled;
        let both = if guided {
            let negative = model.drawing_prompt(negative, grid)?;
            let negative = self.cached().prefill_beside(&negative);
            Some(self.cached().with_copies_of(&negative))
        } else {
            None
        };
        Ok(ImageSampler { session: self, grid, guidance, both })
    }

    /// Draws the image of every row from these streams of noise, under a constraint.
    async fn drawn(
        &self,
        grid: Grid,
        options: &GenerateOptions,
        streams: Vec<ChaCha8Rng>,
        constraint: &mut dyn Constrain,
    ) -> Result<Vec<Image>, GenerateError> {
        if let Some(coded) = self.model().model.coded() {
            if !constraint.is_free() {
                return Err(GenerateError::IsCoded);
            }
            let mut written = self.clone();
            let patches = written.draw_codes(coded, grid, options, streams).await?;
            return images_of_async(patches, grid).await;
        }
        self.model().check_constraint(constraint)?;
        let levels = self.model().config.schedule.sampling_levels(options.steps)?;
        let sampler = self.image_against(grid, options.guidance, &options.negative_prompt())?;
        constraint.begin(grid);
        let levels = &levels[constraint.first_step(levels.len())..];
        let plan = SamplingPlan { levels, method: SamplingMethod::Plain(options.sampler) };
        let mut noise = sampler.noise(streams);
        let start = constraint.start(noise(), levels);
        let drawn = sampler.sample_constrained(plan, start, &mut noise, constraint, &mut |_, _| ());
        self.model().finished(drawn, grid, constraint).await
    }
}

impl ImageSampler<'_> {
    /// Estimates the clean patches behind noisy ones: `[rows, patches, patch_dim]` -> the same
    /// shape.
    pub fn denoise(&self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        self.denoise_by(noisy, level, 0.0)
    }

    /// Does what [`Self::denoise`] does, `[rows, patches, patch_dim]` -> the same shape, for a step
    /// of this size, of which a distilled network is told.
    fn denoise_by(&self, noisy: Tensor<3>, level: &Level, size: f64) -> Tensor<3> {
        if self.session.model().config.time.is_distilled() {
            let jump = Jump { size, guidance: self.guidance.scale };
            return self.session.cached().clean_by(noisy, self.grid, level, jump);
        }
        let Some(both) = self.both.as_ref().filter(|_| self.guidance.active(level)) else {
            return self.session.denoise(noisy, self.grid, level);
        };
        let rows = self.session.rows();
        let twice = Tensor::cat(vec![noisy.clone(), noisy.clone()], 0);
        let clean = both.clean(twice, self.grid, level);
        let conditional = clean.clone().narrow(0, 0, rows);
        self.guidance.combine_at(conditional, clean.narrow(0, rows, rows), noisy, level)
    }

    /// Estimates the noise in noisy patches: `[rows, patches, patch_dim]` -> the same shape.
    pub fn eps(&self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        let clean = self.denoise(noisy.clone(), level);
        level.eps_in(noisy, clean)
    }

    /// Returns a source of normal noise `[rows, patches, patch_dim]`, fresh at every call, each row
    /// from its own stream; its deviation is that of the network, which is 1 but for some.
    ///
    /// # Panics
    ///
    /// Panics unless there is one stream a row.
    pub fn noise(&self, mut streams: Vec<ChaCha8Rng>) -> impl FnMut() -> Tensor<3> + use<> {
        let shape = self.shape();
        assert_eq!(streams.len(), shape[0], "one stream of noise a row");
        let device = self.session.model().model.device();
        let count = shape[1] * shape[2];
        let scale = self.session.model().config.network.noise_scale();
        move || {
            let fresh: Vec<f32> = streams.iter_mut().flat_map(|rng| normals(rng, count)).collect();
            let fresh = Tensor::from_data(TensorData::new(fresh, shape), &device);
            if scale == 1.0 { fresh } else { fresh * scale }
        }
    }

    /// Goes the whole way: noisy `[rows, patches, patch_dim]` -> clean of the same shape, some of
    /// it a little outside of [-1, 1]. `done` hears of every call of the network: how many were
    /// made, of how many.
    pub fn sample(
        &self,
        plan: SamplingPlan<'_>,
        start: Tensor<3>,
        noise: &mut dyn FnMut() -> Tensor<3>,
        done: &mut dyn FnMut(usize, usize),
    ) -> Tensor<3> {
        self.sample_constrained(plan, start, noise, &mut Unconstrained, done)
    }

    /// Does what [`Self::sample`] does, with a constraint on what the network is shown and on what
    /// it estimates: `[rows, patches, patch_dim]` -> the same shape. The constraint's
    /// [start](Constrain::start) is made by the caller, because the start is an argument.
    pub fn sample_constrained(
        &self,
        plan: SamplingPlan<'_>,
        start: Tensor<3>,
        noise: &mut dyn FnMut() -> Tensor<3>,
        constraint: &mut dyn Constrain,
        done: &mut dyn FnMut(usize, usize),
    ) -> Tensor<3> {
        let steps = plan.levels.len();
        let calls = match plan.method {
            SamplingMethod::Plain(sampler) => sampler.calls_of_network(steps),
            SamplingMethod::Analytic(_) => steps,
        };
        let mut call = 0;
        let mut denoise = |noisy: Tensor<3>, level: &Level| {
            let noisy = constraint.state(noisy, level);
            let clean = self.denoise_by(noisy, level, step_size(plan.levels, level));
            call += 1;
            done(call, calls);
            constraint.clean(clean, level)
        };
        let mut fresh = |_step: usize| noise();
        match plan.method {
            SamplingMethod::Plain(sampler) => {
                sampler.sample(plan.levels, start, &mut denoise, &mut fresh)
            }
            SamplingMethod::Analytic(with) => {
                analytic_dpm(plan.levels, start, with, &mut denoise, &mut fresh)
            }
        }
    }

    /// Puts the numbers of all rows on the device: `[rows, patches, patch_dim]`.
    pub fn tensor(&self, numbers: Vec<f32>) -> Tensor<3> {
        let device = self.session.model().model.device();
        Tensor::from_data(TensorData::new(numbers, self.shape()), &device)
    }

    fn shape(&self) -> [usize; 3] {
        [self.session.rows(), self.grid.tokens(), self.grid.patch_dim()]
    }
}

impl LoadedModel {
    /// Draws one image of `grid` after every prompt, all at once. Row `i` takes the noise of stream
    /// `i` of the seed.
    pub fn draw(
        &self,
        prompts: &[Document],
        grid: Grid,
        options: &GenerateOptions,
    ) -> Result<Vec<Image>, GenerateError> {
        let streams = (0..prompts.len() as u64)
            .map(|row| stream(options.seed, Purpose::Noise, 0, row))
            .collect();
        read_sync(self.draw_from(prompts, grid, options, streams, &mut Unconstrained))
    }

    /// Draws `count` images after one prompt, all at once. Image `i` is the one that
    /// [`Self::draw`] gives for the seed `options.seed + i`.
    pub fn draw_many(
        &self,
        prompt: &Document,
        count: usize,
        grid: Grid,
        options: &GenerateOptions,
    ) -> Result<Vec<Image>, GenerateError> {
        self.draw_each(&vec![prompt.clone(); count], grid, options)
    }

    /// Draws one image of `grid` after every prompt, a few at once. Image `i` is the one that
    /// [`Self::draw`] gives for prompt `i` alone and the seed `options.seed + i`.
    pub fn draw_each(
        &self,
        prompts: &[Document],
        grid: Grid,
        options: &GenerateOptions,
    ) -> Result<Vec<Image>, GenerateError> {
        read_sync(self.draw_each_constrained(prompts, grid, options, &mut Unconstrained))
    }

    /// Draws `count` images after one prompt that keep a constraint. Image `i` takes the noise of
    /// the seed `options.seed + i`, so that without a constraint it is that of
    /// [`Self::draw_many`].
    pub fn draw_constrained(
        &self,
        prompt: &Document,
        count: usize,
        grid: Grid,
        options: &GenerateOptions,
        constraint: &mut dyn Constrain,
    ) -> Result<Vec<Image>, GenerateError> {
        read_sync(self.draw_constrained_async(prompt, count, grid, options, constraint))
    }

    /// Does what [`Self::draw_constrained`] does where nobody may wait for the device, as in a
    /// browser. All steps of up to 16 images are handed to the device before the first wait.
    pub async fn draw_constrained_async(
        &self,
        prompt: &Document,
        count: usize,
        grid: Grid,
        options: &GenerateOptions,
        constraint: &mut dyn Constrain,
    ) -> Result<Vec<Image>, GenerateError> {
        let prompts = vec![prompt.clone(); count];
        self.draw_each_constrained(&prompts, grid, options, constraint).await
    }

    async fn draw_each_constrained(
        &self,
        prompts: &[Document],
        grid: Grid,
        options: &GenerateOptions,
        constraint: &mut dyn Constrain,
    ) -> Result<Vec<Image>, GenerateError> {
        let mut images = vec![];
        for some in prompts.chunks(TOGETHER) {
            let first = images.len();
            let streams = (first..first + some.len())
                .map(|at| stream(options.seed.wrapping_add(at as u64), Purpose::Noise, 0, 0))
                .collect();
            images.extend(self.draw_from(some, grid, options, streams, constraint).await?);
        }
        Ok(images)
    }

    /// Draws one image after every prompt from these streams of noise, under a constraint.
    pub(super) async fn draw_from(
        &self,
        prompts: &[Document],
        grid: Grid,
        options: &GenerateOptions,
        streams: Vec<ChaCha8Rng>,
        constraint: &mut dyn Constrain,
    ) -> Result<Vec<Image>, GenerateError> {
        self.check_drawing(prompts, options)?;
        let session = GenerationSession::before_image(self, prompts, grid)?;
        session.drawn(grid, options, streams, constraint).await
    }

    /// Does what [`Self::draw_constrained`] does for at most as many images as are denoised at
    /// once, with passes through `network`.
    pub fn draw_through(
        &self,
        network: &dyn Network,
        prompt: &Document,
        count: usize,
        grid: Grid,
        options: &GenerateOptions,
        constraint: &mut dyn Constrain,
    ) -> Result<Vec<Image>, GenerateError> {
        self.check_drawing(std::slice::from_ref(prompt), options)?;
        let prompt = self.drawing_prompt(prompt, grid)?;
        let session = GenerationSession::through(network, self, &prompt, count);
        let streams = (0..count)
            .map(|at| stream(options.seed.wrapping_add(at as u64), Purpose::Noise, 0, 0))
            .collect();
        read_sync(session.drawn(grid, options, streams, constraint))
    }

    /// Checks that the network draws pixels, which an edit can keep: codes and latents are refused.
    pub fn check_edits(&self) -> Result<(), GenerateError> {
        if self.config.network.coded().is_some() {
            return Err(GenerateError::IsCoded);
        }
        self.check_constraint(&Kept)
    }

    /// Fails if an edit of pixels is asked of a network that draws latents.
    pub(super) fn check_constraint(&self, constraint: &dyn Constrain) -> Result<(), GenerateError> {
        if self.config.network.latent().is_none() || constraint.is_free() {
            return Ok(());
        }
        Err(GenerateError::IsLatent)
    }

    /// Turns what was drawn, `[rows, patches, patch_dim]`, into one image a row: patches of pixels,
    /// or of latents, which are decoded. Numbers that are not finite are an error.
    pub fn images_of(&self, patches: Tensor<3>, grid: Grid) -> Result<Vec<Image>, GenerateError> {
        read_sync(self.finished(patches, grid, &Unconstrained))
    }

    /// Does what [`Self::images_of`] does with `[rows, patches, patch_dim]`, and makes every image
    /// keep a constraint.
    pub(super) async fn finished(
        &self,
        patches: Tensor<3>,
        grid: Grid,
        constraint: &dyn Constrain,
    ) -> Result<Vec<Image>, GenerateError> {
        if self.config.network.factor() == 1 {
            return constrained_images_of_async(patches, grid, constraint).await;
        }
        let latents = unpatchify(patches, grid);
        let pixels = self.model.decode(latents).expect("latents have an autoencoder");
        let [_, _, height, width] = pixels.dims();
        let grid = Grid::new(height, width, 1);
        constrained_images_of_async(patchify(pixels, grid), grid, constraint).await
    }

    /// Checks that images can be drawn after these prompts with these settings.
    pub fn check_drawing(
        &self,
        prompts: &[Document],
        options: &GenerateOptions,
    ) -> Result<(), GenerateError> {
        self.check(options)?;
        if !self.config.draws() {
            return Err(GenerateError::OnlyReads);
        }
        let plain = options.guidance.rule == GuidanceRule::Plain;
        if self.config.time.is_distilled() && !(plain && options.negative.is_empty()) {
            return Err(GenerateError::Distilled);
        }
        let empty = |prompt: &Document| {
            let silent =
                |part: &Segment| matches!(part, Segment::Text { text, .. } if text.is_empty());
            prompt.segments.iter().all(silent)
        };
        if self.config.network.codec().is_some() {
            return Err(GenerateError::IsCodec);
        }
        if self.config.network.is_unet() && !prompts.iter().all(empty) {
            return Err(GenerateError::OnlyDraws);
        }
        Ok(())
    }

    /// Starts `images` images of `grid` that follow an empty document; where a network draws
    /// nothing without a class, classes are taken in turn.
    pub fn image_session(
        &self,
        grid: Grid,
        images: usize,
    ) -> Result<GenerationSession<'_>, GenerateError> {
        let classes = self.config.network.classes().filter(|classes| !classes.none);
        let prompt = |image: usize| match classes {
            Some(classes) => Document::of_text(&(image % classes.count).to_string()),
            None => Document::default(),
        };
        let prompts: Vec<Document> = (0..images).map(prompt).collect();
        GenerationSession::before_image(self, &prompts, grid)
    }

    /// Draws the images of these numbers from noise, without prompts.
    pub fn sample(
        &self,
        grid: Grid,
        numbers: Range<u64>,
        plan: SamplingPlan<'_>,
        seed: u64,
    ) -> Result<Vec<Image>, GenerateError> {
        if self.config.network.codec().is_some() {
            return Err(GenerateError::IsCodec);
        }
        let mut drawn = vec![];
        for first in numbers.clone().step_by(TOGETHER) {
            let end = numbers.end.min(first + TOGETHER as u64);
            let session = self.image_session(grid, (end - first) as usize)?;
            let sampler = session.image(grid, Guidance::OFF)?;
            let mut noise = sampler.noise(numbered(seed, first..end));
            let start = noise();
            let clean = sampler.sample(plan, start, &mut noise, &mut |_, _| ());
            drawn.extend(self.images_of(clean, grid)?);
        }
        Ok(drawn)
    }
}

/// An edit that asks for nothing yet.
struct Kept;

impl Constrain for Kept {}

/// Returns how far the step goes that begins at a level, as a difference of signal fractions; 0 for
/// a level that is none of the plan's.
fn step_size(levels: &[Level], now: &Level) -> f64 {
    match levels.iter().position(|level| level == now) {
        Some(at) => levels.get(at + 1).map_or(1.0, Level::signal_fraction) - now.signal_fraction(),
        None => 0.0,
    }
}

/// The streams of noise of images without prompts, by their numbers.
pub(super) fn numbered(seed: u64, numbers: Range<u64>) -> Vec<ChaCha8Rng> {
    numbers.map(|number| stream(seed, Purpose::Noise, 0, number)).collect()
}

/// Turns clean patches `[rows, patches, patch_dim]` into one image a row. Numbers that are not
/// finite are an error, since no bound may hide them.
pub fn images_of(patches: Tensor<3>, grid: Grid) -> Result<Vec<Image>, GenerateError> {
    read_sync(images_of_async(patches, grid))
}

/// Does what [`images_of`] does with `[rows, patches, patch_dim]` where nobody may wait for the
/// device.
pub(super) async fn images_of_async(
    patches: Tensor<3>,
    grid: Grid,
) -> Result<Vec<Image>, GenerateError> {
    constrained_images_of_async(patches, grid, &Unconstrained).await
}

/// Does what [`images_of`] does with `[rows, patches, patch_dim]`, and makes every image keep a
/// constraint exactly.
pub fn constrained_images_of(
    patches: Tensor<3>,
    grid: Grid,
    constraint: &dyn Constrain,
) -> Result<Vec<Image>, GenerateError> {
    read_sync(constrained_images_of_async(patches, grid, constraint))
}

/// Does what [`constrained_images_of`] does with `[rows, patches, patch_dim]` where nobody may wait
/// for the device.
async fn constrained_images_of_async(
    patches: Tensor<3>,
    grid: Grid,
    constraint: &dyn Constrain,
) -> Result<Vec<Image>, GenerateError> {
    images_of_numbers(&numbers_of(patches).await?, grid, constraint)
}

/// Does what [`constrained_images_of`] does with numbers that are on the host already.
pub fn images_of_numbers(
    numbers: &[f32],
    grid: Grid,
    constraint: &dyn Constrain,
) -> Result<Vec<Image>, GenerateError> {
    if let Some(&found) = numbers.iter().find(|number| !number.is_finite()) {
        return Err(GenerateError::NotFinite { found });
    }
    let one = grid.tokens() * grid.patch_dim();
    Ok(numbers
        .chunks(one)
        .map(|patches| {
            let image = patches_to_image(patches, grid).expect("an image has rows * cols patches");
            constraint.finish(image, patches)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_a_plan_reach_from_noise_to_the_clean_end() {
        let levels = mm_diffusion::Schedule::Linear.sampling_levels(4).unwrap();
        for level in &levels {
            assert_eq!(step_size(&levels, level), 0.25);
        }
        assert_eq!(step_size(&levels[3..], &levels[3]), 0.25);
        assert_eq!(step_size(&levels[..1], &levels[0]), 1.0);
        assert_eq!(step_size(&levels[..1], &levels[1]), 0.0);
    }

    #[test]
    fn numbers_beyond_the_range_make_a_image_and_those_that_are_none_do_not() {
        let grid = Grid::new(1, 1, 1);
        let drawn = |numbers: [f32; 6]| {
            let data = TensorData::new(numbers.to_vec(), [2, 1, 3]);
            images_of(Tensor::from_data(data, &Device::flex()), grid)
        };
        let images = drawn([-7.0, 0.0, 3.0, 1.0, 1.0, 1.0]).unwrap();
        assert_eq!(images[0].pixel(0, 0), [0, 128, 255]);
        for found in [f32::NAN, f32::INFINITY] {
            let said = drawn([0.0, 0.0, 0.0, 0.0, found, 0.0]).unwrap_err().to_string();
            assert!(said.contains(&format!("holds {found}, wanted finite")), "{said}");
        }
    }
}
