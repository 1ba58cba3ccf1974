//! Bodies in JSON: what is wrong with one is said with the path to it.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use mm_model::plain_words;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::{ApiError, beginning};
use crate::state::AppState;

/// The object in the body of a request.
#[derive(Debug, Clone)]
pub(crate) struct JsonBody(pub Map<String, Value>);

/// An event of a stream, as its lines name its parts (server-sent events).
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for its schema alone")]
pub(crate) struct StreamEvent {
    /// What happened; absent in streams of chat completions.
    event: Option<String>,
    /// A JSON object, or `[DONE]`.
    data: String,
}

/// A field that OpenAI's API has and this server does not do.
pub(crate) struct Refused {
    /// The name of the field.
    pub field: &'static str,
    /// Whether a value asks for nothing, so that it may stand there.
    pub is_harmless: fn(&Value) -> bool,
    /// What is not done.
    pub why: &'static str,
}

impl JsonBody {
    /// Fails if a field asks for something that is not done here. Unknown fields are ignored.
    pub fn refuse(&self, refused: &[Refused]) -> Result<(), ApiError> {
        for Refused { field, is_harmless, why } in refused {
            if self.0.get(*field).is_some_and(|value| !value.is_null() && !is_harmless(value)) {
                return Err(ApiError::unsupported(*field, format!("`{field}`: {why}")));
            }
        }
        Ok(())
    }

    /// Reads the object.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(Value::Object(self.0)).map_err(|why| {
            let path = why.path().to_string();
            let message = plain_words(&why.into_inner().to_string());
            let missing =
                message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
            match (path.as_str(), missing) {
                (".", Some(field)) => missing_field(field.to_owned()),
                (path, Some(field)) => missing_field(format!("{path}.{field}")),
                (".", None) => wrong_body(message),
                (path, None) => ApiError::invalid(path, format!("`{path}`: {message}")),
            }
        })
    }
}

/// Says whether a value is a list or an object that holds nothing, and so asks for nothing.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn missing_field(param: String) -> ApiError {
    let message = format!("`{param}` is missing");
    ApiError::invalid(param, message).with_code("missing_required_parameter")
}

fn wrong_body(message: String) -> ApiError {
    ApiError::of(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}

impl FromRequest<AppState> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence != "application/json" {
            let found = beginning(kind);
            return Err(ApiError::of(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_request_error",
                format!("the header `Content-Type` is `{found}`, wanted application/json"),
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|why| {
            let limit = state.options.limits.body_bytes;
            let message = match why.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    format!("the body has more than {limit} bytes, which is the most")
                }
                _ => "the body ended before it was whole".to_owned(),
            };
            ApiError::of(why.status(), "invalid_request_error", message)
        })?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(wrong_body("the body is not a JSON object".into())),
            Err(why) => Err(wrong_body(format!("the body is not JSON: {why}"))),
        }
    }
}
