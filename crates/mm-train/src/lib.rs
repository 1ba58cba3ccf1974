//! Training: recipes, the step, the loop, optimizers, ranks, checkpoints and plans.
//!
#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! ```text
//! Recipe ──► DataSet ──► Document ──► HostBatch ──► Training::step ──► metrics, samples, checkpoints
//! ```
//!
//! The loop is written out in [`train`](fn@train): no framework decides when a checkpoint is taken
//! or what it holds. Deliberately absent: flags, colors, the choice of a device.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod batch;
pub mod checkpoint;
mod codebook;
mod corpus;
mod dist;
mod distill;
mod early_stopping;
mod error;
mod held_out;
mod levels;
mod loss_scale;
pub mod metrics;
mod objective;
mod optim;
mod plan;
mod progress;
pub mod recipe;
mod represent;
mod rollback;
mod schedule;
mod setup;
mod similar;
mod spikes;
mod step;
mod train;
mod training;
mod unread;
mod workers;

pub use checkpoint::RunFolder;
pub use dist::{DeviceSum, Lost, MpiGroup, ProcessGroup, Sum, launched_processes, on_threads};
pub use distill::{Distillation, drawing_distance};
pub use early_stopping::{Best, EarlyStopping};
pub use error::{RecipeError, TrainError};
pub use held_out::{Validation, evaluate_held_out};
pub use loss_scale::LossScale;
pub use metrics::Speed;
pub use objective::{Objective, RecipeObjective, TermConfig};
pub use optim::{AdamWOptimizer, AdamWState, Ema, LambOptimizer, learning_rate, optimizer};
pub use plan::{
    Bytes, CodecPlan, Costs, Load, MeasuredRate, Plan, Product, can_plan, memory, plan,
};
pub use progress::Progress;
pub use recipe::{BestBy, LoraConfig, PrecisionChoice, Recipe, Represent};
pub use rollback::RolledBack;
pub use schedule::{Actions, LOG_EVERY, Schedule};
pub use similar::{closest, did_you_mean};
pub use spikes::SpikeDetector;
pub use step::{LossValues, ReadSteps, StepReport};
pub use train::{Ending, TrainEvent, steps_in, train, with_batches};
pub use training::Training;
