//! What stands before and behind every handler: who may ask, how long it may take, what the log and
//! the counts learn of it, and the headers that make an answer harmless in a browser.
//!
//! ```text
//! cors ─► [id, clock ─► host, origin, key ─► time limit ─► handler] ─► errors in one form ─► headers
//! ```

mod answer;
mod key;
mod origin;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use self::answer::{Finish, in_error_form, watched};
use crate::error::{ApiError, beginning};
use crate::id::new_id;
use crate::state::AppState;
use crate::tally::Tally;
use crate::{local, page};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the guards around routes.
pub(crate) fn guarded(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    let limits = state.options.limits;
    let guarded = routes
        .fallback(no_route)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(from_fn_with_state(state.clone(), guard));
    match state.options.cors_origins.as_slice() {
        [] => guarded,
        origins => guarded.layer(cors(origins)),
    }
}

async fn no_route(request: Request) -> ApiError {
    let (method, path) = (request.method(), request.uri().path());
    let path = beginning(path);
    let message = format!("there is no `{method} {path}` here; `GET /openapi.json` lists what is");
    ApiError::of(StatusCode::NOT_FOUND, "invalid_request_error", message).with_code("unknown_url")
}

/// Lets pages of the named origins read answers.
fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([REQUEST_ID, header::RETRY_AFTER])
}

async fn guard(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", MatchedPath::as_str).to_owned();
    let tally = Arc::new(Tally::default());
    request.extensions_mut().insert(Arc::clone(&tally));
    let finish = Finish {
        metrics: Arc::clone(&state.metrics),
        tally,
        id: id.clone(),
        method: request.method().clone(),
        route,
        status: StatusCode::INTERNAL_SERVER_ERROR,
        since: Instant::now(),
        whole: false,
    };
    let answered = match admitted(&state, &request) {
        Ok(()) => handled(&state, request, next).await,
        Err(refused) => refused.into_response(),
    };
    let mut response = in_error_form(answered);
    add_headers(response.headers_mut(), &id);
    watched(response, finish, state.options.limits.request_time)
}

/// Returns an error unless the request may be answered at all.
fn admitted(state: &AppState, request: &Request) -> Result<(), ApiError> {
    let options = &state.options;
    if options.api_keys.is_empty() && !options.any_host {
        origin::check_host(request)?;
    }
    origin::check_origin(request, &options.cors_origins)?;
    if options.api_keys.is_empty() || is_open(request.uri().path()) {
        return Ok(());
    }
    key::check(request.headers(), &options.api_keys)
}

/// Returns whether a path is answered without a key: what a load balancer asks, the page, which
/// holds nothing that is secret and asks for the key itself, and a site.
fn is_open(path: &str) -> bool {
    let mut open = ["/healthz", "/readyz"].into_iter().chain(page::paths());
    local::is_of_site(path) || open.any(|open| open == path)
}

/// Calls the handler within the time limit. A handler that panics answers with 500.
async fn handled(state: &AppState, request: Request, next: Next) -> Response {
    let limit = state.options.limits.request_time;
    let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(limit, answering).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::server("the request could not be handled").into_response(),
        Err(_) => answer::too_slow(limit).into_response(),
    }
}

/// Returns the id that the client gave the request, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fine = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=64).contains(&bytes.len()) && bytes.iter().all(plain)
    };
    headers
        .get(REQUEST_ID)
        .filter(fine)
        .cloned()
        .unwrap_or_else(|| HeaderValue::try_from(new_id("req")).expect("letters and digits"))
}

/// Sets the headers that every answer has. A handler may have set its own rules for a page.
fn add_headers(headers: &mut HeaderMap, id: &HeaderValue) {
    headers.insert(REQUEST_ID, id.clone());
    let fixed = HeaderValue::from_static;
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, fixed(value));
    }
    let policy = fixed("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.entry(header::CACHE_CONTROL).or_insert(fixed("no-store"));
}
