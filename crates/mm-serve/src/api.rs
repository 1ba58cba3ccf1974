//! The endpoints, one file for each family.
//!
//! | file | endpoints |
//! | --- | --- |
//! | `chat` | `POST /v1/chat/completions` |
//! | `responses` | `POST /v1/responses`, and `GET` and `DELETE /v1/responses/{id}` |
//! | `images` | `POST /v1/images/generations`, `/v1/images/edits`, `/v1/images/variations` |
//! | `service` | `GET /v1/models`, `/healthz`, `/readyz`, `/metrics`, `/openapi.json` |

mod chat;
mod images;
mod json;
mod responses;
mod run;
mod service;
mod settings;
mod talk;
mod usage;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Extension, Router};

use self::responses::Store;
use crate::state::AppState;

/// Returns every route.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/{id}", get(responses::retrieve).delete(responses::remove))
        .merge(images::routes())
        .route("/v1/models", get(service::models))
        .route("/v1/models/{id}", get(service::model))
        .route("/healthz", get(service::healthz))
        .route("/readyz", get(service::readyz))
        .route("/metrics", get(service::metrics))
        .route("/openapi.json", get(service::openapi))
        .layer(Extension(Arc::new(Store::default())))
}
