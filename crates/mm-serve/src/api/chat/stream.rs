//! A chat completion as server-sent events: the role, pieces of text and images as they are made,
//! why each choice ended, the usage if it was asked for, and `[DONE]`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use mm_patch::PngText;
use serde::Serialize;

use super::super::run::engine_ended;
use super::super::usage::ChatUsage;
use super::answer::{AnswerPart, AnswerUrl, FINGERPRINT, Header, finish_reason};
use crate::encode::data_uri;
use crate::error::{ApiError, ErrorAnswer};
use crate::tally::Tally;
use crate::{Event, Ticket, Usage};

/// How often a comment is sent while nothing else is, so that no proxy closes the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: Vec<ChunkChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<ChatUsage>>,
}

#[derive(Debug, Serialize)]
struct ChunkChoice {
    index: usize,
    delta: Delta,
    finish_reason: Option<&'static str>,
    logprobs: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<AnswerPart>,
}

/// The stream while it runs.
struct Choices {
    header: Header,
    tally: Arc<Tally>,
    include_usage: bool,
    /// What PNG files say of the images of each choice.
    texts: Vec<Vec<PngText>>,
    /// The usage of each choice that has ended.
    ended: Vec<Option<Usage>>,
}

/// What a choice tells.
struct Told {
    choice: usize,
    /// None where the engine ended before the choice did.
    event: Option<Event>,
}

/// Makes the stream of jobs, one a choice, each with what PNG files say of its images. Dropping it
/// ends the jobs.
pub(super) fn events(
    header: Header,
    tickets: Vec<Ticket>,
    texts: Vec<Vec<PngText>>,
    tally: Arc<Tally>,
    include_usage: bool,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let ended = vec![None; tickets.len()];
    let choices = Choices { header, tally, include_usage, texts, ended };
    let opening: Vec<sse::Event> =
        (0..tickets.len()).map(|choice| choices.opening(choice)).collect();
    let jobs = tickets.into_iter().enumerate().map(|(choice, ticket)| {
        // The ticket lives as long as its stream.
        let told = stream::unfold(ticket, move |mut ticket| async move {
            let event = ticket.events.recv().await?;
            Some((Told { choice, event: Some(event) }, ticket))
        });
        let cut = stream::once(async move { Told { choice, event: None } });
        told.chain(cut).boxed()
    });
    // What follows a choice's end is its `cut`, which says nothing then.
    let told = stream::select_all(jobs);
    let rest = stream::unfold(Some((choices, told)), |running| async move {
        let (mut choices, mut told) = running?;
        loop {
            let next = told.next().await?;
            let Some(step) = choices.step(next) else { continue };
            let running = (!step.is_last).then_some((choices, told));
            return Some((stream::iter(step.events), running));
        }
    });
    let all = stream::iter(opening).chain(rest.flatten()).map(Ok::<_, Infallible>);
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Events that are sent together.
struct Step {
    events: Vec<sse::Event>,
    /// Whether nothing follows.
    is_last: bool,
}

impl Choices {
    /// Returns the event that opens a choice.
    fn opening(&self, choice: usize) -> sse::Event {
        let delta =
            Delta { role: Some("assistant"), content: Some(String::new()), ..Delta::default() };
        self.delta(choice, delta, None)
    }

    /// Returns what is sent for an event of a job; none where nothing is.
    fn step(&mut self, told: Told) -> Option<Step> {
        let Told { choice, event } = told;
        let one = |event| Some(Step { events: vec![event], is_last: false });
        match event {
            Some(Event::Text(text)) => {
                one(self.delta(choice, Delta { content: Some(text), ..Delta::default() }, None))
            }
            Some(Event::Image { image, pixels }) => {
                let image_url = AnswerUrl { url: data_uri(&pixels, &self.texts[choice]) };
                let images = vec![AnswerPart::ImageUrl { index: Some(image), image_url }];
                one(self.delta(choice, Delta { images, ..Delta::default() }, None))
            }
            Some(Event::Finished { reason, usage }) => {
                self.tally.add(&usage);
                self.ended[choice] = Some(usage);
                let reason = Some(finish_reason(reason));
                let mut events = vec![self.delta(choice, Delta::default(), reason)];
                let is_last = self.ended.iter().all(Option::is_some);
                if is_last {
                    events.extend(self.closing());
                }
                Some(Step { events, is_last })
            }
            Some(Event::Failed(why)) => Some(failed(ApiError::server(why))),
            None if self.ended[choice].is_none() => Some(failed(engine_ended())),
            None | Some(Event::Started | Event::Step { .. } | Event::Preview { .. }) => None,
        }
    }

    /// Returns the events behind the end of the last choice.
    fn closing(&self) -> Vec<sse::Event> {
        let mut events = vec![];
        if self.include_usage {
            let jobs: Vec<Usage> = self.ended.iter().copied().flatten().collect();
            events.push(self.chunk(vec![], Some(Some(ChatUsage::of(&jobs)))));
        }
        events.push(sse::Event::default().data("[DONE]"));
        events
    }

    fn delta(
        &self,
        choice: usize,
        delta: Delta,
        finish_reason: Option<&'static str>,
    ) -> sse::Event {
        let choice = ChunkChoice { index: choice, delta, finish_reason, logprobs: None };
        self.chunk(vec![choice], self.include_usage.then_some(None))
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Option<ChatUsage>>) -> sse::Event {
        let Header { id, created, model } = &self.header;
        let chunk = Chunk {
            id,
            object: "chat.completion.chunk",
            created: *created,
            model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
        };
        sse::Event::default().data(serde_json::to_string(&chunk).expect("plain data"))
    }
}

/// Ends a stream with an error. The other jobs end with it, and no `[DONE]` follows.
fn failed(why: ApiError) -> Step {
    let error = ErrorAnswer { error: why.error };
    let error = serde_json::to_string(&error).expect("plain data");
    Step { events: vec![sse::Event::default().data(error)], is_last: true }
}
