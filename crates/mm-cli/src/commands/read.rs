//! `mm read`: a caption for each image.

use std::path::PathBuf;

use clap::Parser;
use mm_model::Document;

use crate::files::{fitted, read_image};
use crate::model::SamplingArgs;
use crate::terminal::{Failure, say};

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  mm read runs/glyphs/model k.png e.jpg")]
pub struct ReadArgs {
    /// Model folder.
    model: PathBuf,
    /// Image files; each is fitted to the size of the model's images.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub fn run(args: &ReadArgs) -> Result<(), Failure> {
    let images = args.images.iter().map(|path| read_image(path)).collect::<Result<Vec<_>, _>>()?;
    let model = args.sampling.load(&args.model)?;
    let prompts = images
        .iter()
        .map(|image| Ok(Document::of_image(fitted(image, &model)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let captions = model.read(&prompts, &args.sampling.options(&model))?;
    for (path, caption) in args.images.iter().zip(captions) {
        match args.images.len() {
            1 => say!("{caption}"),
            _ => say!("{}: {caption}", path.display()),
        }
    }
    Ok(())
}
