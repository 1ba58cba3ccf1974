//! `mm interpolate`: images between pairs of real images, which are mixed pixel by pixel, noised
//! and denoised. Each pair is a row: the first real image, those between, and the second real
//! image.

use std::path::{Path, PathBuf};

use clap::Parser;
use mm_eval::{image_table, magnified};
use mm_patch::{Fit, Image};

use super::sample::{DenoiseArgs, Denoiser};
use crate::files::{at_least_one, fitted, format_of, free_file, most_of, read_image, within};
use crate::model::cannot_generate;
use crate::terminal::{Failure, usage};

#[derive(Debug, Parser)]
#[command(
    after_help = "The model must have step indices: its schedule is su2024 or cosine, and not linear.

Example:\n  mm interpolate faces a.png b.png c.png d.png --cols 8 --noise-step 500 --out mixed.png"
)]
pub struct InterpolateArgs {
    /// Model folder.
    model: PathBuf,
    /// Image files in pairs; each pair is a row.
    #[arg(required = true, num_args = 2..)]
    images: Vec<PathBuf>,
    /// Image file to write: png, jpg, webp or bmp.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Number of images between the two of a pair.
    #[arg(long, value_name = "K", default_value_t = 8)]
    cols: usize,
    /// Step index to which mixed images are noised; denoising starts one below.
    #[arg(long, value_name = "INDEX", default_value_t = 500)]
    noise_step: usize,
    #[command(flatten)]
    denoise: DenoiseArgs,
}

/// The width of the white gap between real images and those between them, in pixels.
const GAP: usize = 10;

pub fn run(args: &InterpolateArgs) -> Result<(), Failure> {
    free_file(&args.out, args.denoise.force)?;
    format_of(&args.out)?;
    at_least_one("--zoom", args.denoise.zoom)?;
    at_least_one("--cols", args.cols)?;
    let (files, rest) = args.images.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(usage!("found {} images, wanted pairs", args.images.len()));
    }
    let denoiser = Denoiser::open(&args.model, &args.denoise)?;
    let model = &denoiser.model;
    let pairs = files
        .iter()
        .map(|[first, last]| {
            let first = fitted(&read_image(first)?, model)?;
            let (width, height) = (first.width(), first.height());
            let fit = Fit::CenterCrop { width, height };
            Ok([first, fit.apply(&read_image(last)?, model.config.patch_pixels())?.0])
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    check_size(args, &pairs)?;
    let schedule = model.config.schedule;
    let all = schedule.steps().ok_or_else(|| no_indices(&args.model))?;
    let noisiest = args.noise_step;
    if noisiest == 0 || noisiest >= all {
        return Err(usage!("`--noise-step {noisiest}`, wanted 1 to {}", all - 1));
    }
    let steps = args.denoise.steps.unwrap_or(noisiest);
    if !(1..=noisiest).contains(&steps) {
        return Err(usage!(
            "`--steps {steps}` from `--noise-step {noisiest}`, wanted 1 to {noisiest}"
        ));
    }
    let levels = schedule.levels_from(noisiest - 1, steps).map_err(Failure::usage)?;
    let from = schedule.level(noisiest as f64);
    let rows = denoiser.run(&levels, |plan| {
        let drawn = model.interpolate(&pairs, args.cols, &from, plan, args.denoise.seed);
        drawn.map_err(cannot_generate(&args.model))
    })?;
    let sheets: Vec<Image> =
        pairs.iter().zip(&rows).map(|(pair, between)| row(pair, between)).collect();
    let sheet = magnified(&image_table(&sheets, 1), args.denoise.zoom);
    let metadata = denoiser.metadata(levels.len()).with("Noise step", noisiest);
    denoiser.write(&args.out, &sheet, &metadata)
}

/// Makes the error of a model whose noise levels have no step indices.
fn no_indices(model: &Path) -> Failure {
    let model = model.display();
    usage!("`{model}` has the schedule `linear`, which has no step index for `--noise-step`").hint(
        "models with the schedule `su2024` or `cosine` can interpolate, as the recipes `su2024-*` \
         and `baseline-*` train them",
    )
}

/// Fails if the sheet would be larger than an image may be.
fn check_size(args: &InterpolateArgs, pairs: &[[Image; 2]]) -> Result<(), Failure> {
    let pixels: usize = pairs.iter().map(|[first, _]| first.width() * first.height()).sum();
    let heights: usize = pairs.iter().map(|[first, _]| first.height()).sum();
    within("--cols", args.cols, most_of(pixels).saturating_sub(2).max(1))?;
    let sheet = pixels * (args.cols + 2) + heights * 2 * GAP;
    within("--zoom", args.denoise.zoom, most_of(sheet).isqrt())
}

/// Puts the first real image, those between and the second real image side by side.
fn row(pair: &[Image; 2], between: &[Image]) -> Image {
    let [first, last] = pair;
    let (width, height) = (first.width(), first.height());
    let middle = image_table(between, between.len());
    let mut row = Image::filled(2 * (width + GAP) + middle.width(), height, [255; 3]);
    row.paste(first, 0, 0);
    row.paste(&middle, width + GAP, 0);
    row.paste(last, width + 2 * GAP + middle.width(), 0);
    row
}
