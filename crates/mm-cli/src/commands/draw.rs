//! `mm draw`: an image for a caption.

use std::path::PathBuf;

use clap::Parser;
use mm_eval::{contact_sheet, magnified};
use mm_model::{Document, LoadedModel};
use mm_patch::Grid;

use crate::files::{
    Size, format_of, free, most_of, pixels_of, pixels_on_sheet, within, write_image,
};
use crate::model::{SamplingArgs, cannot_generate};
use crate::terminal::{Failure, say, usage};

#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  mm draw runs/glyphs/model \"red K on yellow\" --out k.png --count 4"
)]
pub struct DrawArgs {
    /// Model folder.
    model: PathBuf,
    /// Text that describes the image.
    caption: String,
    /// Image file to write: png, jpg, webp or bmp. With --count it holds all images side by side.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Width and height in pixels [default: the model's].
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Number of images to draw.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// Factor by which every pixel is magnified; for one image only.
    #[arg(long, value_name = "N", default_value_t = 1)]
    zoom: usize,
    /// Replace a file that exists.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub fn run(args: &DrawArgs) -> Result<(), Failure> {
    free(&args.out, args.force)?;
    format_of(&args.out)?;
    if args.count == 0 || args.zoom == 0 {
        return Err(usage!("`--count` and `--zoom` must be at least 1"));
    }
    let model = args.sampling.load(&args.model)?;
    let grid = grid(args.size, &model)?;
    if args.count == 1 {
        within("--zoom", args.zoom, most_of(pixels_of(grid)).isqrt())?;
    } else {
        let most = most_of(pixels_on_sheet(grid.width(), grid.height()));
        within("--count", args.count, most)?;
    }
    let options = args.sampling.options(&model);
    let prompt = Document::of_text(&args.caption);
    let images = model
        .draw_many(&prompt, args.count, grid, &options)
        .map_err(cannot_generate(&args.model))?;
    let image = match images.as_slice() {
        [one] => magnified(one, args.zoom),
        many => contact_sheet(many, &[]),
    };
    write_image(&args.out, &image)?;
    say!("{}", args.out.display());
    Ok(())
}

/// Returns the patches of an image of this size, or of the model's own size.
pub fn grid(size: Option<Size>, model: &LoadedModel) -> Result<Grid, Failure> {
    let patch = model.config.patch;
    match size {
        Some(size) => Grid::of_size(size.width, size.height, patch)
            .map_err(|why| usage!("`--size {size}`: {why}")),
        None => model
            .generation
            .grid(patch)
            .map_err(|why| usage!("`width` and `height` of generation_config.json: {why}")),
    }
}
