//! Images and sizes that flags name: reading, fitting and writing, never over a file that exists.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use mm_model::LoadedModel;
use mm_model::folder::write_atomic;
use mm_patch::{DecodeOptions, Format, Grid, Image, MAX_PIXELS, PatchError, PngText};

use crate::metadata::Metadata;
use crate::terminal::{Failure, failed, usage};

/// The width and the height of an image in pixels, as a flag writes them: `WIDTHxHEIGHT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

impl Size {
    /// Says whether both sides are whole numbers of patches.
    pub fn is_whole(self, patch: usize) -> bool {
        self.width.is_multiple_of(patch) && self.height.is_multiple_of(patch)
    }
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

/// Fails where a file cannot be written: it exists and must not be replaced, it is a folder, or the
/// folder for it is missing. So a slip is known before anything is computed.
pub fn free_file(path: &Path, force: bool) -> Result<(), Failure> {
    free(path, force)?;
    if path.is_dir() {
        return Err(usage!("`{}` is a folder, wanted the name of a file", path.display()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => {
            let (path, folder) = (path.display(), folder.display());
            Err(failed!("`{path}` cannot be written: there is no folder `{folder}`"))
        }
        _ => Ok(()),
    }
}

/// Fails where a folder cannot be made: a file has its name.
pub fn free_folder(path: &Path) -> Result<(), Failure> {
    if path.exists() && !path.is_dir() {
        return Err(usage!("`{}` is a file, wanted a folder", path.display()));
    }
    Ok(())
}

/// Fails if the number of a flag is 0.
pub fn at_least_one(flag: &str, found: usize) -> Result<(), Failure> {
    if found == 0 { Err(usage!("`{flag} 0`, wanted at least 1")) } else { Ok(()) }
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
    let found = match ending.as_str() {
        "" => "has no ending".to_owned(),
        ending => format!("ends in `{ending}`"),
    };
    Format::from_extension(&ending)
        .ok_or_else(|| usage!("`{}` {found}, wanted png, jpg, webp or bmp", path.display()))
}

/// The number of bytes that tell whether a file is an image.
const HEAD: u64 = 4096;

/// Reads the bytes of an image file, and no more of a file than an image may have: a device such as
/// `/dev/zero` has no end.
pub fn read_image_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = |why: PatchError| cannot_read(path, why);
    let mut file = fs_err::File::open(path)?;
    let mut bytes = vec![];
    file.by_ref().take(HEAD).read_to_end(&mut bytes)?;
    if let Err(why @ PatchError::UnknownFormat { .. }) = Image::count_pixels(&bytes) {
        return Err(if bytes.is_empty() { cannot(PatchError::Empty) } else { cannot(why) });
    }
    let most = DecodeOptions::default().max_bytes + 1; // the decoder says that this is too much
    file.take(most.saturating_sub(HEAD)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads an image file.
pub fn read_image(path: &Path) -> Result<Image, Failure> {
    let bytes = read_image_bytes(path)?;
    Image::decode(&bytes, &DecodeOptions::default()).map_err(|why| cannot_read(path, why))
}

/// Names the file in an error of its contents.
pub fn cannot_read(path: &Path, why: PatchError) -> Failure {
    Failure::because(format!("cannot read `{}`", path.display()), why)
}

/// Brings an image into the form that the model knows.
pub fn fitted(image: &Image, model: &LoadedModel) -> Result<Image, Failure> {
    Ok(model.fit().apply(image, model.config.patch_pixels())?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str| free_file(&folder.path().join(name), true).unwrap_err().words();
        assert!(refused("none/k.png").contains("there is no folder"));
        assert!(refused("").ends_with("is a folder, wanted the name of a file"));
        assert!(free_file(&folder.path().join("k.png"), false).is_ok());
        assert!(free_file(Path::new("never-written.png"), false).is_ok());
    }

    #[test]
    fn a_name_without_an_ending_is_refused_as_such() {
        let refused = |name: &str| format_of(Path::new(name)).unwrap_err().words();
        assert_eq!(refused("k"), "`k` has no ending, wanted png, jpg, webp or bmp");
        assert_eq!(refused("k.gif"), "`k.gif` ends in `gif`, wanted png, jpg, webp or bmp");
    }

    #[test]
    fn a_size_is_two_numbers_above_zero() {
        assert_eq!("64x32".parse(), Ok(Size { width: 64, height: 32 }));
        for wrong in ["9", "0x9", "9x0", "x", "9x9x9", "-1x2", ""] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
