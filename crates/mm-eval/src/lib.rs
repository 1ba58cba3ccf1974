#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]
//!
//! # Where things are
//!
//! | module | holds |
//! | --- | --- |
//! | the root | [`Evaluator`] with its [`Score`], losses, reading, drawing, sheets of images |
//! | [`classifier`] | which glyph an image shows |
//! | [`quality`] | FID, KID, nearest images, bits per dimension |
//! | [`golden`] | comparison with what another implementation computed |

mod analytic;
pub mod classifier;
mod drawing;
mod error;
mod evaluator;
#[cfg(test)]
#[path = "../../mm-model/src/fuzz.rs"]
mod fuzz;
pub mod golden;
mod grid;
mod losses;
pub mod quality;
mod reading;
mod records;

pub use analytic::mean_square_of_noise;
pub use drawing::{DrawEvaluator, DrawScore, draw_score};
pub use error::EvalError;
pub use evaluator::{Evaluator, Score};
pub use grid::{contact_sheet, image_table, magnified, sample_grid, square_cols};
pub use losses::{HeldOutLosses, LossEvaluator, held_out_losses};
pub use reading::{ReadEvaluator, ReadScore, read_score};
pub use records::{combinations, examples, records};

/// Counts the images that are drawn or read in one batch.
const TOGETHER: usize = 64;
