//! What jobs and the device's thread tell each other, and what both count.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};

use mm_model::{NetworkAnswer, NetworkCall, Prefix, Sequence};

use super::outlet::{Outlet, Stop};

/// What a job tells the device.
pub(super) enum Message {
    /// Work to do; the job waits for the answer.
    Work { model: usize, outlet: Outlet, work: Work },
    /// A job has ended, so that nobody needs to wait for it.
    Left,
}

/// Work of a job, and where the answer goes.
pub(super) enum Work {
    Call { call: Box<NetworkCall>, answer: Answer<NetworkAnswer> },
    Prompt { prompt: Arc<Sequence>, answer: Answer<Prefix> },
}

pub(super) type Answer<T> = mpsc::Sender<Result<T, Stop>>;

/// What the jobs' threads and the device's thread count.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub passes: AtomicU64,
    pub rows: AtomicU64,
    pub text_tokens: AtomicU64,
    pub images: AtomicU64,
}
