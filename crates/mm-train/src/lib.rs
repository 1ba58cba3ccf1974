//! Training: data sources, batches, the loop, checkpoints that resume bit for bit, evaluation.
//!
//! ```text
//! Recipe ──► DataSet ──► Document ──► Sample ──► HostBatch ──► Training::step ──► metrics, samples, checkpoints
//! ```
//!
//! The loop is written out in [`train`]: no framework decides when a checkpoint is taken or what it holds. Deliberately
//! absent: flags, colours, the choice of a device.
#![deny(missing_docs)]

mod adamw;
pub mod alone;
pub mod batch;
mod continuation;
pub mod data;
mod ema;
mod error;
pub mod eval;
pub mod golden;
pub mod judge;
mod lamb;
mod learning_rate;
pub mod memory;
pub mod metrics;
mod optimizer;
mod permutation;
pub mod quality;
mod ranks;
pub mod recipe;
pub mod state;
mod step;
mod train;
mod workers;

pub use adamw::{AdamWOptimizer, AdamWState};
pub use error::{RecipeError, TrainError};
pub use lamb::LambOptimizer;
pub use learning_rate::learning_rate;
pub use ranks::{Ranks, Sum};
pub use recipe::Recipe;
pub use state::RunFolder;
pub use step::{Progress, StepReport, Training};
pub use train::{Ending, Happening, steps_in, train};
