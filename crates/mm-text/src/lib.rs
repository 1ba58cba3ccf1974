//! The text side of the model: text to ids and back, the special tokens, the loss of the next
//! token, and the sampling of one.
//!
//! ```text
//! "a cat" -> Tokenizer::encode -> [230, 489]        ids of text: Special::COUNT and up
//!                                  [1] [3] [4] ..     Special: begin, image, image_end ..
//! logits  -> sample_token -> id -> TextStream -> StopStrings -> "a cat"
//! logits, targets, weights -> next_token_loss
//! ```
//!
//! Images, networks and file access are absent on purpose. Randomness comes in as a number.
#![forbid(unsafe_code)]

mod bytes;
mod check;
mod error;
mod loss;
mod published;
mod sampling;
mod special;
mod stream;
mod tokenizer;

pub use error::TextError;
pub use loss::{next_token_loss, token_surprises};
pub use sampling::{TokenSampling, sample_token};
pub use special::{MAX_SIDE, Rows, Special};
pub use stream::{StopStrings, TextStream};
pub use tokenizer::Tokenizer;

/// The example of the README, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
