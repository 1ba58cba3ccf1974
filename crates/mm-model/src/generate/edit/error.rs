//! What can be wrong with an edit that was asked for.

use mm_patch::{Grid, Image, PatchError};

use crate::GenerateError;

/// Why an edit cannot be done as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The sides of an image are not whole numbers of patches.
    #[error(
        "the {what} has {width} x {height} pixels, wanted multiples of {patch}; the nearest sizes \
         are {smaller} and {larger}"
    )]
    Divide {
        /// Names the image.
        what: &'static str,
        /// Its width in pixels.
        width: usize,
        /// Its height in pixels.
        height: usize,
        /// The side of a patch in pixels.
        patch: usize,
        /// The nearest size that is not larger on any side and has a pixel.
        smaller: String,
        /// The nearest size that is not smaller on any side.
        larger: String,
    },
    /// Two images that belong together differ in size.
    #[error("the {what} has {width} x {height} pixels, wanted {wanted_width} x {wanted_height}")]
    Size {
        /// Names the image.
        what: &'static str,
        /// Its width in pixels.
        width: usize,
        /// Its height in pixels.
        height: usize,
        /// The width that is wanted.
        wanted_width: usize,
        /// The height that is wanted.
        wanted_height: usize,
    },
    /// A setting is out of its range.
    #[error("`{name}` is {found}, wanted {wanted}")]
    Setting {
        /// Names the setting.
        name: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        wanted: &'static str,
    },
    /// The mask leaves nothing to edit.
    #[error("the mask marks no pixel, wanted at least one that is transparent or not black")]
    EmptyMask,
    /// An image or a mask cannot be read or made.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The image cannot be drawn.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl EditError {
    /// Fails unless a setting is in its range.
    pub(super) fn unless(
        right: bool,
        name: &'static str,
        found: impl ToString,
        wanted: &'static str,
    ) -> Result<(), EditError> {
        if right { Ok(()) } else { Err(Self::Setting { name, found: found.to_string(), wanted }) }
    }
}

/// Returns the patches of an image; an error names the nearest sizes that would do.
pub(super) fn grid_of(
    what: &'static str,
    width: usize,
    height: usize,
    patch: usize,
) -> Result<Grid, EditError> {
    Grid::of_size(width, height, patch).map_err(|why| {
        let PatchError::Divide { .. } = why else { return EditError::Patch(why) };
        let below = |side: usize| (side / patch).max(1) * patch;
        let above = |side: usize| side.div_ceil(patch) * patch;
        let size = |width: usize, height: usize| format!("{width} x {height}");
        let (smaller, larger) =
            (size(below(width), below(height)), size(above(width), above(height)));
        EditError::Divide { what, width, height, patch, smaller, larger }
    })
}

/// Fails unless an image, or a mask, has the size of another.
pub(super) fn same_size(
    what: &'static str,
    width: usize,
    height: usize,
    wanted: &Image,
) -> Result<(), EditError> {
    let (wanted_width, wanted_height) = (wanted.width(), wanted.height());
    if (width, height) == (wanted_width, wanted_height) {
        return Ok(());
    }
    Err(EditError::Size { what, width, height, wanted_width, wanted_height })
}
