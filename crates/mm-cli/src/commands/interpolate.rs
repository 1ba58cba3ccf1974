//! `mm interpolate`: pictures between real ones, mixed pixel by pixel, noised and denoised; each pair is a row between its two
//! real pictures.

use mm_eval::{image_table, magnified};
use mm_patch::{Fit, Image};

use super::cannot_generate;
use super::sample::Way;
use crate::args::InterpolateArgs;
use crate::output::{fitted, format_of, free, most_of, read_image, within, write_image};
use crate::report::{Failure, say, usage};

/// White between the real pictures and those between them, pixels.
const GAP: usize = 10;

pub fn run(args: &InterpolateArgs) -> Result<(), Failure> {
    free(&args.out, args.walk.force)?;
    format_of(&args.out)?;
    if args.walk.zoom == 0 || args.cols == 0 {
        return Err(usage!("`--cols` and `--zoom` must be at least 1"));
    }
    let (files, rest) = args.images.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(usage!("{} pictures, wanted pairs of them", args.images.len()));
    }
    let way = Way::open(&args.model, &args.walk)?;
    let pairs = files
        .iter()
        .map(|[first, last]| {
            let first = fitted(&read_image(first)?, &way.checkpoint)?;
            let (width, height) = (first.width(), first.height());
            let fit = Fit::CenterCrop { width, height };
            Ok([first, fit.apply(&read_image(last)?, way.checkpoint.config.patch)?.0])
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    check_size(args, &pairs)?;
    let schedule = way.checkpoint.config.schedule;
    let all = schedule.steps().ok_or_else(|| usage!("this model has no step indices"))?;
    if args.noise_step == 0 || args.noise_step >= all {
        return Err(usage!("`--noise-step {}`, wanted 1 to {}", args.noise_step, all - 1));
    }
    let steps = args.walk.steps.unwrap_or(args.noise_step);
    if !(1..=args.noise_step).contains(&steps) {
        let noisiest = args.noise_step;
        return Err(usage!(
            "`--steps {steps}` from `--noise-step {noisiest}`, wanted 1 to {noisiest}"
        ));
    }
    let levels = schedule.levels_from(args.noise_step - 1, steps).map_err(Failure::usage)?;
    let from = schedule.level(args.noise_step as f64);
    let rows = way.walk(&levels, |walk| {
        let drawn = way.checkpoint.interpolate(&pairs, args.cols, &from, (walk, args.walk.seed));
        drawn.map_err(cannot_generate(&args.model))
    })?;
    let sheets: Vec<Image> =
        pairs.iter().zip(&rows).map(|(pair, between)| row(pair, between)).collect();
    write_image(&args.out, &magnified(&image_table(&sheets, 1), args.walk.zoom))?;
    say!("{}", args.out.display());
    Ok(())
}

/// The sheet must be no larger than a picture may be.
fn check_size(args: &InterpolateArgs, pairs: &[[Image; 2]]) -> Result<(), Failure> {
    let pixels: usize = pairs.iter().map(|[first, _]| first.width() * first.height()).sum();
    let heights: usize = pairs.iter().map(|[first, _]| first.height()).sum();
    within("--cols", args.cols, most_of(pixels).saturating_sub(2).max(1))?;
    let sheet = pixels * (args.cols + 2) + heights * 2 * GAP;
    within("--zoom", args.walk.zoom, most_of(sheet).isqrt())
}

/// The first real picture, those between, the second.
fn row([first, last]: &[Image; 2], between: &[Image]) -> Image {
    let (width, height) = (first.width(), first.height());
    let middle = image_table(between, between.len());
    let mut row = Image::filled(2 * (width + GAP) + middle.width(), height, [255; 3]);
    row.paste(first, 0, 0);
    row.paste(&middle, width + GAP, 0);
    row.paste(last, width + 2 * GAP + middle.width(), 0);
    row
}
