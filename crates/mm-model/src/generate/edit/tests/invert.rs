//! Images back to their noise and drawn again; images between two.

use mm_diffusion::{Prediction, Schedule};
use mm_patch::{Grid, Image};

use super::{PATCH, image, options, tiny};
use crate::generate::edit::RoundTrip;
use crate::parameters::{weights_of, with_weights};
use crate::{Document, GenerateOptions, LoadedModel};

/// Makes a model whose flow has an inverse: the network estimates the velocity, which is smooth
/// even with random weights. An untrained estimate of the clean image is another image at the end.
fn invertible() -> LoadedModel {
    let mut model = tiny(Schedule::Linear);
    model.config.prediction = Prediction::Velocity;
    let mut weights = weights_of(&model.model);
    for value in weights.values_mut().flat_map(|weight| &mut weight.values) {
        *value *= 4.0; // enough for a flow that bends
    }
    LoadedModel { model: with_weights(model.model, &weights), ..model }
}

/// Returns the error of the way there and back.
fn error(model: &LoadedModel, steps: usize, sampler: &str) -> f64 {
    let (a, b) = (Document::of_text("a"), Document::of_text("b"));
    let swap = model.swap_caption(&image(4, 8, 6), &a, &b, &options(sampler, steps, 0)).unwrap();
    assert_eq!(swap.error, RoundTrip::between(&image(4, 8, 6), &swap.reconstruction));
    assert_ne!(swap.image, swap.reconstruction, "the captions differ");
    swap.error.rms
}

#[test]
fn an_image_comes_back_from_its_noise_the_better_the_more_steps_there_are() {
    let model = invertible();
    for (sampler, bound) in [("euler", 4.0), ("heun", 2.0)] {
        let [few, many] = [4, 64].map(|steps| error(&model, steps, sampler));
        assert!(many < few && many < bound, "{sampler}: {few} and {many} levels");
    }
    assert!(error(&model, 16, "heun") < error(&model, 16, "euler"));
}

#[test]
fn a_sampler_that_draws_noise_has_no_inverse() {
    let model = tiny(Schedule::Linear);
    let prompt = Document::default();
    for sampler in ["ddpm", "ddim:0.5"] {
        let refused = model.invert(&image(1, 8, 6), &prompt, &options(sampler, 2, 0));
        let refused = refused.unwrap_err().to_string();
        let wanted = "wanted one that draws no noise: euler, ddim, heun or dpm++2m";
        assert_eq!(refused, format!("`sampler` is {sampler}, {wanted}"));
    }
}

#[test]
fn the_ends_of_an_interpolation_of_captions_are_their_drawings() {
    let model = tiny(Schedule::Linear);
    let (grid, options) = (Grid::new(3, 4, PATCH), options("heun", 3, 7));
    let prompts = [Document::of_text("a"), Document::of_text("b")];
    let images = model.interpolate_captions(&prompts, 9, grid, &options).unwrap();
    assert_eq!(images.len(), 9);
    for (found, prompt) in [(&images[0], &prompts[0]), (&images[8], &prompts[1])] {
        let drawn = model.draw_many(prompt, 1, grid, &options).unwrap().remove(0);
        assert!(RoundTrip::between(found, &drawn).largest <= 1);
    }
    assert_ne!(images[4], images[0]);
}

#[test]
fn the_ends_of_an_interpolation_of_noise_are_the_images_there_and_back() {
    let model = invertible();
    let options = options("heun", 6, 0);
    let pair: [Image; 2] = [image(1, 8, 6), image(2, 8, 6)];
    let prompt = Document::default();
    let images = model.interpolate_noise(&pair, &prompt, 3, &options).unwrap();
    for (found, image) in [(&images[0], &pair[0]), (&images[2], &pair[1])] {
        let back = model.swap_caption(image, &prompt, &prompt, &options).unwrap().reconstruction;
        assert!(RoundTrip::between(found, &back).largest <= 1);
    }
    let refused = model.interpolate_noise(&[pair[0].clone(), image(1, 6, 8)], &prompt, 3, &options);
    let refused = refused.unwrap_err().to_string();
    assert_eq!(refused, "the second image has 6 x 8 pixels, wanted 8 x 6");
}

#[test]
fn a_negative_caption_is_what_guidance_leads_away_from_however_long_it_is() {
    let model = tiny(Schedule::Linear);
    let grid = Grid::new(3, 4, PATCH);
    let drawn = |prompt: &str, negative: &str| {
        let negative = negative.to_owned();
        let options = GenerateOptions { negative, ..options("euler", 3, 1) };
        model.draw_many(&Document::of_text(prompt), 1, grid, &options).unwrap().remove(0)
    };
    let plain = GenerateOptions { guidance: mm_diffusion::Guidance::OFF, ..options("euler", 3, 1) };
    let unguided = |prompt: &str| {
        model.draw_many(&Document::of_text(prompt), 1, grid, &plain).unwrap().remove(0)
    };
    let long = "a very long caption of what shall not be";
    assert_ne!(drawn("a", ""), drawn("a", "b"));
    assert_ne!(drawn("a", ""), drawn("a", long));
    // Away from itself is nowhere, with the padding on either side.
    for prompt in ["a", long] {
        assert!(RoundTrip::between(&drawn(prompt, prompt), &unguided(prompt)).largest <= 1);
    }
}
