//! Only the masked area: a region around the mask is cut out, drawn at the model's size, and put
//! back, so that a large image is edited at full resolution.

use burn::prelude::*;
use mm_diffusion::Level;
use mm_patch::{Grid, Image};

use super::error::{EditError, same_size};
use super::inpaint::{Inpaint, SoftMask};
use super::mask::{Mask, Region};
use crate::generate::constrain::Constrain;

/// An image of any size, of which a region around the mask is drawn anew at the model's size.
///
/// The drawings are images of the whole size. Pixels that the mask keeps come back to the bit,
/// whether or not the region had to be resized.
///
/// ```
/// use mm_model::{Document, LoadedModel, Mask, MaskedArea, SoftMask};
/// use mm_patch::Image;
///
/// fn edited(
///     model: &LoadedModel,
///     photo: Image,
///     mask: Mask,
/// ) -> Result<Vec<Image>, Box<dyn std::error::Error>> {
///     let grid = model.grid()?;
///     let mut area = MaskedArea::new(photo, mask, 16, SoftMask::Blend, grid)?;
///     let prompt = Document::of_text("red K on yellow");
///     Ok(model.draw_constrained(&prompt, 1, grid, &model.options(0), &mut area)?)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct MaskedArea {
    image: Image,
    mask: Mask,
    region: Region,
    inner: Inpaint,
    /// Whether gray pixels of the mask are blended when the region is put back.
    blend: bool,
}

impl MaskedArea {
    /// Prepares an edit of the region that holds all pixels that the mask frees, and `padding`
    /// pixels around them, so that the model sees what they border on.
    ///
    /// The region has the size of `grid` where it fits into that, and is not resized then. A larger
    /// one has the grid's aspect as far as the image goes.
    pub fn new(
        image: Image,
        mask: Mask,
        padding: usize,
        soft: SoftMask,
        grid: Grid,
    ) -> Result<Self, EditError> {
        same_size("mask", mask.width(), mask.height(), &image)?;
        let bounds = mask.bounds().ok_or(EditError::EmptyMask)?;
        let region = region_around(bounds, padding, grid, &image);
        let resized = (region.width, region.height) != (grid.width(), grid.height());
        let blend = resized && soft == SoftMask::Blend;
        let cut = image.crop(region.x, region.y, region.width, region.height);
        let mut free = pooled(&mask.crop(region), grid);
        if blend {
            free = hardened(free);
        }
        let inner =
            Inpaint::new(cut.resize(grid.width(), grid.height()), free, grid.patch)?.soft(soft);
        Ok(Self { image, mask, region, inner, blend })
    }

    /// Lets the edit start from the image at this strength, as [`Inpaint::strength`] does.
    pub fn strength(self, strength: f64) -> Result<Self, EditError> {
        Ok(Self { inner: self.inner.strength(strength)?, ..self })
    }

    /// Returns the region that is drawn.
    pub fn region(&self) -> Region {
        self.region
    }
}

impl Constrain for MaskedArea {
    fn first_step(&mut self, steps: usize) -> usize {
        self.inner.first_step(steps)
    }

    fn start(&mut self, noise: Tensor<3>, levels: &[Level]) -> Tensor<3> {
        self.inner.start(noise, levels)
    }

    fn state(&mut self, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        self.inner.state(noisy, level)
    }

    fn clean(&mut self, clean: Tensor<3>, level: &Level) -> Tensor<3> {
        self.inner.clean(clean, level)
    }

    /// Puts the region back into the whole image.
    fn finish(&self, image: Image, drawn: &[f32]) -> Image {
        let Region { x, y, width, height } = self.region;
        let drawn = self.inner.finish(image, drawn).resize(width, height);
        let mut whole = self.image.clone();
        for at in 0..width * height {
            let (col, row) = (at % width, at / width);
            let share = match self.mask.at(x + col, y + row) {
                0 => continue,
                _ if !self.blend => 255,
                share => share,
            };
            let (old, new) = (whole.pixel(x + col, y + row), drawn.pixel(col, row));
            let mixed = [0, 1, 2].map(|color| mixed(old[color], new[color], share));
            whole.set_pixel(x + col, y + row, mixed);
        }
        whole
    }
}

/// Returns the mean of two bytes, `share` of 255 parts of which are of the second.
fn mixed(old: u8, new: u8, share: u8) -> u8 {
    let [old, new, share] = [old, new, share].map(u32::from);
    ((old * (255 - share) + new * share + 127) / 255) as u8
}

/// Returns the region to cut out, which holds `bounds`.
fn region_around(bounds: Region, padding: usize, grid: Grid, image: &Image) -> Region {
    let padded = |side: usize| side.saturating_add(padding.saturating_mul(2));
    let (width, height) =
        (padded(bounds.width).min(image.width()), padded(bounds.height).min(image.height()));
    // The smallest factor, at least 1, by which the grid holds the padded bounds.
    let factor = (width as f64 / grid.width() as f64).max(height as f64 / grid.height() as f64);
    let side = |grid: usize, least: usize, image: usize| {
        let wanted = (grid as f64 * factor.max(1.0)).round() as usize;
        wanted.max(least).min(image)
    };
    let width = side(grid.width(), width, image.width());
    let height = side(grid.height(), height, image.height());
    let x = placed(bounds.x, bounds.width, width, image.width());
    let y = placed(bounds.y, bounds.height, height, image.height());
    Region { x, y, width, height }
}

/// Returns where a stretch of `length` starts whose middle is that of `inner` pixels from `at`, and
/// which does not leave the `whole`.
fn placed(at: usize, inner: usize, length: usize, whole: usize) -> usize {
    (at + inner / 2)
        .saturating_sub(length / 2)
        .min(at)
        .max((at + inner).saturating_sub(length))
        .min(whole - length)
}

/// Returns the mask at the size of a grid. A pixel is as free as the freest that it covers, so that
/// no mask is too fine to be seen.
fn pooled(mask: &Mask, grid: Grid) -> Mask {
    let (width, height) = (grid.width(), grid.height());
    let covered = |at: usize, new: usize, old: usize| {
        let start = at * old / new;
        start..((at + 1) * old).div_ceil(new).max(start + 1)
    };
    let most = |at: usize| {
        let columns = covered(at % width, width, mask.width());
        let rows = covered(at / width, height, mask.height());
        let bytes = rows.flat_map(|y| columns.clone().map(move |x| (x, y)));
        bytes.map(|(x, y)| mask.at(x, y)).max().unwrap_or(0)
    };
    Mask::new(width, height, (0..width * height).map(most).collect()).expect("a byte a pixel")
}

/// Returns the mask with every gray pixel made white.
fn hardened(mask: Mask) -> Mask {
    let bytes = mask.bytes().iter().map(|&byte| if byte > 0 { 255 } else { 0 });
    Mask::new(mask.width(), mask.height(), bytes.collect()).expect("a byte a pixel")
}
