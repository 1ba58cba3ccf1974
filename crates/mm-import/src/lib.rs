//! Weights that other programs publish, read into models of ours and written back.
//!
//! Bytes come in and bytes go out: this crate touches no file. Deliberately absent: trainers.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(test)]
#[path = "../../mm-model/src/fuzz.rs"]
mod fuzz;
pub mod hf;
pub mod keras;

/// The example of the README, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
