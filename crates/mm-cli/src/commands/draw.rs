//! `mm draw`: one caption to one picture.

use mm_eval::{contact_sheet, magnified};
use mm_model::{Document, GenerateOptions, LoadedModel};
use mm_patch::{Grid, Image};

use super::{cannot_generate, load, options};
use crate::args::DrawArgs;
use crate::output::{format_of, free, most_of, pixels_of, pixels_on_sheet, within, write_image};
use crate::report::{Failure, say, usage};

pub fn run(args: &DrawArgs) -> Result<(), Failure> {
    free(&args.out, args.force)?;
    format_of(&args.out)?;
    if args.count == 0 || args.zoom == 0 {
        return Err(usage!("`--count` and `--zoom` must be at least 1"));
    }
    let model = load(&args.model, &args.sampling)?;
    let grid = grid(args.size.as_deref(), &model)?;
    match args.count {
        1 => within("--zoom", args.zoom, most_of(pixels_of(grid)).isqrt())?,
        many => {
            let most = most_of(pixels_on_sheet(grid.width(), grid.height()));
            within("--count", many, most)?;
        }
    }
    let options = options(&args.sampling, &model);
    let images: Vec<Image> = (0..args.count as u64)
        .map(|at| {
            let options =
                GenerateOptions { seed: options.seed.wrapping_add(at), ..options.clone() };
            let drawn = model.draw(&[Document::of_text(&args.caption)], grid, &options);
            Ok(drawn.map_err(cannot_generate(&args.model))?.remove(0))
        })
        .collect::<Result<_, Failure>>()?;
    let picture = match images.as_slice() {
        [one] => magnified(one, args.zoom),
        many => contact_sheet(many, &[]),
    };
    write_image(&args.out, &picture)?;
    say!("{}", args.out.display());
    Ok(())
}

/// Returns the patches of an image of the size that was asked for, or of the model's own.
pub fn grid(size: Option<&str>, model: &LoadedModel) -> Result<Grid, Failure> {
    let patch = model.config.patch;
    let Some(size) = size else {
        return model
            .generation
            .grid(patch)
            .map_err(|why| usage!("`width` and `height` of generation_config.json: {why}"));
    };
    let sides = size.split_once('x');
    let sides = sides.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height) = sides
        .ok_or_else(|| usage!("`--size {size}` is no size, wanted WIDTHxHEIGHT such as 32x32"))?;
    Grid::of_size(width, height, patch).map_err(|why| usage!("`--size {size}`: {why}"))
}
