//! An HTTP server for trained models, in the form of the OpenAI API.
//!
//! ```text
//! request ──► api (parse, check, limit) ──► Job ──► Engine (one thread owns the device)
//! answer  ◄── api (JSON or server-sent events) ◄── Event, Event, … ◄──┘
//! ```
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod api;
mod engine;
mod error;
mod state;

pub use engine::{
    Engine, EngineOptions, EngineStats, Event, FinishReason, Job, ServedModel, SubmitError, Task,
    Ticket, Usage,
};
pub use state::{Limits, ServeOptions};
