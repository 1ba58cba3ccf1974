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
pub mod batch;
mod ema;
mod error;
mod fine_tune;
mod freeze;
mod lamb;
mod learning_rate;
mod levels;
mod lora;
pub mod memory;
pub mod metrics;
mod optimizer;
mod plan;
mod precision;
mod ranks;
pub mod recipe;
mod rollback;
pub mod state;
mod step;
mod threads;
mod train;
mod validate;
mod watch;
mod workers;

pub use adamw::{AdamWOptimizer, AdamWState};
pub use ema::Ema;
pub use error::{RecipeError, TrainError};
pub use lamb::LambOptimizer;
pub use learning_rate::learning_rate;
pub use lora::LoraConfig;
pub use metrics::Speed;
pub use optimizer::optimizer;
pub use plan::{Bytes, Costs, Load, Plan, can_plan, plan};
pub use ranks::{DeviceSum, ProcessGroup, Sum};
pub use recipe::Recipe;
pub use rollback::{RolledBack, roll_back};
pub use state::RunFolder;
pub use step::{Progress, StepReport, Training};
pub use threads::{Lost, on_threads};
pub use train::{Ending, TrainEvent, steps_in, train, with_batches};
pub use validate::{Validation, validate};
pub use watch::{Best, BestBy, Watch};
