//! Edits of images: each is a [`Constrain`](super::constrain::Constrain) over the one image sampler,
//! in a file of its own.
//!
//! | file | holds |
//! | --- | --- |
//! | `mask` | which pixels may change |
//! | `inpaint` | pixels under a mask drawn anew, all others kept to the bit |
//! | `image_to_image` | an image noised part of the way and denoised again; variations |
//! | `error` | what can be wrong with an edit |

mod error;
mod image_to_image;
mod inpaint;
mod mask;
#[cfg(test)]
mod tests;

pub use error::EditError;
pub use image_to_image::ImageToImage;
pub use inpaint::{Inpaint, SoftMask};
pub use mask::{Mask, Region};
