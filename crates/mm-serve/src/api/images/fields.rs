//! The fields of a request, of JSON or of a form alike, taken one by one so that every error names
//! its field.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{ApiError, beginning};
use crate::multipart::read_form;
use crate::state::{AppState, Limits};

/// The names under which input images may stand.
const IMAGES: [&str; 4] = ["image", "image[]", "images", "images[]"];

/// The names under which a mask may stand.
const MASK: &str = "mask";

/// An image as it was sent, and the field in which it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Sent {
    /// The field, such as `image[1]`.
    pub param: String,
    /// The bytes of the file.
    pub bytes: Vec<u8>,
}

/// The fields of a request that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: Map<String, Value>,
    /// Whether values are texts of a form, which may mean numbers.
    is_form: bool,
    images: Vec<Sent>,
    mask: Option<Sent>,
}

impl Fields {
    /// Reads the body of a request.
    pub async fn read(request: Request, limits: &Limits) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match kind.to_ascii_lowercase().as_str() {
            "application/json" => Self::read_json(request, limits).await,
            "multipart/form-data" => Self::read_parts(request, limits).await,
            other => Err(ApiError::of(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_request_error",
                format!(
                    "the content type is `{}`, wanted application/json or multipart/form-data",
                    beginning(other)
                ),
            )),
        }
    }

    async fn read_json(request: Request, limits: &Limits) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, &()).await.map_err(|why| {
            let status = match why.status() {
                status if status.is_client_error() => status,
                _ => StatusCode::BAD_REQUEST,
            };
            ApiError::of(status, "invalid_request_error", why.body_text())
        })?;
        let values = serde_json::from_slice(&body).map_err(|why| {
            let message = format!("the body is not a JSON object: {why}");
            ApiError::of(StatusCode::BAD_REQUEST, "invalid_request_error", message)
                .with_code("invalid_json")
        })?;
        let mut fields = Self { values, ..Self::default() };
        for name in IMAGES {
            if let Some(value) = fields.values.remove(name).filter(|value| !value.is_null()) {
                fields.push_images(name, value, limits)?;
            }
        }
        if let Some(value) = fields.values.remove(MASK).filter(|value| !value.is_null()) {
            fields.mask = Some(sent(MASK.to_owned(), &value)?);
        }
        Ok(fields)
    }

    fn push_images(&mut self, name: &str, value: Value, limits: &Limits) -> Result<(), ApiError> {
        let Value::Array(values) = value else {
            self.images.push(sent(name.to_owned(), &value)?);
            return Ok(());
        };
        if values.len() + self.images.len() > limits.images {
            let message =
                format!("the request has {} images, at most {}", values.len(), limits.images);
            return Err(ApiError::invalid(name, message));
        }
        for (at, value) in values.iter().enumerate() {
            self.images.push(sent(format!("{name}[{at}]"), value)?);
        }
        Ok(())
    }

    async fn read_parts(request: Request, limits: &Limits) -> Result<Self, ApiError> {
        let is_image = |name: &str| name == MASK || IMAGES.contains(&name);
        let parts = read_form(request, limits.images + 1, is_image).await?;
        let mut fields = Self { is_form: true, ..Self::default() };
        for part in parts {
            let bytes_of = |bytes: Vec<u8>, param: &str| match std::str::from_utf8(&bytes) {
                Ok(text) if !part.is_file && !text.is_empty() => {
                    AppState::bytes_of_uri(text, param)
                }
                _ => Ok(bytes),
            };
            if part.name == MASK {
                let bytes = bytes_of(part.bytes, MASK)?;
                fields.mask = Some(Sent { param: MASK.to_owned(), bytes });
            } else if IMAGES.contains(&part.name.as_str()) {
                let param = match (part.name.strip_suffix("[]"), fields.images.len()) {
                    (None, 0) => part.name.clone(),
                    (name, at) => format!("{}[{at}]", name.unwrap_or(&part.name)),
                };
                let bytes = bytes_of(part.bytes, &param)?;
                fields.images.push(Sent { param, bytes });
            } else {
                let name = part.name.clone();
                fields.values.insert(name, Value::String(part.text()?));
            }
        }
        Ok(fields)
    }

    /// Takes a field out, if it is there and not null. `wanted` says what it may hold.
    pub fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
        wanted: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.values.remove(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        // The text of a form is first tried as a text and then as what it spells.
        let spelled = || match &value {
            Value::String(text) if self.is_form => serde_json::from_str(text).ok(),
            _ => None,
        };
        let taken = T::deserialize(&value).ok().or_else(spelled);
        if self.is_form && taken.is_none() && value == "null" {
            return Ok(None); // so that a form may say what JSON may
        }
        let wrong = || {
            let found = match &value {
                Value::String(text) if self.is_form => beginning(text),
                value => beginning(&value.to_string()),
            };
            ApiError::invalid(name, format!("`{name}` is {found}, wanted {wanted}"))
        };
        taken.map(Some).ok_or_else(wrong)
    }

    /// Takes a text that must be one of a few.
    pub fn take_one_of(&mut self, name: &str, few: &[&str]) -> Result<Option<String>, ApiError> {
        let wanted = format!("one of {}", few.join(", "));
        let found: Option<String> = self.take(name, &wanted)?;
        match found {
            Some(found) if !few.contains(&found.as_str()) => {
                let message = format!("`{name}` is {}, wanted {wanted}", beginning(&found));
                Err(ApiError::invalid(name, message))
            }
            found => Ok(found),
        }
    }

    /// Takes all images out, in the order in which they were sent.
    pub fn take_images(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.images)
    }

    /// Takes the mask out.
    pub fn take_mask(&mut self) -> Option<Sent> {
        self.mask.take()
    }
}

/// Reads an image of a JSON field: a text, or an object with the text under `image_url`.
fn sent(param: String, value: &Value) -> Result<Sent, ApiError> {
    if value.get("file_id").is_some_and(|id| !id.is_null()) {
        let message = "no files are stored here, wanted the image itself as a data URI";
        return Err(ApiError::unsupported(format!("{param}.file_id"), message));
    }
    let value = value.get("image_url").unwrap_or(value);
    let Some(uri) = value.get("url").unwrap_or(value).as_str() else {
        let message = format!(
            "`{param}` is {}, wanted a data URI, base64, or an object with `image_url`",
            beginning(&value.to_string())
        );
        return Err(ApiError::invalid(param, message));
    };
    let bytes = AppState::bytes_of_uri(uri, &param)?;
    Ok(Sent { param, bytes })
}
