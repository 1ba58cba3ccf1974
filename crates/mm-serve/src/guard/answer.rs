//! Answers on their way out: every error in OpenAI's form, streams that end in time, and one line
//! in the log when the last byte is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};

use crate::error::{ApiError, ErrorAnswer};
use crate::metrics::Metrics;
use crate::tally::Tally;

/// What the log and the counts learn of a request. It is told when this is dropped, which is when
/// the answer has ended or its client is gone.
pub(super) struct Finish {
    pub metrics: Arc<Metrics>,
    pub tally: Arc<Tally>,
    pub id: HeaderValue,
    pub method: Method,
    pub route: String,
    pub status: StatusCode,
    pub since: Instant,
    /// Whether the answer came to its end.
    pub whole: bool,
}

impl Drop for Finish {
    fn drop(&mut self) {
        let took = self.since.elapsed();
        // nginx's number for a client that closed the connection before its answer was whole
        let status = if self.whole { self.status.as_u16() } else { 499 };
        self.metrics.count(&self.route, status, took);
        tracing::info!(
            id = self.id.to_str().unwrap_or_default(),
            method = self.method.as_str(),
            path = self.route,
            status,
            ms = took.as_millis() as u64,
            prompt_tokens = self.tally.prompt(),
            made_tokens = self.tally.made(),
            "request"
        );
    }
}

/// Says that a request took too long.
pub(super) fn too_slow(limit: Duration) -> ApiError {
    let message = format!("the request took longer than {} s", limit.as_secs_f32());
    ApiError::of(StatusCode::GATEWAY_TIMEOUT, "server_error", message).with_code("timeout")
}

/// Gives errors that the router or an extractor made the form of all others.
pub(super) fn in_error_form(response: Response) -> Response {
    let status = response.status();
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let mut answer = if is_json { response } else { reworded(response) };
    if status == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

fn reworded(response: Response) -> Response {
    let status = response.status();
    let message = match status {
        StatusCode::METHOD_NOT_ALLOWED => "the method is not one of this path's".to_owned(),
        StatusCode::PAYLOAD_TOO_LARGE => "the body is larger than is taken".to_owned(),
        status => status.canonical_reason().unwrap_or("the request failed").to_lowercase(),
    };
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut answer = ApiError::of(status, kind, message).into_response();
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

/// Lets `finish` see the answer's end. A stream of events is cut at the time limit, with an error
/// as its last event.
pub(super) fn watched(response: Response, mut finish: Finish, limit: Duration) -> Response {
    finish.status = response.status();
    let is_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        finish.whole = true;
        return response;
    }
    let (parts, body) = response.into_parts();
    let ends = tokio::time::Instant::from_std(finish.since) + limit;
    let start = Some(Watched { events: body.into_data_stream(), finish });
    let events = stream::unfold(start, move |watched| async move {
        let Watched { mut events, mut finish } = watched?;
        match tokio::time::timeout_at(ends, events.next()).await {
            Ok(Some(piece)) => Some((piece, Some(Watched { events, finish }))),
            Ok(None) => {
                finish.whole = true;
                None
            }
            Err(_) => {
                finish.whole = true;
                finish.status = StatusCode::GATEWAY_TIMEOUT;
                Some((Ok(last_words(limit)), None))
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(events))
}

/// A stream of events, and who is told of its end.
struct Watched {
    events: BodyDataStream,
    finish: Finish,
}

/// Returns the event that ends a stream at its time limit.
fn last_words(limit: Duration) -> Bytes {
    let error = ErrorAnswer { error: too_slow(limit).error };
    let error = serde_json::to_string(&error).expect("plain data");
    Bytes::from(format!("event: error\ndata: {error}\n\n"))
}
