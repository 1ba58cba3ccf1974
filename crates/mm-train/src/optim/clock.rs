//! The count of steps of a state, where steps turn out later to have been refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many refused steps of a run a state has subtracted from its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    seen: usize,
    refused: Arc<AtomicUsize>,
}

impl Clock {
    /// Returns the clock of a state that has subtracted all refused steps so far.
    pub fn at(refused: &Arc<AtomicUsize>) -> Self {
        Self { seen: refused.load(Ordering::Relaxed), refused: refused.clone() }
    }

    /// Returns the number of refused steps since the clock was made.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed).saturating_sub(self.seen)
    }
}
