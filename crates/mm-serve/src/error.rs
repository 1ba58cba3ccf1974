//! Errors in the form of the OpenAI API.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::SubmitError;

/// A request that was refused or failed.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub error: ErrorBody,
    /// Seconds after which the same request may be taken.
    pub retry_after: Option<u64>,
}

/// The object `error` of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What was found and what was wanted, for people.
    pub message: String,
    /// `invalid_request_error`, `server_error`, `rate_limit_error` or `authentication_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field of the request that is wrong, such as `messages[0].content`.
    pub param: Option<String>,
    /// A word for programs, such as `model_not_found`.
    pub code: Option<&'static str>,
}

/// The most characters of a wrong value that an error repeats.
const MOST_REPEATED: usize = 64;

/// Returns the beginning of a text from outside, for errors.
pub(crate) fn beginning(text: &str) -> String {
    match text.char_indices().nth(MOST_REPEATED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The body of every answer that is an error.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ErrorAnswer {
    pub error: ErrorBody,
}

impl ApiError {
    /// Makes the error of a field that has a wrong value.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, "invalid_request_error", message.into())
            .at(param.into())
            .with_code("invalid_value")
    }

    /// Makes the error of a field that OpenAI knows and this server does not do.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(param, message).with_code("unsupported_parameter")
    }

    /// Makes an error that is the server's fault.
    pub fn server(message: impl Into<String>) -> Self {
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message.into())
    }

    /// Makes an error from its parts.
    pub fn of(status: StatusCode, kind: &'static str, message: String) -> Self {
        let error = ErrorBody { message, kind, param: None, code: None };
        Self { status, error, retry_after: None }
    }

    /// Names the field of the request that is wrong.
    pub fn at(mut self, param: String) -> Self {
        self.error.param = Some(param);
        self
    }

    /// Sets the word for programs.
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.error.code = Some(code);
        self
    }
}

impl From<SubmitError> for ApiError {
    fn from(why: SubmitError) -> Self {
        let message = why.to_string();
        match why {
            SubmitError::QueueFull { retry_after, .. } => Self {
                retry_after: Some(retry_after.as_secs().max(1)),
                ..Self::of(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
                    .with_code("rate_limit_exceeded")
            },
            SubmitError::Draining => {
                Self::of(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
            }
            SubmitError::Invalid(_) => {
                Self::of(StatusCode::BAD_REQUEST, "invalid_request_error", message)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorAnswer { error: self.error })).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
