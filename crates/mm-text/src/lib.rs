//! The text side of the model: text to ids and back, the ids that are no text, the loss of the next token, and the
//! draw of one.
//!
//! ```text
//! "a cat" -> Tokenizer::encode -> [230, 489]        ids of text: Special::COUNT and up
//!                                  [1] [3] [4] ..     Special: begin, image, image_end ..
//! logits  -> sample_token -> id -> TextStream -> StopStrings -> "a cat"
//! logits, targets, weights -> next_token_loss
//! ```
//!
//! Deliberately absent: images, networks, files. Randomness comes in as a number.

mod bytes;
mod check;
mod error;
mod loss;
mod sampling;
mod special;
mod stream;
mod tokenizer;
mod train;

pub use error::TextError;
pub use loss::next_token_loss;
pub use sampling::{TokenSampling, sample_token};
pub use special::{MAX_SIDE, Special};
pub use stream::{StopStrings, TextStream};
pub use tokenizer::Tokenizer;
