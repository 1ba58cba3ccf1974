//! Raw patches: images as rows of tokens, and back, without loss.
//!
//! An image is cut into squares of `patch x patch` pixels. The squares are read like text, and so
//! are the pixels inside a square; the red, green and blue values of one pixel stand side by side.
//! Each square becomes one row of `patch * patch * 3` numbers, which the model sees as one token.
//! For `rows = 2`, `cols = 3`, `patch = 2`:
//!
//! ```text
//!        image, 6 x 4 pixels                  tokens                  one token, 12 numbers
//!
//!     ┌───────┬───────┬───────┐                                     px = 0      px = 1
//!     │       │       │       │           ┌─────────────┐         ┌───────────┬───────────┐
//!     │   0   │   1   │   2   │           │ 0 1 2 3 4 5 │  py = 0 │ 0r 1g 2b  │ 3r 4g 5b  │
//!     │       │       │       │           └─────────────┘         ├───────────┼───────────┤
//!     ├───────┼───────┼───────┤   token = row * cols + col py = 1 │ 6r 7g 8b  │ 9r 10g 11b│
//!     │       │       │       │                                   └───────────┴───────────┘
//!     │   3   │   4   │   5   │                       number = (py * patch + px) * 3 + color
//!     │       │       │       │
//!     └───────┴───────┴───────┘
//! ```
//!
//! [`patchify`] and [`unpatchify`] do this to tensors; [`image_to_patches`] and
//! [`patches_to_image`] do it to host buffers, in the same order. Both pairs are exact inverses:
//! each of the 256 values of a byte survives `u8 -> f32 -> u8`.
//!
//! ```
//! use mm_patch::{DecodeOptions, Fit, Image, image_to_patches, patches_to_image};
//!
//! let mut drawing = Image::filled(40, 30, [255, 255, 255]);
//! drawing.paste(&Image::filled(10, 10, [200, 30, 30]), 15, 10);
//! let file = drawing.encode_png();
//!
//! // A fit policy turns an image of any size into a whole number of patches.
//! let decoded = Image::decode(&file, &DecodeOptions::default())?;
//! let (image, grid) = Fit::Bucket { max_patches: 12 }.apply(&decoded, 10)?;
//! assert_eq!((grid.rows, grid.cols), (3, 4));
//!
//! let patches = image_to_patches(&image, grid)?;
//! assert_eq!(patches.len(), grid.tokens() * grid.patch_dim());
//! assert_eq!(patches_to_image(&patches, grid)?, image);
//! # Ok::<(), mm_patch::PatchError>(())
//! ```
//!
//! Networks, text and file access are absent on purpose: files come in and go out as bytes.
#![forbid(unsafe_code)]

mod decode;
mod encode;
mod error;
mod fit;
mod grid;
mod guard;
mod image;
mod jpeg;
mod orientation;
mod patchify;
mod png_text;
mod resize;
mod tiff;
mod whole;

pub use self::decode::DecodeOptions;
pub use self::encode::Format;
pub use self::error::PatchError;
pub use self::fit::Fit;
pub use self::grid::Grid;
pub use self::guard::{guarded, is_guarded};
pub use self::image::{Image, MAX_PIXELS, RGB_CHANNELS};
pub use self::patchify::{image_to_patches, patches_to_image, patchify, unpatchify};
pub use self::png_text::{PngText, png_texts};

/// The example of the README, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
