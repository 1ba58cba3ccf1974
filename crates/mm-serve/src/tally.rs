//! The tokens of a request, which its handler counts and the log tells.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Usage;

/// The tokens of a request. Handlers find it in the request's extensions.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    prompt: AtomicUsize,
    made: AtomicUsize,
}

impl Tally {
    /// Adds what a job has read and made.
    pub fn add(&self, usage: &Usage) {
        self.prompt.fetch_add(usage.prompt_text + usage.prompt_images, Ordering::Relaxed);
        self.made.fetch_add(usage.text + usage.images, Ordering::Relaxed);
    }

    /// Returns the tokens that were read.
    pub fn prompt(&self) -> usize {
        self.prompt.load(Ordering::Relaxed)
    }

    /// Returns the tokens that were made.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }
}
