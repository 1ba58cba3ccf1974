//! A trained model in the browser: it draws, edits, reads and answers on the visitor's machine, and
//! nothing is sent anywhere.
//!
//! ```text
//! page ──► worker.js ──► Model (this crate, as WebAssembly) ──► WebModel ──► mm-model
//!      ◄── events    ◄── steps, images, text
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `model` | one model and what it does on request |
//! | `request` | what may be asked, with the bounds of every field |
//! | `made` | what is told while a model works |
//! | `shown` | images of a request, read and fitted |
//! | `talk` | messages of a conversation as a document |
//! | `watch` | the hook that tells of denoising steps |
//! | `device` | what computes; compiled for WebAssembly alone |
//! | `worker` | the classes and functions that JavaScript sees; compiled for WebAssembly alone |
//!
//! All but `device` and `worker` is ordinary Rust, tested without a browser. Files are absent on
//! purpose: a model comes as the bytes of its four files.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(target_arch = "wasm32")]
mod device;
mod error;
mod made;
mod model;
mod request;
mod shown;
mod talk;
#[cfg(test)]
mod tests;
mod watch;
#[cfg(target_arch = "wasm32")]
mod worker;

pub use error::WebError;
pub use made::{Made, Told};
pub use model::WebModel;
pub use request::{ChatRequest, DrawRequest, Message, Part, ReadRequest, Role};
