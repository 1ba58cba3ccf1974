//! `mm import`: a model folder from the weights of another program.

mod hf;
mod recipe;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use mm_data::ImageSettings;
use mm_import::keras::{read, swap_red_and_blue};
use mm_model::folder::{save, write_atomic};
use mm_model::{NetworkConfig, UnifiedConfig, image_only};
use mm_patch::Grid;
use mm_train::Recipe;

use crate::files::free;
use crate::recipes;
use crate::terminal::{Failure, grouped, say, usage};

#[derive(Debug, Parser)]
pub struct ImportArgs {
    #[command(subcommand)]
    format: ImportFormat,
}

#[derive(Debug, Subcommand)]
enum ImportFormat {
    /// A published model, whose kind is found from `config.json` or `model_index.json`.
    Hf(hf::HfArgs),
    /// Print which published models are known.
    List,
    /// Weights of the network of Su Jianlin's `ddpm-gau.py`, under the names of Keras. The sizes of
    /// the network are those of the tensors.
    #[command(
        after_help = "Example:\n  mm import keras-ddpm faces.safetensors --image 128 --patch 8 --bgr --out faces"
    )]
    KerasDdpm(KerasArgs),
}

#[derive(Debug, Parser)]
struct KerasArgs {
    /// Safetensors file; its names can have the prefix `w/`.
    file: PathBuf,
    /// Width and height of an image in pixels.
    #[arg(long, value_name = "N")]
    image: usize,
    /// Width and height of a patch in pixels.
    #[arg(long, value_name = "P")]
    patch: usize,
    /// Model folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Swap red and blue, for weights that were trained on images with blue first, as cv2
    /// reads them.
    #[arg(long)]
    bgr: bool,
    /// Replace a model folder that exists.
    #[arg(long)]
    force: bool,
}

/// The recipe that says how a network of this kind is trained and sampled.
const RECIPE: &str = "su2024-128";

pub fn run(args: &ImportArgs) -> Result<(), Failure> {
    match &args.format {
        ImportFormat::Hf(args) => hf::run(args),
        ImportFormat::List => {
            hf::list();
            Ok(())
        }
        ImportFormat::KerasDdpm(args) => keras(args),
    }
}

fn keras(args: &KerasArgs) -> Result<(), Failure> {
    let KerasArgs { file, image, patch, out, bgr, force } = args;
    free(out, *force)?;
    let grid = Grid::of_size(*image, *image, *patch)
        .map_err(|why| usage!("`--image {image} --patch {patch}`: {why}"))?;
    let bytes = fs_err::read(file)?;
    let (config, mut weights) = read(&bytes, grid.patch)
        .map_err(|why| Failure::because(format!("cannot import `{}`", file.display()), why))?;
    if *bgr {
        swap_red_and_blue(&mut weights);
    }
    let mut recipe = Recipe {
        image: ImageSettings { width: *image, height: *image, patch: *patch },
        vocab: config.vocab,
        ..recipes::find(RECIPE)?
    };
    recipe.model.time = config.time.clone();
    recipe.model.schedule = config.schedule;
    recipe.model.network = config.network.clone();
    recipe.sample.steps = recipe.sample.steps.min(config.schedule.steps().unwrap_or(usize::MAX));
    recipe.validate()?;
    save(out, &config, &image_only::tokenizer(), &weights, &recipe.generation_config())?;
    write_atomic(&out.join("recipe.toml"), toml::to_string_pretty(&recipe)?.as_bytes())?;
    let parameters = weights.values().map(|weight| weight.values.len()).sum();
    let NetworkConfig::Unified(UnifiedConfig { backbone, .. }) = &config.network else {
        unreachable!("Su's network is a transformer");
    };
    say!(
        "{}: {} parameters, width {}, {} layers, {} patches of {patch}x{patch}",
        out.display(),
        grouped(parameters),
        backbone.width,
        backbone.depth,
        grid.tokens()
    );
    Ok(())
}
