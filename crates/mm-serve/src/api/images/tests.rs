//! The endpoints of images through the whole router, with a small model of random weights: what it
//! draws means nothing, and every bit of it must be right.

mod edits;
mod errors;
mod hostile;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mm_diffusion::Guidance;
use mm_model::{Document, GenerateOptions, GenerationConfig, LoadedModel};
use mm_patch::{DecodeOptions, Grid, Image, png_texts};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::multipart::tests::{BOUNDARY, form};
use crate::testing::{self, PATCH};
use crate::{Engine, EngineOptions, Limits, ServeOptions, ServedModel};

const GENERATIONS: &str = "/v1/images/generations";
const EDITS: &str = "/v1/images/edits";
const VARIATIONS: &str = "/v1/images/variations";

/// A part of a form; a name that ends in `@` is that of a file.
type Part<'a> = (&'a str, &'a [u8]);

/// Makes a model of 2 x 2 patches, trained for 8 x 6 pixels as it says.
fn tiny() -> LoadedModel {
    let generation = GenerationConfig { steps: 4, ..GenerationConfig::of_size(8, 6) };
    LoadedModel { generation, ..testing::model() }
}

/// A server, its engine, and the model that it serves.
struct Served {
    router: Router,
    engine: Engine,
    model: Arc<LoadedModel>,
}

/// Starts a server whose limits are small.
fn serve() -> Served {
    let model = Arc::new(tiny());
    let served = ServedModel { name: "tiny".to_owned(), created: 0, model: Arc::clone(&model) };
    let options = EngineOptions {
        queue: 64,
        max_rows: 16,
        lanes: Some(1),
        time_limit: Duration::from_secs(60),
    };
    let engine = Engine::start(vec![served], options);
    let limits = Limits {
        body_bytes: 1 << 20,
        image_pixels: 100 * 100,
        images: 3,
        drawn: 4,
        patches: 64,
        prompt_tokens: 200,
        steps: 8,
        ..Limits::default()
    };
    let options = ServeOptions { limits, ..ServeOptions::default() };
    Served { router: crate::router(engine.clone(), options), engine, model }
}

/// An answer that was read to its end.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Bytes,
}

impl Served {
    async fn send(&self, path: &str, kind: &str, body: Vec<u8>) -> Response<Body> {
        let request = Request::post(path).header(CONTENT_TYPE, kind).body(Body::from(body));
        self.router.clone().oneshot(request.unwrap()).await.unwrap()
    }

    async fn ask(&self, path: &str, kind: &str, body: Vec<u8>) -> Reply {
        let response = self.send(path, kind, body).await;
        let status = response.status();
        Reply { status, body: to_bytes(response.into_body(), usize::MAX).await.unwrap() }
    }

    async fn json(&self, path: &str, body: &Value) -> Reply {
        self.ask(path, "application/json", body.to_string().into_bytes()).await
    }

    async fn form(&self, path: &str, parts: &[Part<'_>]) -> Reply {
        self.ask(path, &form_type(), form(parts)).await
    }

    /// Draws without a server, as an answer must be to the bit.
    fn draw(&self, prompt: &Document, grid: Grid, options: &GenerateOptions) -> Image {
        self.model.draw_many(prompt, 1, grid, options).unwrap().remove(0)
    }
}

fn form_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

impl Reply {
    fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns the files of a good answer.
    fn files(&self) -> Vec<Vec<u8>> {
        let value = self.value();
        assert_eq!(self.status, StatusCode::OK, "{value}");
        let data = value["data"].as_array().unwrap();
        data.iter().map(|one| STANDARD.decode(one["b64_json"].as_str().unwrap()).unwrap()).collect()
    }

    fn images(&self) -> Vec<Image> {
        self.files().iter().map(|file| decode(file)).collect()
    }

    /// Returns the field that an error names.
    fn param(&self) -> String {
        let value = self.value();
        value["error"]["param"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
    }

    fn message(&self) -> String {
        self.value()["error"]["message"].as_str().unwrap().to_owned()
    }
}

fn decode(file: &[u8]) -> Image {
    Image::decode(file, &DecodeOptions::default()).unwrap()
}

/// Makes an image whose pixels all differ.
fn gradient(width: usize, height: usize) -> Image {
    let rgb = (0..width * height * 3).map(|at| (at * 37 % 256) as u8).collect();
    Image::new(width, height, rgb).unwrap()
}

fn uri(file: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(file))
}

#[tokio::test]
async fn a_prompt_alone_draws_one_image_as_the_model_does_by_itself() {
    let served = serve();
    let reply = served.json(GENERATIONS, &json!({ "prompt": "ab", "seed": 5 })).await;
    let options = served.model.options(5);
    let grid = served.model.grid().unwrap();
    assert_eq!(reply.images(), [served.draw(&Document::of_text("ab"), grid, &options)]);
    let value = reply.value();
    for (field, wanted) in [
        ("size", json!("8x6")),
        ("quality", json!("auto")),
        ("background", json!("opaque")),
        ("output_format", json!("png")),
    ] {
        assert_eq!(value[field], wanted, "{field}");
    }
    assert!(value["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(value["data"][0]["seed"], 5);
}

#[tokio::test]
async fn every_image_of_a_request_is_the_one_of_its_own_seed_alone() {
    let served = serve();
    let body = json!({ "prompt": "ab", "seed": 7, "n": 3, "model": "tiny" });
    let reply = served.json(GENERATIONS, &body).await;
    let together = reply.files();
    assert_eq!(together.len(), 3);
    for (at, file) in together.iter().enumerate() {
        assert_eq!(reply.value()["data"][at]["seed"], 7 + at);
        let body = json!({ "prompt": "ab", "seed": 7 + at });
        assert_eq!(&served.json(GENERATIONS, &body).await.files()[0], file);
    }
}

#[tokio::test]
async fn without_a_seed_no_two_requests_draw_the_same() {
    let served = serve();
    let body = json!({ "prompt": "ab" });
    let first = served.json(GENERATIONS, &body).await;
    let second = served.json(GENERATIONS, &body).await;
    assert_ne!(first.images(), second.images());
    // The seed that an answer tells gives its image again.
    let again = json!({ "prompt": "ab", "seed": first.value()["data"][0]["seed"] });
    assert_eq!(served.json(GENERATIONS, &again).await.images(), first.images());
}

#[tokio::test]
async fn every_setting_reaches_the_model() {
    let served = serve();
    let base = served.model.options(1);
    let guidance = Guidance { scale: 2.0, from: 0.25, to: 0.75, ..base.guidance };
    let heun = "heun".parse().unwrap();
    let cases = [
        (json!({ "steps": 2 }), GenerateOptions { steps: 2, ..base.clone() }),
        (json!({ "sampler": "heun" }), GenerateOptions { sampler: heun, ..base.clone() }),
        (
            json!({ "guidance": 2, "guidance_interval": [0.25, 0.75] }),
            GenerateOptions { guidance, ..base.clone() },
        ),
        (
            json!({ "negative_prompt": "b" }),
            GenerateOptions { negative: "b".to_owned(), ..base.clone() },
        ),
    ];
    let grid = served.model.grid().unwrap();
    let prompt = Document::of_text("ab");
    let plain = served.draw(&prompt, grid, &base);
    for (fields, options) in cases {
        let wanted = served.draw(&prompt, grid, &options);
        assert_ne!(wanted, plain, "{fields} changes nothing");
        let mut body = json!({ "prompt": "ab", "seed": 1 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(served.json(GENERATIONS, &body).await.images(), [wanted], "{fields}");
        // A form says the same in words.
        let words = body.as_object().unwrap().iter().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        });
        let words: Vec<_> = words.collect();
        let parts: Vec<Part<'_>> =
            words.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
        let by_form = served.form(GENERATIONS, &parts).await;
        assert_eq!(by_form.images(), served.json(GENERATIONS, &body).await.images(), "{fields}");
    }
}

#[tokio::test]
async fn a_size_is_drawn_as_it_was_asked_for() {
    let served = serve();
    for (size, width, height) in [("auto", 8, 6), ("8x6", 8, 6), ("2x2", 2, 2), ("16x4", 16, 4)] {
        let body = json!({ "prompt": "ab", "size": size });
        let reply = served.json(GENERATIONS, &body).await;
        let image = reply.images().remove(0);
        assert_eq!((image.width(), image.height()), (width, height), "{size}");
        assert_eq!(reply.value()["size"], format!("{width}x{height}"));
    }
}

#[tokio::test]
async fn all_formats_hold_the_same_image() {
    let served = serve();
    let body = |format: &str| json!({ "prompt": "ab", "seed": 3, "output_format": format });
    let png = served.json(GENERATIONS, &body("png")).await;
    let webp = served.json(GENERATIONS, &body("webp")).await;
    assert_eq!(png.images(), webp.images());
    assert_eq!(&webp.files()[0][8..12], b"WEBP");
    let jpeg = served.json(GENERATIONS, &body("jpeg")).await;
    assert_eq!(&jpeg.files()[0][..2], [0xff, 0xd8]);
    assert_eq!(jpeg.value()["output_format"], "jpeg");
    let mut coarse = body("jpeg");
    coarse["output_compression"] = json!(1);
    let coarse = served.json(GENERATIONS, &coarse).await;
    assert!(coarse.files()[0].len() < jpeg.files()[0].len());
}

#[tokio::test]
async fn a_png_tells_how_it_was_drawn() {
    let served = serve();
    let body = json!({ "prompt": "red K", "seed": 9, "n": 2, "steps": 3 });
    let files = served.json(GENERATIONS, &body).await.files();
    let texts = png_texts(&files[1]).unwrap();
    let text = |keyword: &str| {
        let found = texts.iter().find(|text| text.keyword == keyword);
        found.map(|text| text.text.as_str()).unwrap_or_default()
    };
    assert_eq!((text("Description"), text("Seed"), text("Steps")), ("red K", "10", "3"));
    assert_eq!((text("Model"), text("Size")), ("tiny", "8x6"));
}

#[tokio::test]
async fn usage_counts_the_prompt_once_and_every_image() {
    let served = serve();
    let one = served.json(GENERATIONS, &json!({ "prompt": "ab" })).await.value();
    let two = served.json(GENERATIONS, &json!({ "prompt": "ab", "n": 2 })).await.value();
    let (one, two) = (&one["usage"], &two["usage"]);
    let number = |usage: &Value, field: &str| usage[field].as_u64().unwrap();
    assert!(number(one, "output_tokens") >= 12, "{one}");
    assert_eq!(2 * number(one, "output_tokens"), number(two, "output_tokens"));
    assert_eq!(one["input_tokens"], two["input_tokens"]);
    for usage in [one, two] {
        let total = number(usage, "input_tokens") + number(usage, "output_tokens");
        assert_eq!(number(usage, "total_tokens"), total);
        assert_eq!(usage["input_tokens_details"]["text_tokens"], usage["input_tokens"]);
        assert_eq!(usage["input_tokens_details"]["image_tokens"], 0);
    }
}

#[tokio::test]
async fn what_changes_nothing_and_what_is_unknown_is_ignored() {
    let served = serve();
    let plain = json!({ "prompt": "ab", "seed": 1 });
    let mut full = plain.clone();
    let ignored = json!({
        "quality": "high", "style": "vivid", "moderation": "low", "user": "someone",
        "background": "opaque", "response_format": "b64_json", "partial_images": 2,
        "something_new": { "a": [1] }, "n": null, "size": null, "mask": null,
    });
    full.as_object_mut().unwrap().extend(ignored.as_object().unwrap().clone());
    let reply = served.json(GENERATIONS, &full).await;
    assert_eq!(reply.images(), served.json(GENERATIONS, &plain).await.images());
    assert_eq!(reply.value()["quality"], "high");
}

#[test]
fn the_description_of_the_requests_names_their_fields() {
    use utoipa::{PartialSchema, ToSchema};
    let schema = serde_json::to_value(super::EditRequest::schema()).unwrap();
    assert_eq!(schema["allOf"][0]["$ref"], "#/components/schemas/ImageRequest");
    assert_eq!(schema["allOf"][1]["required"], json!(["image"]));
    let mut all = vec![];
    super::EditRequest::schemas(&mut all);
    let (name, request) = &all[0];
    assert_eq!(name, "ImageRequest");
    let request = serde_json::to_value(request).unwrap();
    for field in ["prompt", "n", "size", "stream", "seed", "guidance_interval"] {
        assert!(request["properties"][field].is_object(), "{field}");
    }
    assert_eq!(request["required"], json!(["prompt"]));
    let variation = serde_json::to_value(super::VariationRequest::schema()).unwrap();
    assert_eq!(variation["required"], json!(["image"]));
    for (field, there) in [("prompt", false), ("strength", true), ("seed", true)] {
        assert_eq!(variation["properties"][field].is_object(), there, "{field}");
    }
}
