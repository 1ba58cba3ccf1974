//! Measures of a trained model: losses on held-out documents, captions read, glyphs drawn and judged, distances between sets
//! of images, bits per dimension, and golden files of other libraries.
//!
//! Deliberately absent: optimizers, recipes, checkpoints of a training run.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod classifier;
mod continuation;
mod drawing;
mod error;
#[cfg(test)]
#[path = "../../mm-model/src/fuzz.rs"]
mod fuzz;
pub mod golden;
mod grid;
pub mod image_only;
mod losses;
pub mod quality;
mod reading;
mod records;

pub use drawing::{DrawScore, draw_score};
pub use error::EvalError;
pub use grid::{contact_sheet, magnified, sample_grid};
pub use losses::{HeldOutLosses, held_out_losses};
pub use reading::{ReadScore, read_score};
pub use records::{combinations, examples, records};

/// Images drawn or read in one batch.
const TOGETHER: usize = 64;
