//! Weights that other programs publish, read into models of ours and written back.
//!
//! Files are touched in `published/source.rs` alone, which opens the folder of a published model;
//! everywhere else bytes come in and bytes go out. Deliberately absent: trainers.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod dit;
pub mod fuyu;
#[cfg(test)]
#[path = "../../mm-model/src/fuzz.rs"]
mod fuzz;
#[cfg(test)]
mod goldens;
pub mod hf;
pub mod jit;
pub mod keras;
pub mod kinds;
pub mod own;
pub mod published;
pub mod pytorch;
pub mod uvit;
mod vision;

/// The example of the README, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
