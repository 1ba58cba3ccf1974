//! What every handler of a request knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use mm_patch::{DecodeOptions, Image};
use tokio::sync::Semaphore;

use crate::error::{ApiError, beginning};
use crate::metrics::Metrics;
use crate::{Engine, ServedModel, SiteFile};

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
    /// Whether requests are answered whatever their header `Host` says. Without it, and without a
    /// key, only names of the loopback are, so that a web page whose name was made to point here
    /// cannot use the server. [`serve`](crate::serve) sets it for addresses that are not loopback.
    pub any_host: bool,
    /// The files of a [site](fn@crate::site), which is answered at `/local` to everyone; none
    /// where there is no site.
    pub site: Vec<SiteFile>,
}

/// What every handler of a request knows. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub engine: Engine,
    pub options: Arc<ServeOptions>,
    /// Counts of requests, for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Lets few images be decoded at once, since each takes its pixels in memory twice.
    decoding: Arc<Semaphore>,
    draining: Arc<AtomicBool>,
}

/// Requests whose images are decoded at once.
const DECODING: usize = 4;

/// Base64 as it is sent: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl AppState {
    /// Makes the state of a server that has answered nothing yet.
    pub fn new(engine: Engine, options: ServeOptions) -> Self {
        Self {
            engine,
            options: Arc::new(options),
            metrics: Arc::default(),
            decoding: Arc::new(Semaphore::new(DECODING)),
            draining: Arc::default(),
        }
    }

    /// Says from now on that the server ends.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Returns whether the server ends.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Finds a model by its name; without one, the first is meant.
    pub fn model(&self, name: Option<&str>) -> Result<(usize, &ServedModel), ApiError> {
        let models = self.engine.models();
        let Some(name) = name else {
            let first = models.first();
            return first
                .map(|model| (0, model))
                .ok_or_else(|| ApiError::server("no model is served"));
        };
        let found = models.iter().enumerate().find(|(_, model)| model.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
            let shown = beginning(name);
            ApiError::of(
                StatusCode::NOT_FOUND,
                "invalid_request_error",
                format!(
                    "the model `{shown}` is not served here, wanted one of: {}",
                    names.join(", ")
                ),
            )
            .at("model".into())
            .with_code("model_not_found")
        })
    }

    /// Runs work that takes long, such as decoding images, beside the threads that answer.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = Arc::clone(&self.decoding).acquire_owned().await;
        let turn = turn.map_err(|_| ApiError::server("the server is shutting down"))?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.unwrap_or_else(|_| Err(ApiError::server("the request could not be read")))
    }

    /// Decodes an image that was sent, within the limits. `param` names the field for the error.
    pub fn decode(&self, bytes: &[u8], param: &str) -> Result<Image, ApiError> {
        Image::decode(bytes, &self.decode_options()).map_err(|why| unreadable(&why, param))
    }

    /// Returns the limits under which images and masks are decoded.
    pub fn decode_options(&self) -> DecodeOptions {
        DecodeOptions { max_pixels: self.options.limits.image_pixels, ..DecodeOptions::default() }
    }

    /// Decodes an image from a data URI or plain base64; a remote address is refused by name.
    pub fn decode_uri(&self, uri: &str, param: &str) -> Result<Image, ApiError> {
        self.decode(&Self::bytes_of_uri(uri, param)?, param)
    }

    /// Returns the bytes of an image file in a data URI or in plain base64.
    pub fn bytes_of_uri(uri: &str, param: &str) -> Result<Vec<u8>, ApiError> {
        let start = uri.get(..8).unwrap_or(uri).to_ascii_lowercase();
        for scheme in ["http:", "https:", "file:", "ftp:", "blob:"] {
            if start.starts_with(scheme) {
                return Err(ApiError::unsupported(
                    param,
                    format!(
                        "addresses of the scheme `{scheme}` are not fetched, wanted the image \
                         itself as `data:image/png;base64,...`"
                    ),
                ));
            }
        }
        let encoded = if start.starts_with("data:") {
            let (head, encoded) = uri
                .split_once(',')
                .ok_or_else(|| ApiError::invalid(param, "the data URI has no comma"))?;
            if !head.to_ascii_lowercase().ends_with(";base64") {
                let why = "the data URI is not in base64, wanted `data:image/png;base64,...`";
                return Err(ApiError::invalid(param, why));
            }
            encoded
        } else {
            uri
        };
        BASE64.decode(encoded.trim()).map_err(|why| {
            ApiError::invalid(param, format!("the image is not valid base64: {why}"))
        })
    }
}

/// Says why an image file cannot be read, with the cause.
pub(crate) fn unreadable(why: &mm_patch::PatchError, param: &str) -> ApiError {
    let cause = std::error::Error::source(why).map(|cause| format!(": {cause}"));
    ApiError::invalid(param, format!("{why}{}", cause.unwrap_or_default()))
}
