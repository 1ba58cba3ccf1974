//! What every handler of a request knows.

use std::time::Duration;

use mm_patch::Image;

use crate::error::ApiError;
use crate::{Engine, ServedModel};

/// Bounds of what a request may hold, checked before anything is decoded.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes of a body.
    pub body_bytes: usize,
    /// The most pixels of an image that is sent, by its header.
    pub image_pixels: u64,
    /// The most images of a request.
    pub images: usize,
    /// The most images that one request draws.
    pub drawn: usize,
    /// The most patches of an image that is drawn.
    pub patches: usize,
    /// The most tokens of a prompt, patches counted.
    pub prompt_tokens: usize,
    /// The most tokens of text that a request makes.
    pub tokens: usize,
    /// The most denoising steps of an image.
    pub steps: usize,
    /// The longest that a request may take in all.
    pub request_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            image_pixels: 64 << 20,
            images: 16,
            drawn: 16,
            patches: 4096,
            prompt_tokens: 32_768,
            tokens: 4096,
            steps: 250,
            request_time: Duration::from_secs(300),
        }
    }
}

/// Settings of a server.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Bounds of requests.
    pub limits: Limits,
    /// The keys of which a request must show one; none to ask for no key.
    pub api_keys: Vec<String>,
    /// Origins whose pages may read answers; none for no page of another origin.
    pub cors_origins: Vec<String>,
    /// Whether prompts are written to the log.
    pub log_prompts: bool,
}

/// What every handler of a request knows.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub engine: Engine,
    pub options: std::sync::Arc<ServeOptions>,
}

impl AppState {
    /// Finds a model by its name; without one, the first is meant.
    pub fn model(&self, name: Option<&str>) -> Result<(usize, &ServedModel), ApiError> {
        let models = self.engine.models();
        let Some(name) = name else { return Ok((0, &models[0])) };
        let found = models.iter().enumerate().find(|(_, model)| model.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
            ApiError::of(
                axum::http::StatusCode::NOT_FOUND,
                "invalid_request_error",
                format!("the model `{name}` is not served here, wanted one of: {}", names.join(", ")),
            )
            .at("model".into())
            .with_code("model_not_found")
        })
    }

    /// Decodes an image that was sent, within the limits. `param` names the field for the error.
    pub fn decode(&self, _bytes: &[u8], _param: &str) -> Result<Image, ApiError> {
        unimplemented!("to be written")
    }

    /// Decodes an image from a data URI or plain base64; a remote address is refused by name.
    pub fn decode_uri(&self, _uri: &str, _param: &str) -> Result<Image, ApiError> {
        unimplemented!("to be written")
    }
}
