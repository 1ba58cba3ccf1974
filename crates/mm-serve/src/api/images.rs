//! `POST /v1/images/generations`, `/v1/images/edits` and `/v1/images/variations`.
//!
//! ```text
//! body ──► Fields ──► ImageRequest ──► Settings ──► Task ──► Engine ──► Answer ──► JSON or events
//!       fields.rs     request.rs                   task.rs              answer.rs
//! ```
//!
//! Bodies are JSON or `multipart/form-data`, with the same fields. All that computes, so decoding,
//! cutting into tokens and encoding, runs beside the threads that answer requests.

mod answer;
mod fields;
mod request;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use utoipa::openapi::schema::{AllOfBuilder, ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

pub(crate) use self::answer::ImagesAnswer;
use self::answer::{Answer, Family, Sender};
use self::fields::Fields;
pub(in crate::api) use self::fields::Sent;
pub(crate) use self::request::ImageRequest;
pub(in crate::api) use self::request::{Settings, parse_size};
pub(in crate::api) use self::task::{edit, generation};
use super::json::StreamEvent;
use crate::Job;
use crate::error::{ApiError, ErrorAnswer};
use crate::id::now;
use crate::state::AppState;
use crate::tally::Tally;

/// Returns the routes of images.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/images/generations", post(generations))
        .route("/v1/images/edits", post(edits))
        .route("/v1/images/variations", post(variations))
}

/// Draws images after a prompt.
#[utoipa::path(
    post,
    path = "/v1/images/generations",
    tag = "images",
    request_body(content = ImageRequest, example = json!({ "prompt": "red K on yellow", "steps": 1 })),
    responses(
        (status = 200, description = "The images, or with `stream` \
            `image_generation.partial_image` and `image_generation.completed` as events",
            content((ImagesAnswer = "application/json"), (StreamEvent = "text/event-stream"))),
        (status = "4XX", body = ErrorAnswer, description = "The request is refused"),
        (status = "5XX", body = ErrorAnswer, description = "The server failed or is ending"),
    )
)]
pub(crate) async fn generations(
    State(state): State<AppState>,
    Extension(tally): Extension<Arc<Tally>>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(Asked { state, tally, request }, Endpoint::Generations).await
}

/// Draws images from images: of what a mask frees, from an image by its strength, or by
/// instruction.
#[utoipa::path(
    post,
    path = "/v1/images/edits",
    tag = "images",
    request_body(content(
        (EditRequest = "application/json", example = json!({
            "image": [WHITE], "prompt": "red K on yellow", "strength": 0.5, "steps": 2
        })),
        (EditRequest = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "The images, or with `stream` \
            `image_edit.partial_image` and `image_edit.completed` as events",
            content((ImagesAnswer = "application/json"), (StreamEvent = "text/event-stream"))),
        (status = "4XX", body = ErrorAnswer, description = "The request is refused"),
        (status = "5XX", body = ErrorAnswer, description = "The server failed or is ending"),
    )
)]
pub(crate) async fn edits(
    State(state): State<AppState>,
    Extension(tally): Extension<Arc<Tally>>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(Asked { state, tally, request }, Endpoint::Edits).await
}

/// Draws variations of one image.
#[utoipa::path(
    post,
    path = "/v1/images/variations",
    tag = "images",
    request_body(content(
        (VariationRequest = "application/json", example = json!({
            "image": WHITE, "steps": 2
        })),
        (VariationRequest = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "The images, or with `stream` events as of edits",
            content((ImagesAnswer = "application/json"), (StreamEvent = "text/event-stream"))),
        (status = "4XX", body = ErrorAnswer, description = "The request is refused"),
        (status = "5XX", body = ErrorAnswer, description = "The server failed or is ending"),
    )
)]
pub(crate) async fn variations(
    State(state): State<AppState>,
    Extension(tally): Extension<Arc<Tally>>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(Asked { state, tally, request }, Endpoint::Variations).await
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Generations,
    Edits,
    Variations,
}

/// A request with all that its answer needs.
struct Asked {
    state: AppState,
    tally: Arc<Tally>,
    request: Request,
}

async fn answer(asked: Asked, endpoint: Endpoint) -> Result<Response, ApiError> {
    let Asked { state, tally, request } = asked;
    let fields = Fields::read(request, &state.options.limits).await?;
    let known = state.clone();
    let prepared = state.blocking(move || prepare(&known, fields, endpoint)).await?;
    let Prepared { job, answer, stream } = prepared;
    let ticket = state.engine.submit(job)?;
    let sender = Sender { state, tally, answer: Arc::new(answer) };
    if stream { Ok(sender.stream(ticket)) } else { sender.collect(ticket).await }
}

/// A job, and how it is answered.
struct Prepared {
    job: Job,
    answer: Answer,
    stream: bool,
}

fn prepare(state: &AppState, mut fields: Fields, endpoint: Endpoint) -> Result<Prepared, ApiError> {
    let settings = Settings::of(ImageRequest::take(&mut fields)?, state)?;
    if state.options.log_prompts {
        tracing::info!(prompt = settings.prompt, "images");
    }
    let (images, mask) = (fields.take_images(), fields.take_mask());
    let (task, family) = match endpoint {
        Endpoint::Generations => {
            (task::generation(&settings, &state.options.limits)?, Family::Generation)
        }
        Endpoint::Edits => (task::edit(&settings, state, &images, mask.as_ref())?, Family::Edit),
        Endpoint::Variations => (task::variation(&settings, state, &images)?, Family::Edit),
    };
    Ok(Prepared {
        answer: Answer::of(&settings, family, now()),
        stream: settings.stream,
        job: Job {
            model: settings.model,
            task,
            previews: settings.previews,
            options: settings.options,
        },
    })
}

/// An image of 32x32 pixels, for examples.
const WHITE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgAQMAAABJtOi3AAAABlBMVEUAAAAAAACl\
                     Z7nPAAAAEUlEQVR42mP8z8DAwMQwaAkAswEBP25AfJYAAAAASUVORK5CYII=";

/// The schema of a request with images: that of images, and the images themselves.
pub(crate) enum EditRequest {}

/// The schema of a request with one image and without a prompt.
pub(crate) enum VariationRequest {}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

fn strength() -> ObjectBuilder {
    let what = "The share of the steps that are made, starting from the image.";
    let number = ObjectBuilder::new().schema_type(Type::Number).description(Some(what));
    number.minimum(Some(0)).maximum(Some(1))
}

const IMAGE: &str = "A file of a form; in JSON a data URI, base64, or an object with `image_url`";
const MASK: &str = "A file as large as the image, whose transparent pixels are drawn anew, or its \
                    white ones if none is transparent";

impl ToSchema for EditRequest {
    fn name() -> std::borrow::Cow<'static, str> {
        "EditRequest".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((ImageRequest::name().into(), ImageRequest::schema()));
        ImageRequest::schemas(schemas);
    }
}

impl PartialSchema for EditRequest {
    fn schema() -> RefOr<Schema> {
        let images = ArrayBuilder::new().items(text(IMAGE)).min_items(Some(1));
        let fields = ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("image", images.description(Some(IMAGE)))
            .required("image")
            .property("mask", text(MASK))
            .property("strength", strength());
        AllOfBuilder::new().item(Ref::from_schema_name(ImageRequest::name())).item(fields).into()
    }
}

impl ToSchema for VariationRequest {
    fn name() -> std::borrow::Cow<'static, str> {
        "VariationRequest".into()
    }
}

impl PartialSchema for VariationRequest {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(mut request)) = ImageRequest::schema() else {
            unreachable!("a structure is an object");
        };
        request.properties.remove("prompt");
        request.properties.insert("image".to_owned(), text(IMAGE).into());
        request.properties.insert("strength".to_owned(), strength().into());
        request.required = vec!["image".to_owned()];
        request.into()
    }
}
