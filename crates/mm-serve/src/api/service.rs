//! What clients and operators ask of the server itself.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::{chat, images, responses};
use crate::ServedModel;
use crate::error::{ApiError, ErrorAnswer};
use crate::state::AppState;

/// A model that is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelObject {
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When its weights were written, in seconds since 1970.
    created: u64,
    owned_by: &'static str,
    /// The width of the images that it was trained on, in pixels.
    width: usize,
    /// The height of the images that it was trained on, in pixels.
    height: usize,
    /// The side of a patch in pixels, of which the sides of every image are multiples.
    patch: usize,
    /// Denoising steps of an image unless a request says otherwise.
    steps: usize,
    /// The scale of guidance unless a request says otherwise.
    guidance: f64,
    /// The sampler unless a request says otherwise.
    sampler: String,
    /// Whether it reads and writes text; a model without text only draws.
    text: bool,
}

/// The models that are served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    object: &'static str,
    data: Vec<ModelObject>,
}

impl ModelObject {
    fn of(served: &ServedModel) -> Self {
        let generation = &served.model.generation;
        Self {
            id: served.name.clone(),
            object: "model",
            created: served.created,
            owned_by: "mm",
            width: generation.width,
            height: generation.height,
            patch: served.model.config.patch,
            steps: generation.steps,
            guidance: generation.guidance.scale,
            sampler: generation.sampler.to_string(),
            text: served.model.config.has_text(),
        }
    }
}

/// Lists the models.
#[utoipa::path(
    get, path = "/v1/models", tag = "models", responses(
        (status = 200, body = ModelList),
        (status = "4XX", body = ErrorAnswer), (status = "5XX", body = ErrorAnswer),
    )
)]
pub(crate) async fn models(State(state): State<AppState>) -> Json<ModelList> {
    let data = state.engine.models().iter().map(ModelObject::of).collect();
    Json(ModelList { object: "list", data })
}

/// Describes a model.
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "models",
    params(("id" = String, Path, description = "The name of the model.")),
    responses(
        (status = 200, body = ModelObject),
        (status = "4XX", body = ErrorAnswer), (status = "5XX", body = ErrorAnswer),
    )
)]
pub(crate) async fn model(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<ModelObject>, ApiError> {
    let (_, served) = state.model(Some(&id))?;
    Ok(Json(ModelObject::of(served)))
}

/// Says that the program runs.
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, body = String)))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether new work is taken.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses((status = 200, body = String), (status = 503, body = ErrorAnswer))
)]
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    if state.is_draining() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(ApiError::of(status, "server_error", "the server is shutting down".into()));
    }
    Ok("ready\n")
}

/// Counts requests and what the engine does, in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "service", responses(
        (status = 200, body = String),
        (status = "4XX", body = ErrorAnswer),
    )
)]
pub(crate) async fn metrics(State(state): State<AppState>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, state.metrics.to_text(&state.engine.stats())).into_response()
}

/// Every endpoint and every schema.
#[derive(OpenApi)]
#[openapi(
    info(title = "mm-serve", description = "Chat, drawing and reading by one transformer, in the form of the OpenAI API."),
    paths(
        chat::complete,
        responses::create,
        responses::retrieve,
        responses::remove,
        images::generations,
        images::edits,
        images::variations,
        models,
        model,
        healthz,
        readyz,
        metrics,
    ),
    modifiers(&Keys)
)]
struct ApiDocument;

/// Adds the API key to the description.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
    }
}

/// The names of samplers, as a regular expression.
const SAMPLERS: &str =
    r"^(ddpm|ddim(:(0|1|0?\.[0-9]+))?|dpm\+\+2m(-uncapped)?|euler|heun|euler-maruyama)$";

/// Describes the API as OpenAPI 3.1, with the models and the limits of this server.
pub(crate) async fn openapi(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    let document = serde_json::to_value(ApiDocument::openapi());
    let mut document =
        document.map_err(|_| ApiError::server("the description cannot be written"))?;
    let limits = &state.options.limits;
    let modalities =
        &mut document["components"]["schemas"]["ChatRequest"]["properties"]["modalities"];
    modalities["items"]["enum"] = json!(["text", "image"]);
    modalities["contains"] = json!({ "const": "text" }); // images alone have an endpoint
    for request in ["ChatRequest", "ResponsesRequest", "ImageRequest", "VariationRequest"] {
        let fields = &mut document["components"]["schemas"][request]["properties"];
        let names = state.engine.models().iter().map(|model| Value::from(model.name.as_str()));
        fields["model"]["enum"] = names.chain([Value::Null]).collect();
        fields["sampler"]["pattern"] = SAMPLERS.into();
        for (field, most) in [
            ("steps", limits.steps),
            ("n", limits.drawn),
            ("max_images", limits.drawn),
            ("max_tokens", limits.tokens),
            ("max_completion_tokens", limits.tokens),
            ("max_output_tokens", limits.tokens),
        ] {
            if let Some(field) = fields.get_mut(field) {
                field["maximum"] = most.into();
            }
        }
    }
    Ok(Json(document))
}
