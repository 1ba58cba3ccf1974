//! `mm read`: pictures to captions.

use mm_model::Document;

use super::{load, options};
use crate::args::ReadArgs;
use crate::output::{fitted, read_image};
use crate::report::{Failure, say};

pub fn run(args: &ReadArgs) -> Result<(), Failure> {
    let images = args.images.iter().map(|path| read_image(path)).collect::<Result<Vec<_>, _>>()?;
    let model = load(&args.model, &args.sampling)?;
    let prompts = images
        .iter()
        .map(|image| Ok(Document::of_image(fitted(image, &model)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let captions = model.read(&prompts, &options(&args.sampling, &model))?;
    for (path, caption) in args.images.iter().zip(captions) {
        match args.images.len() {
            1 => say!("{caption}"),
            _ => say!("{}: {caption}", path.display()),
        }
    }
    Ok(())
}
