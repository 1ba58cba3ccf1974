//! Reading pictures and writing files, never over something that is there.

use std::path::Path;

use mm_model::folder::write_atomic;
use mm_model::{GenerationConfig, LoadedModel};
use mm_patch::{DecodeOptions, Fit, Format, Grid, Image, MAX_PIXELS};

use crate::report::{Failure, usage};

/// Fails if `path` exists and must not be replaced.
pub fn free(path: &Path, force: bool) -> Result<(), Failure> {
    if !force && path.exists() {
        let exists = anyhow::anyhow!("`{}` exists already", path.display());
        return Err(Failure::usage(exists).hint("--force replaces it"));
    }
    Ok(())
}

/// Fails unless the number of a flag is one of 1 to `most`.
pub fn within(flag: &str, found: usize, most: usize) -> Result<(), Failure> {
    if (1..=most).contains(&found) {
        Ok(())
    } else {
        Err(usage!("`{flag} {found}`, wanted 1 to {most}"))
    }
}

/// How many parts of so many pixels one picture may have; at least one.
pub fn most_of(pixels: usize) -> usize {
    (MAX_PIXELS / pixels.max(1) as u64).max(1) as usize
}

/// Pixels of a picture of this grid.
pub fn pixels_of(grid: Grid) -> usize {
    grid.width() * grid.height()
}

/// The most pixels that such a picture takes on a contact sheet, which magnifies small ones to 64 pixels and leaves a border.
pub fn pixels_on_sheet(width: usize, height: usize) -> usize {
    (width.max(64) + 4) * (height.max(64) + 4)
}

/// Writes a picture in the format that its ending names.
pub fn write_image(path: &Path, image: &Image) -> Result<(), Failure> {
    let bytes = image.encode(format_of(path)?)?;
    Ok(write_atomic(path, &bytes)?)
}

/// The format that a path's ending names.
pub fn format_of(path: &Path) -> Result<Format, Failure> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    Format::from_extension(&ending).ok_or_else(|| {
        usage!("`{}` ends in `{ending}`, wanted png, jpg, webp or bmp", path.display())
    })
}

/// Reads a picture file.
pub fn read_image(path: &Path) -> Result<Image, Failure> {
    let bytes = fs_err::read(path)?;
    Image::decode(&bytes, &DecodeOptions::default()).map_err(|why| {
        Failure::failed(
            anyhow::Error::new(why).context(format!("cannot read `{}`", path.display())),
        )
    })
}

/// Fits an image to the size that the model was trained on.
pub fn fitted(image: &Image, model: &LoadedModel) -> Result<Image, Failure> {
    let GenerationConfig { width, height, .. } = model.generation;
    Ok(Fit::CenterCrop { width, height }.apply(image, model.config.patch)?.0)
}
