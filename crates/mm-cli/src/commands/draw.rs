//! `mm draw`: one caption to one picture.

use mm_model::GenerateOptions;
use mm_patch::{Grid, Image};
use mm_train::Recipe;
use mm_train::eval::{contact_sheet, magnified, saying};

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
    let (checkpoint, recipe) = load(&args.model, &args.sampling)?;
    let grid = grid(args.size.as_deref(), checkpoint.config.patch, recipe.as_ref())?;
    match args.count {
        1 => within("--zoom", args.zoom, most_of(pixels_of(grid)).isqrt())?,
        many => {
            let most = most_of(pixels_on_sheet(grid.width(), grid.height()));
            within("--count", many, most)?;
        }
    }
    let options = options(&args.sampling, recipe.as_ref());
    let images: Vec<Image> = (0..args.count as u64)
        .map(|at| {
            let options =
                GenerateOptions { seed: options.seed.wrapping_add(at), ..options.clone() };
            let drawn = checkpoint.draw(&[saying(&args.caption)], grid, &options);
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

/// The patches of a picture of the size that was asked for, or of the recipe's.
pub fn grid(size: Option<&str>, patch: usize, recipe: Option<&Recipe>) -> Result<Grid, Failure> {
    match (size, recipe) {
        (Some(size), _) => {
            let sides = size.split_once('x');
            let sides =
                sides.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
            let (width, height) = sides.ok_or_else(|| {
                usage!("`--size {size}` is no size, wanted WIDTHxHEIGHT such as 32x32")
            })?;
            Grid::of_size(width, height, patch).map_err(|why| usage!("`--size {size}`: {why}"))
        }
        (None, Some(recipe)) => Grid::of_size(recipe.image.width, recipe.image.height, patch)
            .map_err(|why| usage!("`image` of the recipe: {why}")),
        (None, None) => {
            Err(usage!("the model folder has no recipe.toml").hint("give the size: --size 32x32"))
        }
    }
}
