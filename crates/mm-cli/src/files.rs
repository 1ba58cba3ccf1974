//! Images and sizes that flags name: reading, fitting and writing, never over a file that exists.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use mm_model::LoadedModel;
use mm_model::folder::write_atomic;
use mm_patch::{DecodeOptions, Format, Grid, Image, MAX_PIXELS, PngText};

use crate::metadata::Metadata;
use crate::terminal::{Failure, usage};

/// The width and the height of an image in pixels, as a flag writes them: `WIDTHxHEIGHT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.parse().ok().filter(|side| *side > 0);
        text.split_once('x')
            .and_then(|(width, height)| Some(Self { width: side(width)?, height: side(height)? }))
            .ok_or_else(|| "wanted WIDTHxHEIGHT such as 64x64".to_owned())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Fails if `path` exists and must not be replaced.
pub fn free(path: &Path, force: bool) -> Result<(), Failure> {
    if !force && path.exists() {
        return Err(usage!("`{}` exists already", path.display()).hint("--force replaces it"));
    }
    Ok(())
}

/// Fails unless the number of a flag is between 1 and `most`.
pub fn within(flag: &str, found: usize, most: usize) -> Result<(), Failure> {
    if (1..=most).contains(&found) {
        Ok(())
    } else {
        Err(usage!("`{flag} {found}`, wanted 1 to {most}"))
    }
}

/// Returns how many parts of this many pixels fit in the largest image; at least one.
pub fn most_of(pixels: usize) -> usize {
    (MAX_PIXELS / pixels.max(1) as u64).max(1) as usize
}

/// Counts the pixels of an image of this grid.
pub fn pixels_of(grid: Grid) -> usize {
    grid.width() * grid.height()
}

/// Counts the pixels that an image takes on a contact sheet at most. A sheet magnifies small images
/// to 64 pixels and leaves a border.
pub fn pixels_on_sheet(width: usize, height: usize) -> usize {
    (width.max(64) + 4) * (height.max(64) + 4)
}

/// Writes an image in the format that the file name ends in; a PNG file names this program.
pub fn write_image(path: &Path, image: &Image) -> Result<(), Failure> {
    write_image_with(path, image, Metadata::new().all())
}

/// Writes an image in the format that the file name ends in. A PNG file gets these texts.
pub fn write_image_with(path: &Path, image: &Image, texts: &[PngText]) -> Result<(), Failure> {
    let bytes = match format_of(path)? {
        Format::Png => image.encode_png_with(texts)?,
        other => image.encode(other)?,
    };
    Ok(write_atomic(path, &bytes)?)
}

/// Returns the image format that a file name ends in.
pub fn format_of(path: &Path) -> Result<Format, Failure> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    Format::from_extension(&ending).ok_or_else(|| {
        usage!("`{}` ends in `{ending}`, wanted png, jpg, webp or bmp", path.display())
    })
}

/// Reads an image file.
pub fn read_image(path: &Path) -> Result<Image, Failure> {
    let bytes = fs_err::read(path)?;
    Image::decode(&bytes, &DecodeOptions::default())
        .map_err(|why| Failure::because(format!("cannot read `{}`", path.display()), why))
}

/// Brings an image into the form that the model knows.
pub fn fitted(image: &Image, model: &LoadedModel) -> Result<Image, Failure> {
    Ok(model.fit().apply(image, model.config.patch_pixels())?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_numbers_above_zero() {
        assert_eq!("64x32".parse(), Ok(Size { width: 64, height: 32 }));
        for wrong in ["9", "0x9", "9x0", "x", "9x9x9", "-1x2", ""] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
