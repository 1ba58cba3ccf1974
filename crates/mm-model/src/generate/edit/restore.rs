//! Restoration as an exact linear constraint: `A x = y` for a known map `A` and a measured `y`.
//!
//! At every step the clean estimate is projected onto the constraint, `x̂ + A⁺ (y - A x̂)`, where
//! `A⁺` is the pseudoinverse (DDNM, Wang et al. 2022, arXiv:2212.00490, eq. 12). Rounding to bytes
//! breaks the equation by a little, so the last step is a repair of the bytes: those that were
//! rounded away furthest from the wanted side are moved by one until the constraint holds in
//! integers.
//!
//! Missing pixels are a constraint of this kind too: [`Inpaint`](super::inpaint::Inpaint) with a
//! mask that is white where they are missing.

mod color;
mod deblur;
mod repair;
mod super_resolution;

use burn::prelude::*;
use mm_diffusion::Level;
use mm_patch::{Grid, Image};

pub use color::{Color, luma};
pub use deblur::{Deblur, Kernel};
pub use super_resolution::SuperResolution;

use super::error::{EditError, grid_of};
use crate::generate::constrain::Constrain;

/// A linear map of an image and what came out of it.
///
/// Pixels are numbers in the unit of bytes, 0 to 255 and somewhat beyond, in planes:
/// `[colors, height, width]`.
pub trait Measurement: Send + Sync {
    /// Returns the width in pixels of the images that are measured.
    fn width(&self) -> usize;

    /// Returns their height in pixels.
    fn height(&self) -> usize;

    /// Moves the pixels to the nearest place where the constraint holds.
    fn project(&self, planes: &mut [f64]);

    /// Changes the bytes, which are `exact` rounded, so that the constraint holds in integers.
    fn repair(&self, bytes: &mut [u8], exact: &[f64]);

    /// Returns by how many levels the measurement of an image differs from the given one at most.
    /// Panics if the image has another size.
    fn largest_error(&self, image: &Image) -> u8;
}

/// An image that is drawn so that a measurement of it gives what was measured.
///
/// ```
/// use mm_model::{Document, LoadedModel, Measurement, Restore, SuperResolution};
/// use mm_patch::Image;
///
/// fn enlarged(model: &LoadedModel, small: Image) -> Result<Image, Box<dyn std::error::Error>> {
///     let measurement = SuperResolution::new(small, 4)?;
///     let mut restore = Restore::new(&measurement, model.config.patch)?;
///     let grid = restore.grid();
///     let prompt = Document::default();
///     let image =
///         model.draw_constrained(&prompt, 1, grid, &model.options(0), &mut restore)?.remove(0);
///     assert_eq!(measurement.largest_error(&image), 0);
///     Ok(image)
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Restore<'a> {
    measurement: &'a dyn Measurement,
    grid: Grid,
}

impl<'a> Restore<'a> {
    /// Prepares the drawing of an image with this measurement.
    pub fn new(measurement: &'a dyn Measurement, patch: usize) -> Result<Self, EditError> {
        let grid = grid_of("restored image", measurement.width(), measurement.height(), patch)?;
        Ok(Self { measurement, grid })
    }

    /// Returns the patches of the restored image.
    pub fn grid(&self) -> Grid {
        self.grid
    }
}

impl Constrain for Restore<'_> {
    fn clean(&mut self, clean: Tensor<3>, _level: &Level) -> Tensor<3> {
        let (shape, device) = (clean.dims(), clean.device());
        let one = self.grid.tokens() * self.grid.patch_dim();
        // A device that failed is reported where the image is read.
        let Ok(data) = clean.clone().try_into_data() else { return clean };
        let mut numbers = data.try_to_vec_as::<f32>().expect("activations are floats");
        for row in numbers.chunks_exact_mut(one) {
            let mut planes = planes_of(row, self.grid);
            self.measurement.project(&mut planes);
            for (at, number) in row.iter_mut().enumerate() {
                *number = number_of(planes[place(at, self.grid)]);
            }
        }
        Tensor::from_data(TensorData::new(numbers, shape), &device)
    }

    fn finish(&self, image: Image, drawn: &[f32]) -> Image {
        let exact = planes_of(drawn, self.grid);
        let mut bytes = bytes_of(&image);
        self.measurement.repair(&mut bytes, &exact);
        image_of(&bytes, image.width(), image.height())
    }
}

/// Returns where number `at` of an image's patches stands in its planes.
fn place(at: usize, grid: Grid) -> usize {
    let (token, number) = (at / grid.patch_dim(), at % grid.patch_dim());
    let (pixel, color) = (number / grid.channels, number % grid.channels);
    let y = token / grid.cols * grid.patch + pixel / grid.patch;
    let x = token % grid.cols * grid.patch + pixel % grid.patch;
    (color * grid.height() + y) * grid.width() + x
}

/// Returns the planes of an image's patches, in the unit of bytes.
fn planes_of(patches: &[f32], grid: Grid) -> Vec<f64> {
    let mut planes = vec![0.0; patches.len()];
    for (at, &number) in patches.iter().enumerate() {
        planes[place(at, grid)] = (f64::from(number) + 1.0) * 127.5;
    }
    planes
}

/// Returns the number of a patch that stands for this many levels of a byte.
fn number_of(byte: f64) -> f32 {
    (byte / 127.5 - 1.0) as f32
}

/// Returns the planes of an image, `[colors, height, width]`.
fn bytes_of(image: &Image) -> Vec<u8> {
    let color = |color: usize| image.rgb().iter().skip(color).step_by(3).copied();
    (0..3).flat_map(color).collect()
}

/// Returns the image of these planes.
fn image_of(planes: &[u8], width: usize, height: usize) -> Image {
    let pixels = width * height;
    let pixel = |at: usize| [planes[at], planes[pixels + at], planes[2 * pixels + at]];
    Image::new(width, height, (0..pixels).flat_map(pixel).collect()).expect("three bytes a pixel")
}

/// Fails a measurement of an image of another size.
fn check_size(measurement: &dyn Measurement, image: &Image) {
    let size = (image.width(), image.height());
    assert_eq!(size, (measurement.width(), measurement.height()), "the size of the measured image");
}
