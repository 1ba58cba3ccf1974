//! An HTTP server for trained models, in the form of the OpenAI API.
//!
//! ```text
//! request ──► guard ──► api (parse, check, limit) ──► Job ──► Engine (one thread owns the device)
//! answer  ◄── guard ◄── api (JSON or server-sent events) ◄── Event, Event, … ◄──┘
//! ```
//!
//! Nothing is fetched from the network, and no path of a request reaches the file system.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod api;
mod encode;
mod engine;
mod error;
mod guard;
mod id;
mod local;
mod metrics;
mod multipart;
mod page;
mod server;
mod site;
mod state;
mod tally;
#[cfg(test)]
mod testing;

pub use engine::{
    Engine, EngineOptions, EngineStats, Event, FinishReason, Job, ServedModel, SubmitError, Task,
    Ticket, Usage,
};
pub use server::{router, serve};
pub use site::{SiteFile, SiteModel, WASM_FILES, WEBGPU_FILES, site};
pub use state::{Limits, ServeOptions};

/// The example of the README, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
