//! Edits of images: each is a [`Constrain`](super::constrain::Constrain) over the one image
//! sampler, in a file of its own.
//!
//! | file | holds |
//! | --- | --- |
//! | `mask` | which pixels may change |
//! | `inpaint` | pixels under a mask drawn anew, all others kept to the bit |
//! | `image_to_image` | an image noised part of the way and denoised again; variations |
//! | `outpaint` | an image drawn on beyond its borders |
//! | `masked_area` | a region of a large image, cut out, drawn and put back |
//! | `restore` | images that keep a measurement: smaller, gray or blurred |
//! | `invert` | an image back to its noise, and drawn from it again with another caption |
//! | `interpolate` | images between two images or two captions |
//! | `error` | what can be wrong with an edit |

mod error;
mod image_to_image;
mod inpaint;
mod interpolate;
mod invert;
mod mask;
mod masked_area;
mod outpaint;
mod restore;
#[cfg(test)]
mod tests;

pub use error::EditError;
pub use image_to_image::ImageToImage;
pub use inpaint::{Inpaint, SoftMask};
pub use invert::{CaptionSwap, FromNoise, RoundTrip};
pub use mask::{Mask, Region};
pub use masked_area::MaskedArea;
pub use outpaint::{Margins, outpaint};
pub use restore::{Color, Deblur, Kernel, Measurement, Restore, SuperResolution, luma};
