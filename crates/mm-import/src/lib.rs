//! Weights that other programs publish, read into models of ours and written back.
//!
//! Files are touched in `published/source.rs` alone, which opens the folder of a published model;
//! everywhere else bytes come in and bytes go out. Deliberately absent: trainers.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod fuyu;
#[cfg(test)]
#[path = "../../mm-model/src/fuzz.rs"]
mod fuzz;
pub mod hf;
pub mod keras;
pub mod kinds;
pub mod published;

/// The example of the README, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
