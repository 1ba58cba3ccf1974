//! Denoising the images that come next in a batch of documents, with guidance.

use burn::prelude::*;
use mm_diffusion::Level;
use mm_patch::{Grid, Image, patches_to_image};

use crate::decoder::Decoder;
use crate::generate::unconditional;
use crate::random::{Purpose, normals, stream};
use crate::{Document, GenerateError, GenerateOptions, LoadedModel, Segment};

impl LoadedModel {
    /// Draws one image of `grid` after every prompt, all at once.
    pub fn draw(
        &self,
        prompts: &[Document],
        grid: Grid,
        options: &GenerateOptions,
    ) -> Result<Vec<Image>, GenerateError> {
        self.check(options)?;
        if prompts.is_empty() {
            return Err(GenerateError::NoPrompt);
        }
        let empty = |prompt: &Document| {
            let silent =
                |part: &Segment| matches!(part, Segment::Text { text, .. } if text.is_empty());
            prompt.segments.iter().all(silent)
        };
        if self.config.unet.is_some() && !prompts.iter().all(empty) {
            return Err(GenerateError::OnlyDraws);
        }
        let sequences = prompts
            .iter()
            .map(|prompt| self.drawing_prompt(prompt, grid))
            .collect::<Result<Vec<_>, _>>()?;
        let (decoder, _) = Decoder::prefill(&self.model, &self.config, &sequences);
        let painter = Painter::new(self, options, grid, prompts.len())?;
        let mut noise = painter.noise(0, prompts.len());
        images_of(painter.paint(&decoder, &mut noise, &mut |_, _| ())?, grid)
    }
}

/// Everything that painting an image needs besides the prompt.
pub(crate) struct Painter<'a> {
    from: &'a LoadedModel,
    options: &'a GenerateOptions,
    grid: Grid,
    levels: Vec<Level>,
    /// The same image after no words, when guidance is on.
    unconditional: Option<Decoder<'a>>,
}

impl<'a> Painter<'a> {
    pub(crate) fn new(
        from: &'a LoadedModel,
        options: &'a GenerateOptions,
        grid: Grid,
        rows: usize,
    ) -> Result<Self, GenerateError> {
        let levels = from.config.schedule.sampling_levels(options.steps)?;
        let guided = from.config.has_text()
            && options.guidance.scale != 1.0
            && levels.iter().any(|level| options.guidance.active(level));
        let unconditional = match guided {
            true => {
                let bare = vec![unconditional(from, grid)?; rows];
                Some(Decoder::prefill(&from.model, &from.config, &bare).0)
            }
            false => None,
        };
        Ok(Self { from, options, grid, levels, unconditional })
    }

    /// The noise of the document's image number `image`: fresh standard normal `[rows, patches, numbers]` at every call.
    pub(crate) fn noise(&self, image: u64, rows: usize) -> impl FnMut() -> Tensor<3> + use<> {
        let (seed, device) = (self.options.seed, self.from.model.device());
        let shape = [rows, self.grid.tokens(), self.grid.patch_dim()];
        let mut streams: Vec<_> =
            (0..rows).map(|row| stream(seed, Purpose::Noise, image, row as u64)).collect();
        move || {
            let count = shape[1] * shape[2];
            let numbers: Vec<f32> =
                streams.iter_mut().flat_map(|rng| normals(rng, count)).collect();
            Tensor::from_data(TensorData::new(numbers, shape), &device)
        }
    }

    /// From noise to clean patches, `[rows, patches, numbers]`, some a little outside of [-1, 1].
    pub(crate) fn paint(
        &self,
        decoder: &Decoder<'a>,
        noise: &mut dyn FnMut() -> Tensor<3>,
        done: &mut dyn FnMut(usize, usize),
    ) -> Result<Tensor<3>, GenerateError> {
        let start = noise();
        let calls = self.options.sampler.calls_of_network(self.levels.len());
        let mut call = 0;
        let mut denoise = |x: Tensor<3>, level: &Level| {
            call += 1;
            let clean = self.clean(decoder, x.clone(), level);
            let clean = match &self.unconditional {
                Some(bare) if self.options.guidance.active(level) => {
                    self.options.guidance.combine(clean, self.clean(bare, x, level))
                }
                _ => clean,
            };
            done(call, calls);
            clean
        };
        let mut fresh = |_step: usize| noise();
        Ok(self.options.sampler.sample(&self.levels, start, &mut denoise, &mut fresh))
    }

    fn clean(&self, decoder: &Decoder<'_>, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        decoder.clean(noisy, self.grid, level)
    }
}

/// Clean patches `[rows, patches, numbers]`, as they are before any bound hides what is not finite, to one image a row.
pub(crate) fn images_of(patches: Tensor<3>, grid: Grid) -> Result<Vec<Image>, GenerateError> {
    let numbers = patches.into_data().try_to_vec_as::<f32>().expect("activations are floats");
    if let Some(&found) = numbers.iter().find(|number| !number.is_finite()) {
        return Err(GenerateError::NotFinite { found });
    }
    let one = grid.tokens() * grid.patch_dim();
    Ok(numbers
        .chunks(one)
        .map(|patches| patches_to_image(patches, grid).expect("an image has rows * cols patches"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_the_range_make_a_picture_and_those_that_are_none_do_not() {
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
