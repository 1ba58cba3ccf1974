//! The engine: a few threads own the device, and requests that are in progress together share
//! passes through the network.
//!
//! ```text
//! submit ─► queue ─► a thread for each job: choice of tokens, sampler, constraint
//!                      │ calls of the network              ▲ answers
//!                      ▼                                   │
//!                    lane of the device: gathers the calls of its jobs, joins those of one shape,
//!                    runs a pass
//! ```
//!
//! A job's bytes are a function of the job alone. Which calls may be joined without changing a bit
//! is [said by the model](LoadedModel::joining); on the CPU these are all calls of one shape, since
//! no kernel there lets a row's bits depend on other rows, on padding, or on where a prompt was
//! cut. On other devices, whose libraries choose kernels by the number of rows, every call is a
//! pass of its own.
//!
//! | file | holds |
//! | --- | --- |
//! | `queue` | jobs that wait, those in progress, what is counted |
//! | `check` | what is wrong with a job before it is taken |
//! | `job` | one job from its turn to its end |
//! | `threads` | threads that do one job after another |
//! | `watch` | the hook that tells of denoising steps |
//! | `device` | the threads that run passes |
//! | `prefixes` | keys and values of prompts, for those that begin alike |

mod check;
mod device;
mod job;
mod message;
mod outlet;
mod prefixes;
mod queue;
#[cfg(test)]
mod tests;
mod threads;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use mm_model::{Constrain, Document, GenerateOptions, LoadedModel};
use mm_patch::{Grid, Image};
use tokio::sync::mpsc;

/// A model under its public name.
#[derive(Debug, Clone)]
pub struct ServedModel {
    /// The name that requests give.
    pub name: String,
    /// When its weights were written, in seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: Arc<LoadedModel>,
}

/// Bounds of an engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// The most jobs that wait for their turn.
    pub queue: usize,
    /// The most rows of a pass; a guided image has two.
    pub max_rows: usize,
    /// How many passes run at once, each on its share of the cores. With `None` there are as many
    /// as there are cores where every model is computed by kernels of the CPU and is small enough
    /// for its caches, and one elsewhere.
    pub lanes: Option<usize>,
    /// The longest that a job may take from its turn to its end.
    pub time_limit: Duration,
}

/// What a request asks of a model.
pub struct Job {
    /// The index of the model in the list that the engine was started with.
    pub model: usize,
    /// What is made.
    pub task: Task,
    /// How it is made; the seed is in here.
    pub options: GenerateOptions,
    /// How many clean estimates of each image are sent while it is drawn, spread evenly over its
    /// denoising steps; the last of them comes before the last step.
    pub previews: usize,
}

/// What is made of a prompt.
pub enum Task {
    /// Text and images go on where the prompt ends, in the order that the model writes them.
    Generate {
        /// The document so far.
        prompt: Document,
    },
    /// Images are drawn. Image `i` has the seed `options.seed + i`.
    Draw {
        /// The document before the image.
        prompt: Document,
        /// The size of an image.
        grid: Grid,
        /// The number of images.
        count: usize,
        /// What the images have to keep; none for images that are drawn freely.
        constraint: Option<Box<dyn Constrain + Send>>,
    },
}

/// A job that was taken. Dropping it ends the job before its next pass.
#[derive(Debug)]
pub struct Ticket {
    /// What happens, in order. The last is [`Event::Finished`] or [`Event::Failed`]; nothing comes
    /// after the end of a dropped engine.
    pub events: mpsc::UnboundedReceiver<Event>,
}

/// Something that happened to a job.
#[derive(Debug)]
pub enum Event {
    /// The job's turn has come.
    Started,
    /// A piece of text, whole characters.
    Text(String),
    /// A denoising step of an image is done.
    Step {
        /// The number of the image, from 0.
        image: usize,
        /// The steps that are done.
        done: usize,
        /// The steps in all.
        of: usize,
    },
    /// The clean estimate of an image that is being drawn.
    Preview {
        /// The number of the image, from 0.
        image: usize,
        /// The number of the preview, from 0.
        index: usize,
        /// The estimate.
        pixels: Image,
    },
    /// An image is finished.
    Image {
        /// The number of the image, from 0.
        image: usize,
        /// The image.
        pixels: Image,
    },
    /// All is made.
    Finished {
        /// Why the text ended.
        reason: FinishReason,
        /// What was read and made.
        usage: Usage,
    },
    /// The job ended with an error: a device that fails, numbers that are not finite, a time limit.
    Failed(String),
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended the document, a stop string appeared, or all images are drawn.
    Stop,
    /// The limit of tokens was reached.
    Length,
}

/// Tokens that were read and made; a patch of an image is one token, and so is each that marks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of text in the prompt.
    pub prompt_text: usize,
    /// Tokens of images in the prompt.
    pub prompt_images: usize,
    /// Tokens of text that were made.
    pub text: usize,
    /// Tokens of images that were made.
    pub images: usize,
}

/// Why a job was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// No more jobs may wait.
    #[error("{waiting} requests wait for their turn, which is the most; try again in {} s", retry_after.as_secs().max(1))]
    QueueFull {
        /// The jobs that wait.
        waiting: usize,
        /// When a place is likely free.
        retry_after: Duration,
    },
    /// The server ends and takes no new job.
    #[error("the server is shutting down")]
    Draining,
    /// The job cannot be done by this model: its document, size or settings are wrong.
    #[error("{0}")]
    Invalid(String),
}

/// What an engine has done and is doing.
#[derive(Debug, Clone, Copy, Default)]
pub struct EngineStats {
    /// Jobs that wait for their turn.
    pub waiting: usize,
    /// Jobs in progress.
    pub running: usize,
    /// Jobs that ended well.
    pub finished: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs whose client went away.
    pub cancelled: u64,
    /// Passes through a network.
    pub passes: u64,
    /// Rows of all passes.
    pub rows: u64,
    /// Tokens of text that were made.
    pub text_tokens: u64,
    /// Images that were made.
    pub images: u64,
}

/// A running engine. Clones are handles to the same one; it ends with the last of them and the last
/// job.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use mm_model::{Document, LoadedModel};
/// use mm_serve::{Engine, EngineOptions, Event, Job, ServedModel, Task};
///
/// fn red_letter(model: LoadedModel) -> Result<(), Box<dyn std::error::Error>> {
///     let (grid, options) = (model.grid()?, model.options(7));
///     let served = ServedModel { name: "glyphs".into(), created: 0, model: Arc::new(model) };
///     let bounds =
///         EngineOptions { queue: 64, max_rows: 16, lanes: None, time_limit: Duration::from_secs(60) };
///     let engine = Engine::start(vec![served], bounds);
///     let prompt = Document::of_text("red K on yellow");
///     let task = Task::Draw { prompt, grid, count: 1, constraint: None };
///     let mut ticket = engine.submit(Job { model: 0, task, options, previews: 0 })?;
///     while let Some(event) = ticket.events.blocking_recv() {
///         if let Event::Step { done, of, .. } = event {
///             println!("step {done} of {of}");
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<queue::Shared>,
}

impl Engine {
    /// Starts the engine's threads.
    pub fn start(models: Vec<ServedModel>, options: EngineOptions) -> Self {
        let models: Arc<[ServedModel]> = models.into();
        let counters = Arc::default();
        let lanes = device::Lanes::start(&models, &options, &counters);
        Self { shared: queue::Shared::new(job::Resources { models, options, counters, lanes }) }
    }

    /// Returns the models, in the order in which they were given.
    pub fn models(&self) -> &[ServedModel] {
        &self.shared.with.models
    }

    /// Puts a job into the queue.
    pub fn submit(&self, job: Job) -> Result<Ticket, SubmitError> {
        let prompt = check::check(&self.shared.with.models, &job).map_err(SubmitError::Invalid)?;
        let (sender, events) = mpsc::unbounded_channel();
        self.shared.submit(job::Queued { job, prompt, events: sender })?;
        Ok(Ticket { events })
    }

    /// Returns what was done so far.
    pub fn stats(&self) -> EngineStats {
        self.shared.stats()
    }

    /// Takes no new job from now on, and waits until those that were taken have ended.
    pub async fn drain(&self) {
        self.shared.drain().await;
    }
}
