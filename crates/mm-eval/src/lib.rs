//! Measures of a trained model: losses on held-out documents, captions read, glyphs drawn and
//! recognized, distances between sets of images, bits per dimension, and golden files of another
//! implementation.
//!
//! ```text
//! model, data, split, count, seed ──► Evaluator ──► Score     losses, reading, drawing, likelihood
//! images ──► quality ──► ReferenceScores                      FID and KID between two baselines
//! image  ──► classifier ──► RecognizedGlyph                   what a drawn glyph shows
//! ```
//!
//! An evaluation never changes a model, and the same seed repeats it on the same kind of
//! processor. Optimizers, recipes and checkpoints of a training run are absent on purpose.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod analytic;
pub mod classifier;
mod codec;
mod crispness;
mod dialogue;
mod drawing;
mod error;
mod evaluator;
mod fidelity;
#[cfg(test)]
#[path = "../../mm-model/src/fuzz.rs"]
mod fuzz;
pub mod golden;
mod grid;
mod losses;
mod pairs;
pub mod quality;
mod reading;
mod records;
mod share;
mod words;

pub use analytic::mean_square_of_noise;
pub use codec::{CodecScore, UsageScore, codec_score};
pub use crispness::{Crispness, CrispnessMeter};
pub use dialogue::{DialogueEvaluator, DialogueScore, dialogue_score};
pub use drawing::{DrawEvaluator, DrawScore, draw_score};
pub use error::EvalError;
pub use evaluator::{Evaluator, Score};
pub use fidelity::{CodeUsage, psnr, squared_error, ssim};
pub use grid::{contact_sheet, contact_sheet_at, image_table, magnified, sample_grid, square_cols};
pub use losses::{HeldOutBatch, HeldOutLosses, LossEvaluator, held_out_batches, held_out_losses};
pub use pairs::{PairsEvaluator, PairsScore, pairs_score};
pub use reading::{ReadEvaluator, ReadScore, read_score};
pub use records::{combinations, examples, records};
pub use share::Share;
pub use words::{
    CharacterErrors, See, WordsEvaluator, WordsScore, WrongText, words_score, words_score_through,
};

/// Counts the images that are drawn or read in one batch.
const TOGETHER: usize = 64;

/// The example of the README, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
