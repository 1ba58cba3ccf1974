//! `mm read`: pictures to captions.

use mm_train::eval::looking_at;

use super::{load, options};
use crate::args::ReadArgs;
use crate::output::{fitted, read_image};
use crate::report::{Failure, say};

pub fn run(args: &ReadArgs) -> Result<(), Failure> {
    let images = args.images.iter().map(|path| read_image(path)).collect::<Result<Vec<_>, _>>()?;
    let (checkpoint, recipe) = load(&args.model, &args.sampling)?;
    let prompts = images
        .iter()
        .map(|image| Ok(looking_at(fitted(image, checkpoint.config.patch, recipe.as_ref())?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let captions = checkpoint.read(&prompts, &options(&args.sampling, recipe.as_ref()))?;
    for (path, caption) in args.images.iter().zip(captions) {
        match args.images.len() {
            1 => say!("{caption}"),
            _ => say!("{}: {caption}", path.display()),
        }
    }
    Ok(())
}
