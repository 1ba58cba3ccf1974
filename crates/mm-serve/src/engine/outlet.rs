//! Where a job's events go, and why it may end before its end.

use std::any::Any;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::Event;

/// Where a job's events go, and how long it may take.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    pub events: UnboundedSender<Event>,
    /// When the job's turn came.
    pub begun: Instant,
    pub limit: Duration,
}

/// Why a job's thread unwinds before its end.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// The client went away.
    Gone,
    /// The time is over.
    Late(Duration),
    /// The device failed.
    Device(String),
}

impl Outlet {
    /// Tells the client, and ends the job if there is none or the time is over.
    pub fn send(&self, event: Event) {
        let _ = self.events.send(event);
        if let Some(stop) = self.stop() {
            stop.unwind();
        }
    }

    /// Says why the job is to end now, if it is.
    pub fn stop(&self) -> Option<Stop> {
        if self.events.is_closed() {
            return Some(Stop::Gone);
        }
        (self.begun.elapsed() > self.limit).then_some(Stop::Late(self.limit))
    }
}

impl Stop {
    /// Ends the job's thread up to where it catches this.
    pub fn unwind(self) -> ! {
        resume_unwind(Box::new(self)) // no panic: nothing is printed
    }
}

/// Returns the message of a panic.
pub(super) fn words_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "unknown cause".to_owned())
}
