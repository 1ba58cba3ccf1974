//! Bodies of requests to the server: any bytes are answered, with an error in one form or not.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use burn::prelude::Device;
use mm_model::{GenerationConfig, LoadedModel, Model, ModelConfig};
use mm_serve::{Engine, EngineOptions, Limits, ServeOptions, ServedModel};
use mm_text::Tokenizer;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// The boundary of the parts of a form.
const BOUNDARY: &str = "frontier";

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));
static APP: LazyLock<Router> = LazyLock::new(app);

/// Sends a body of JSON. The first byte chooses the endpoint.
pub fn json(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let path = [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
    ];
    answered(path[usize::from(*first) % path.len()], "application/json", body);
}

/// Sends a form to the endpoint of edits or of variations.
pub fn form(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let path = ["/v1/images/edits", "/v1/images/variations"][usize::from(first % 2)];
    answered(path, &format!("multipart/form-data; boundary={BOUNDARY}"), body);
}

fn answered(path: &str, kind: &str, body: &[u8]) {
    let request = Request::post(path).header("content-type", kind).header("host", "localhost");
    let request = request.body(Body::from(body.to_vec())).expect("a request");
    RUNTIME.block_on(async {
        let response = APP.clone().oneshot(request).await.expect("a router does not fail");
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a whole body");
        let text = String::from_utf8_lossy(&body);
        assert!(!status.is_server_error(), "{status}: {text}");
        if status.is_client_error() {
            let error: serde_json::Value = serde_json::from_slice(&body).expect("errors are JSON");
            assert!(error["error"]["message"].is_string(), "{text}");
        }
    });
}

/// Makes a server of a tiny model, with small limits.
fn app() -> Router {
    let tokenizer = Tokenizer::train(std::iter::empty(), 389).expect("the smallest vocabulary");
    let config: ModelConfig = serde_json::from_str(&format!(
        r#"{{
            "patch": 2, "vocab": {}, "patch_bias": true, "patch_pos_embed": 0,
            "time": {{ "kind": "sinusoidal", "channels": 4, "scale": 1.0 }},
            "schedule": {{ "kind": "linear" }}, "prediction": "clean",
            "backbone": {{
                "width": 8, "depth": 1,
                "block": {{ "kind": "gau", "expansion": 1, "key_size": 4, "bias": false }},
                "positions": "rope-tv", "rotary_base": 100.0, "norm_epsilon": 1e-6
            }}
        }}"#,
        tokenizer.vocab()
    ))
    .expect("the configuration of a model");
    let model = Model::new(&config, 3, &Device::flex()).expect("a small model");
    let generation = GenerationConfig { steps: 2, ..GenerationConfig::of_size(8, 6) };
    let model = Arc::new(LoadedModel { config, tokenizer, model, generation });
    let served = ServedModel { name: "tiny".into(), created: 0, model };
    let seconds = Duration::from_secs(60);
    let options = EngineOptions { queue: 16, max_rows: 8, lanes: Some(1), time_limit: seconds };
    let limits = Limits {
        body_bytes: 100_000,
        image_pixels: 10_000,
        images: 3,
        drawn: 2,
        patches: 16,
        prompt_tokens: 200,
        tokens: 16,
        steps: 4,
        request_time: seconds,
    };
    let engine = Engine::start(vec![served], options);
    mm_serve::router(engine, ServeOptions { limits, ..ServeOptions::default() })
}
