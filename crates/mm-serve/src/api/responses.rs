//! `POST /v1/responses`: a conversation whose answer may hold images, drawn by the built-in tool
//! `image_generation`. Responses are kept in memory, so that the next request can go on with one.
//!
//! Without the tool the answer is text. With it the model writes texts and images in whatever order
//! it chooses; where `tool_choice` forces the tool, what the user said last is drawn.

mod assembly;
mod draw;
mod items;
mod object;
mod read;
mod request;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod tool;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::store::Store;

use self::assembly::Assembly;
use self::object::ResponseObject;
use self::read::{Ready, prepare};
use self::request::{REFUSED, ResponsesRequest};
use self::stream::Running;
use super::json::{JsonBody, StreamEvent};
use crate::error::{ApiError, ErrorAnswer, beginning};
use crate::state::AppState;
use crate::tally::Tally;

/// Answers what is given, after what was said before.
#[utoipa::path(
    post, path = "/v1/responses", tag = "responses", request_body(
        content = ResponsesRequest, example = json!({ "input": "draw red K on yellow" }),
    ),
    responses(
        (status = 200, description = "The response; with `stream`, events as it is made.",
            content((ResponseObject = "application/json"), (StreamEvent = "text/event-stream"))),
        (status = "4XX", body = ErrorAnswer), (status = "5XX", body = ErrorAnswer),
    )
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(tally): Extension<Arc<Tally>>,
    Extension(store): Extension<Arc<Store>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.refuse(REFUSED)?;
    let request: ResponsesRequest = body.read()?;
    let (model, _) = state.model(request.model.as_deref())?;
    let stream = request.stream.unwrap_or(false);
    let (reading, kept) = (state.clone(), Arc::clone(&store));
    let ready = state.blocking(move || prepare(&reading, &kept, model, request)).await?;
    let Ready { job, response, history, format, words } = ready;
    if state.options.log_prompts {
        tracing::info!(prompt = ?words, "prompt");
    }
    let ticket = state.engine.submit(job)?;
    let running =
        Running { store, tally, ticket, assembly: Assembly::new(response, format), history };
    if stream {
        return Ok(stream::events(running).into_response());
    }
    Ok(Json(running.collect().await?).into_response())
}

/// Returns a response that was kept.
#[utoipa::path(
    get, path = "/v1/responses/{id}", tag = "responses",
    params(("id" = String, Path, description = "The id of the response.")),
    responses(
        (status = 200, body = ResponseObject),
        (status = "4XX", body = ErrorAnswer), (status = "5XX", body = ErrorAnswer),
    )
)]
pub(crate) async fn retrieve(
    Extension(store): Extension<Arc<Store>>,
    Path(id): Path<String>,
) -> Result<Json<ResponseObject>, ApiError> {
    store.get(&id).map(|kept| Json(kept.response.clone())).ok_or_else(|| unknown(&id, "id"))
}

/// A response that is kept no more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Removed {
    id: String,
    /// Always `response`.
    object: &'static str,
    deleted: bool,
}

/// Forgets a response that was kept.
#[utoipa::path(
    delete, path = "/v1/responses/{id}", tag = "responses",
    params(("id" = String, Path, description = "The id of the response.")),
    responses(
        (status = 200, body = Removed),
        (status = "4XX", body = ErrorAnswer), (status = "5XX", body = ErrorAnswer),
    )
)]
pub(crate) async fn remove(
    Extension(store): Extension<Arc<Store>>,
    Path(id): Path<String>,
) -> Result<Json<Removed>, ApiError> {
    if !store.remove(&id) {
        return Err(unknown(&id, "id"));
    }
    Ok(Json(Removed { id, object: "response", deleted: true }))
}

/// Says that a response is not kept. `param` names the field with its id.
fn unknown(id: &str, param: &str) -> ApiError {
    let shown = beginning(id);
    let message = format!("there is no response `{shown}`, or it is kept no more");
    ApiError::of(StatusCode::NOT_FOUND, "invalid_request_error", message)
        .at(param.into())
        .with_code("not_found")
}
