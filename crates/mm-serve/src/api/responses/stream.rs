//! A response that runs: waited for to its end, or sent event by event.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};

use super::super::run::engine_ended;
use super::super::talk::{Role, Said};
use super::assembly::{Assembly, StreamEvent};
use super::object::ResponseObject;
use super::store::Store;
use crate::error::ApiError;
use crate::tally::Tally;
use crate::{Event, Ticket};

/// How often a comment is sent while nothing else is, so that no proxy closes the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A response that runs. Dropping it ends its job.
pub(super) struct Running {
    pub store: Arc<Store>,
    pub tally: Arc<Tally>,
    pub ticket: Ticket,
    pub assembly: Assembly,
    /// What was said before the response.
    pub history: Vec<Said>,
}

impl Running {
    /// Waits for the end.
    pub async fn collect(mut self) -> Result<ResponseObject, ApiError> {
        while !self.assembly.is_over() {
            self.step().await;
            self.assembly.take_events();
        }
        match &self.assembly.response.error {
            Some(why) => Err(ApiError::server(why.message.clone())),
            None => Ok(self.assembly.response.clone()),
        }
    }

    /// Takes the next thing that the job tells. A response that ends well is kept.
    async fn step(&mut self) {
        let Some(event) = self.ticket.events.recv().await else {
            self.assembly.fail(engine_ended().error.message);
            return;
        };
        if let Event::Finished { usage, .. } = &event {
            self.tally.add(usage);
        }
        if let Err(why) = self.assembly.on(event) {
            self.assembly.fail(why.error.message);
        }
        let response = &self.assembly.response;
        if self.assembly.is_over() && response.error.is_none() && response.store {
            let said = Said { role: Role::Assistant, segments: self.assembly.segments() };
            self.history.push(said);
            self.store.put(response.clone(), std::mem::take(&mut self.history));
        }
    }
}

/// Sends a response event by event.
pub(super) fn events(running: Running) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let batches = stream::unfold(running, |mut running| async move {
        let mut events = running.assembly.take_events();
        while events.is_empty() {
            if running.assembly.is_over() {
                return None;
            }
            running.step().await;
            events = running.assembly.take_events();
        }
        Some((stream::iter(events), running))
    });
    let event = |StreamEvent { name, data }: StreamEvent| {
        Ok(sse::Event::default().event(name).data(data.to_string()))
    };
    Sse::new(batches.flatten().map(event)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
