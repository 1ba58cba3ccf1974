//! A sampler of one's own: a function over `GenerationSession::denoise`, here with a caption and
//! classifier-free guidance, compared with the library's own `euler`.

use burn::prelude::*;
use mm_diffusion::{Guidance, Level, Sampler, steps};
use mm_model::random::{Purpose, stream};
use mm_model::{
    Document, GenerationSession, ImageSampler, LoadedModel, SamplingMethod, SamplingPlan, images_of,
};

#[path = "shared/untrained.rs"]
mod untrained;

/// Euler's method: from every level to the next along the straight line through the estimate.
fn my_euler(sampler: &ImageSampler<'_>, levels: &[Level], mut z: Tensor<3>) -> Tensor<3> {
    for step in steps(levels) {
        let clean = sampler.denoise(z.clone(), step.now); // [rows, patches, patch_dim]
        let eps = step.now.eps_in(z, clean.clone());
        z = step.next.noised_tensor(clean, eps);
    }
    z
}

fn main() {
    let model: LoadedModel = untrained::model();
    let grid = model.grid().expect("whole patches");
    let prompts = [Document::of_text("red"), Document::of_text("blue")];
    let session = GenerationSession::before_image(&model, &prompts, grid).expect("two prompts");
    let guidance = Guidance { scale: 3.0, from: 0.1, ..Guidance::OFF };
    let sampler = session.image(grid, guidance).expect("an empty prompt");

    let streams = (0..2).map(|row| stream(7, Purpose::Noise, 0, row)).collect();
    let start = sampler.noise(streams)();
    let levels = model.config.schedule.sampling_levels(10).expect("ten steps");
    let mine = my_euler(&sampler, &levels, start.clone());
    let plan = SamplingPlan { levels: &levels, method: SamplingMethod::Plain(Sampler::Euler) };
    let mut no_noise = || -> Tensor<3> { unreachable!("Euler's method draws no noise") };
    let theirs = sampler.sample(plan, start, &mut no_noise, &mut |_, _| ());

    let largest = (mine.clone() - theirs).abs().max().into_scalar::<f32>();
    println!("largest difference to the library's sampler: {largest:e}");
    assert!(largest < 1e-4);
    for (prompt, image) in ["red", "blue"].iter().zip(images_of(mine, grid).expect("finite")) {
        println!("{prompt}: {}x{} pixels, {:?}", image.width(), image.height(), image.pixel(0, 0));
    }
}

#[test]
fn the_example_runs() {
    main();
}
