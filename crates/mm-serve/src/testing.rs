//! What tests of the endpoints share: a tiny model with random weights, and requests to a router.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use burn::prelude::Device;
use mm_backbone::{BackboneConfig, BlockConfig, GauConfig, PositionScheme};
use mm_diffusion::{Prediction, Schedule};
use mm_model::{
    GenerationConfig, LoadedModel, Model, ModelConfig, NetworkConfig, TimeConfig, UnifiedConfig,
};
use mm_text::Tokenizer;
use serde_json::Value;
use tower::ServiceExt;

use crate::{Engine, EngineOptions, Limits, ServeOptions, ServedModel};

/// The side of a patch.
pub(crate) const PATCH: usize = 2;

/// Makes a model of 8 x 6 pixels that was never trained.
pub(crate) fn model() -> LoadedModel {
    let tokenizer = Tokenizer::train(["ab"].map(str::to_owned).into_iter(), 389).unwrap();
    let config = ModelConfig {
        patch: PATCH,
        vocab: 389,
        time: TimeConfig::Sinusoidal { channels: 4, scale: 1.0 },
        schedule: Schedule::Linear,
        prediction: Prediction::Clean,
        network: NetworkConfig::Unified(UnifiedConfig {
            patch_bias: true,
            patch_pos_embed: 0,
            patch_convolution: false,
            backbone: BackboneConfig {
                width: 8,
                depth: 1,
                block: BlockConfig::Gau(GauConfig { expansion: 1, key_size: 4, bias: false }),
                positions: PositionScheme::RopeTv,
                rotary_base: 100.0,
                norm_epsilon: 1e-6,
            },
        }),
    };
    let model = Model::new(&config, 3, &Device::flex()).unwrap();
    let generation = GenerationConfig { steps: 2, ..GenerationConfig::of_size(8, 6) };
    LoadedModel { config, tokenizer, model, generation }
}

/// Starts an engine that serves the model as `tiny` and as `other`.
pub(crate) fn engine() -> Engine {
    let model = Arc::new(model());
    let served = |name: &str| ServedModel {
        name: name.to_owned(),
        created: 1_700_000_000,
        model: Arc::clone(&model),
    };
    let options = EngineOptions {
        queue: 16,
        max_rows: 8,
        lanes: Some(1),
        time_limit: Duration::from_secs(60),
    };
    Engine::start(vec![served("tiny"), served("other")], options)
}

/// Returns settings whose limits are small.
pub(crate) fn options() -> ServeOptions {
    let limits = Limits {
        body_bytes: 100_000,
        image_pixels: 10_000,
        images: 3,
        drawn: 4,
        patches: 16,
        prompt_tokens: 200,
        tokens: 64,
        steps: 8,
        request_time: Duration::from_secs(60),
    };
    ServeOptions { limits, ..ServeOptions::default() }
}

/// Makes a server with small limits.
pub(crate) fn app() -> Router {
    crate::router(engine(), options())
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// Returns the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("{why}: {}", self.text))
    }

    /// Returns the body of an answer that is not an error.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// Returns the data of all events of a stream, in order.
    pub fn data(&self) -> Vec<&str> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.text.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }

    /// Fails unless this is an error in OpenAI's form with this status and field.
    pub fn is_error(&self, status: u16, param: Option<&str>) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let error = &self.json()["error"];
        assert_eq!(error["param"].as_str(), param, "{error}");
        assert!(error["type"].is_string() && error.get("code").is_some(), "{error}");
        error["message"].as_str().unwrap().to_owned()
    }
}

/// Sends a request.
pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

/// Asks for a path.
pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    send(app, Request::get(path).body(Body::empty()).unwrap()).await
}

/// Sends JSON to a path.
pub(crate) async fn post(app: &Router, path: &str, body: &Value) -> Answer {
    let request = Request::post(path).header("content-type", "application/json");
    send(app, request.body(body.to_string().into()).unwrap()).await
}
