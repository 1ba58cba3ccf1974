//! Outpainting: an image is drawn on beyond its borders.

use mm_patch::Image;

use super::error::EditError;
use super::inpaint::Inpaint;
use super::mask::Mask;

/// How many pixels an image grows on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Margins {
    /// New columns on the left.
    pub left: usize,
    /// New rows above.
    pub top: usize,
    /// New columns on the right.
    pub right: usize,
    /// New rows below.
    pub bottom: usize,
}

/// Prepares the edit that draws an image on beyond its borders: [`Inpaint`] of a larger image, of
/// which only the margins are free. There the larger image repeats the pixels of the border, from
/// which an edit of a [strength](Inpaint::strength) below 1 starts.
pub fn outpaint(image: &Image, margins: Margins, patch: usize) -> Result<Inpaint, EditError> {
    let Margins { left, top, right, bottom } = margins;
    let grown = |side: usize, before: usize, after: usize| {
        before.checked_add(after).and_then(|more| more.checked_add(side))
    };
    let (width, height) = (grown(image.width(), left, right), grown(image.height(), top, bottom));
    let size = width.zip(height).filter(|(width, height)| {
        width.checked_mul(*height).is_some_and(|pixels| pixels as u64 <= mm_patch::MAX_PIXELS)
    });
    EditError::unless(
        margins != Margins::default() && size.is_some(),
        "margins",
        format!("{left},{top},{right},{bottom}"),
        "at least one above 0, and an image that is not too large",
    )?;
    let (width, height) = size.expect("it was checked");
    let mut canvas = Image::filled(width, height, [0; 3]);
    let mut bytes = vec![0; width * height];
    for (at, free) in bytes.iter_mut().enumerate() {
        let (x, y) = (at % width, at / width);
        let (col, row) = (x.saturating_sub(left), y.saturating_sub(top));
        let (col, row) = (col.min(image.width() - 1), row.min(image.height() - 1));
        canvas.set_pixel(x, y, image.pixel(col, row));
        if (col + left, row + top) != (x, y) {
            *free = 255;
        }
    }
    Inpaint::new(canvas, Mask::new(width, height, bytes)?, patch)
}
