//! `mm import`: weights from elsewhere to a model folder.

use std::path::Path;

use mm_data::ImageSettings;
use mm_model::folder::{save, write_atomic};
use mm_model::image_only;
use mm_model::keras::{read, swap_red_and_blue};
use mm_model::parameters::Weights;
use mm_patch::Grid;
use mm_train::Recipe;

use crate::args::{ImportArgs, ImportFormat};
use crate::output::free;
use crate::recipes;
use crate::report::{Failure, grouped, say, usage};

/// The recipe that says how a network of this kind is trained and sampled.
const RECIPE: &str = "su2024-128";

pub fn run(args: &ImportArgs) -> Result<(), Failure> {
    let ImportFormat::KerasDdpm { file, image, patch, out, bgr, force } = &args.format;
    free(out, *force)?;
    let grid = Grid::of_size(*image, *image, *patch)
        .map_err(|why| usage!("`--image {image} --patch {patch}`: {why}"))?;
    let bytes = fs_err::read(file)?;
    let (config, mut weights) = read(&bytes, grid.patch).map_err(|why| {
        let said = format!("cannot import `{}`", file.display());
        Failure::failed(anyhow::Error::new(why).context(said))
    })?;
    if *bgr {
        swap_red_and_blue(&mut weights);
    }
    let seed = recipes::find(RECIPE)?;
    let mut recipe = Recipe {
        image: ImageSettings { width: *image, height: *image, patch: *patch },
        vocab: config.vocab,
        ..seed
    };
    recipe.model.time = config.time.clone();
    recipe.model.schedule = config.schedule;
    recipe.model.backbone = config.backbone.clone();
    recipe.sample.steps = recipe.sample.steps.min(config.schedule.steps().unwrap_or(usize::MAX));
    recipe.validate()?;
    save(out, &config, &image_only::tokenizer(), &weights, &recipe.generation_config())?;
    write_recipe(out, &recipe)?;
    say!(
        "{}: {} parameters, width {}, {} layers, {} patches of {patch}x{patch}",
        out.display(),
        grouped(count(&weights)),
        config.backbone.width,
        config.backbone.depth,
        grid.tokens()
    );
    Ok(())
}

fn count(weights: &Weights) -> usize {
    weights.values().map(|weight| weight.values.len()).sum()
}

fn write_recipe(model: &Path, recipe: &Recipe) -> Result<(), Failure> {
    let text = toml::to_string_pretty(recipe)?;
    Ok(write_atomic(&model.join("recipe.toml"), text.as_bytes())?)
}
