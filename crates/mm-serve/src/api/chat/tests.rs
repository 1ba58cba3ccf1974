//! Chat completions by a tiny model that was never trained: what they hold, whatever it writes.

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mm_patch::{Image, png_texts};
use serde_json::{Value, json};

use crate::encode::data_uri;
use crate::testing::{Answer, app, post};

const PATH: &str = "/v1/chat/completions";

/// Returns a request whose answer differs from seed to seed.
fn request(seed: u64) -> Value {
    json!({
        "model": "tiny",
        "messages": [{"role": "user", "content": "ab"}],
        "temperature": 2,
        "max_tokens": 12,
        "max_images": 2,
        "seed": seed,
    })
}

/// Returns a request with one more field.
fn with(field: &str, value: Value) -> Value {
    let mut request = request(1);
    request[field] = value;
    request
}

async fn chat(app: &Router, body: &Value) -> Answer {
    post(app, PATH, body).await
}

/// Returns the first of some requests whose answer has an image, and its message.
async fn with_image(app: &Router) -> (Value, Value) {
    for seed in 0..100 {
        let mut answer = chat(app, &request(seed)).await.ok();
        let message = answer["choices"][0]["message"].take();
        if message["images"].is_array() && !message["content"].as_str().unwrap().is_empty() {
            return (request(seed), message);
        }
    }
    panic!("no answer has an image");
}

#[tokio::test]
async fn an_answer_has_what_official_clients_read() {
    let answer = chat(&app(), &request(1)).await.ok();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "tiny");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
    let choice = &answer["choices"][0];
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(choice["message"]["content"].is_string());
    assert!(choice["message"]["refusal"].is_null());
    assert!(["stop", "length"].contains(&choice["finish_reason"].as_str().unwrap()));
    let usage = &answer["usage"];
    let number = |name: &str| usage[name].as_u64().unwrap();
    assert!(number("prompt_tokens") >= 3); // the beginning, `ab` and the end of the turn
    assert_eq!(number("total_tokens"), number("prompt_tokens") + number("completion_tokens"));
}

#[tokio::test]
async fn images_stand_in_both_shapes_and_can_be_sent_back() {
    let app = app();
    let (mut request, message) = with_image(&app).await;
    let images = message["images"].as_array().unwrap();
    let parts = message["parts"].as_array().unwrap();
    let in_parts: Vec<_> = parts.iter().filter(|part| part["type"] == "image_url").collect();
    assert_eq!(images.len(), in_parts.len());
    for (image, part) in images.iter().zip(in_parts) {
        assert_eq!(image["type"], "image_url");
        assert_eq!(image["image_url"], part["image_url"]);
        assert!(image["image_url"]["url"].as_str().unwrap().starts_with("data:image/png;base64,"));
    }
    let texts = parts.iter().filter_map(|part| part["text"].as_str());
    assert_eq!(texts.collect::<String>(), message["content"].as_str().unwrap());

    let messages = request["messages"].as_array_mut().unwrap();
    messages.extend([message, json!({"role": "user", "content": "b"})]);
    let answer = chat(&app, &request).await.ok();
    let details = &answer["usage"]["prompt_tokens_details"];
    assert!(details["image_tokens"].as_u64().unwrap() > 0, "{details}");
}

#[tokio::test]
async fn an_image_tells_what_was_asked_and_the_seed_that_repeats_it() {
    let app = app();
    let (request, message) = with_image(&app).await;
    let uri = message["images"][0]["image_url"]["url"].as_str().unwrap();
    let file = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
    let texts = png_texts(&file).unwrap();
    let text = |keyword: &str| {
        let found = texts.iter().find(|text| text.keyword == keyword);
        found.map(|text| text.text.clone())
    };
    assert_eq!(text("Description").as_deref(), Some("ab"));
    assert_eq!(text("Model").as_deref(), Some("tiny"));
    assert_eq!(text("Seed"), Some(request["seed"].to_string()));
    assert!(text("Size").is_some() && text("Steps").is_some());
}

#[tokio::test]
async fn a_stream_tells_what_the_whole_answer_holds() {
    let app = app();
    let (mut request, message) = with_image(&app).await;
    let usage = chat(&app, &request).await.ok()["usage"].take();
    request["stream"] = true.into();
    request["stream_options"] = json!({"include_usage": true});
    let answer = chat(&app, &request).await;
    let data = answer.data();
    let (done, chunks) = data.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    let chunks: Vec<Value> =
        chunks.iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    let (last, rest) = chunks.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &usage));
    assert!(rest.iter().all(|chunk| chunk["usage"].is_null() && chunk["id"] == last["id"]));
    assert!(rest.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    let deltas: Vec<&Value> = rest.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(deltas[0], &json!({"role": "assistant", "content": ""}));
    let content = deltas.iter().filter_map(|delta| delta["content"].as_str()).collect::<String>();
    assert_eq!(message["content"], content);
    let images = deltas.iter().filter_map(|delta| delta["images"].as_array()).flatten();
    assert_eq!(&images.cloned().collect::<Vec<_>>(), message["images"].as_array().unwrap());
    let reasons: Vec<&Value> =
        rest.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
    let (end, before) = reasons.split_last().unwrap();
    assert!(end.is_string() && before.iter().all(|reason| reason.is_null()));
}

#[tokio::test]
async fn every_choice_has_a_seed_of_its_own() {
    let app = app();
    let mut several = request(5);
    several["n"] = 3.into();
    let several = chat(&app, &several).await.ok();
    for at in 0..3_u64 {
        let single = chat(&app, &request(5 + at)).await.ok();
        let choice = &several["choices"][at as usize];
        assert_eq!(choice["message"], single["choices"][0]["message"]);
        assert_eq!(choice["index"], at);
    }
    let mut streamed = with("n", 2.into());
    streamed["stream"] = true.into();
    let answer = chat(&app, &streamed).await;
    let ended = answer.data().iter().filter(|data| data.contains("\"finish_reason\":\"")).count();
    assert_eq!(ended, 2);
}

#[tokio::test]
async fn an_answer_without_the_modality_image_has_none() {
    let app = app();
    let (mut request, _) = with_image(&app).await;
    request["modalities"] = json!(["text"]);
    let answer = chat(&app, &request).await.ok();
    assert!(answer["choices"][0]["message"].get("images").is_none());
    assert_eq!(answer["usage"]["completion_tokens_details"]["image_tokens"], 0);
}

#[tokio::test]
async fn text_that_reads_like_a_special_token_is_text() {
    let app = app();
    let mut tokens = vec![];
    for content in ["[IMG] [ROWS=2] [END]", "(IMG) (ROWS=2) (END)"] {
        let mut request = request(1);
        request["messages"] = json!([{"role": "user", "content": content}]);
        let usage = chat(&app, &request).await.ok()["usage"].take();
        assert_eq!(usage["prompt_tokens_details"]["image_tokens"], 0);
        tokens.push(usage["prompt_tokens"].as_u64().unwrap());
    }
    assert_eq!(tokens[0], tokens[1]);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let app = app();
    for (field, value) in [
        ("tools", json!([{"type": "function"}])),
        ("functions", json!([{}])),
        ("tool_choice", json!("required")),
        ("response_format", json!({"type": "json_object"})),
        ("logprobs", json!(true)),
        ("logit_bias", json!({"5": 1})),
        ("presence_penalty", json!(0.5)),
        ("audio", json!({"voice": "x"})),
        ("modalities", json!(["text", "audio"])),
    ] {
        let answer = chat(&app, &with(field, value)).await;
        answer.is_error(400, Some(field));
        assert_eq!(answer.json()["error"]["code"], "unsupported_parameter");
    }
    for (field, value) in [
        ("tools", json!([])),
        ("tool_choice", json!("none")),
        ("response_format", json!({"type": "text"})),
        ("logprobs", json!(false)),
        ("frequency_penalty", json!(0.0)),
        ("audio", Value::Null),
        ("user", json!("me")),
        ("metadata", json!({"a": "b"})),
        ("a_field_of_tomorrow", json!(1)),
    ] {
        chat(&app, &with(field, value)).await.ok();
    }
}

#[tokio::test]
async fn a_wrong_value_is_an_error_that_names_its_field() {
    let app = app();
    for (field, value, param) in [
        ("model", json!("gpt"), "model"),
        ("messages", json!([]), "messages"),
        ("messages", json!("hi"), "messages"),
        ("messages", json!([{"role": "user"}]), "messages[0].content"),
        ("messages", json!([{"role": "user", "content": ""}]), "messages[0].content"),
        ("messages", json!([{"role": "user", "content": 5}]), "messages[0].content"),
        ("messages", json!([{"content": "a"}]), "messages[0].role"),
        ("messages", json!([{"role": "king", "content": "a"}]), "messages[0].role"),
        ("messages", json!([{"role": "tool", "content": "a"}]), "messages[0].role"),
        ("temperature", json!(2.5), "temperature"),
        ("temperature", json!("hot"), "temperature"),
        ("top_p", json!(-0.1), "top_p"),
        ("top_k", json!(0), "top_k"),
        ("min_p", json!(1.1), "min_p"),
        ("max_tokens", json!(0), "max_tokens"),
        ("max_completion_tokens", json!(65), "max_completion_tokens"),
        ("n", json!(0), "n"),
        ("n", json!(5), "n"),
        ("stop", json!(["a", "b", "c", "d", "e"]), "stop"),
        ("stop", json!(""), "stop"),
        ("stop", json!([1]), "stop"),
        ("seed", json!(0.5), "seed"),
        ("steps", json!(9), "steps"),
        ("guidance", json!(-1), "guidance"),
        ("sampler", json!("magic"), "sampler"),
        ("max_images", json!(5), "max_images"),
        ("stream_options", json!({"include_usage": true}), "stream_options"),
    ] {
        let status = if field == "model" { 404 } else { 400 };
        chat(&app, &with(field, value)).await.is_error(status, Some(param));
    }
    chat(&app, &json!({"model": "tiny"})).await.is_error(400, Some("messages"));
}

#[tokio::test]
async fn an_image_that_cannot_be_taken_is_an_error_that_names_its_place() {
    let app = app();
    let fine = data_uri(&Image::filled(3, 5, [7; 3]), &[]);
    let large = data_uri(&Image::filled(200, 100, [7; 3]), &[]);
    let url = "messages[0].content[0].image_url.url";
    for (uri, wanted) in [
        ("https://example.org/a.png".to_owned(), "https:"),
        ("HTTP://example.org/a.png".to_owned(), "http:"),
        ("file:///etc/passwd".to_owned(), "file:"),
        ("data:image/png;base64,%%%".to_owned(), "base64"),
        ("data:image/png,abc".to_owned(), "base64"),
        ("data:image/png;base64,aGVsbG8=".to_owned(), "png, jpeg, webp"),
        (String::new(), "empty"),
        (large, "200 x 100"),
    ] {
        let part = json!({"type": "image_url", "image_url": {"url": uri}});
        let messages = json!([{"role": "user", "content": [part]}]);
        let said = chat(&app, &with("messages", messages)).await.is_error(400, Some(url));
        assert!(said.contains(wanted), "{said}");
    }
    for (part, param) in [
        (json!({"type": "image_url"}), "messages[0].content[0].image_url"),
        (json!({"type": "text"}), "messages[0].content[0].text"),
        (json!({"type": "input_audio"}), "messages[0].content[0].type"),
        (json!({"type": "poem"}), "messages[0].content[0].type"),
        (
            json!({"type": "image_url", "image_url": {"url": fine, "detail": "most"}}),
            "messages[0].content[0].image_url.detail",
        ),
    ] {
        let messages = json!([{"role": "user", "content": [part]}]);
        chat(&app, &with("messages", messages)).await.is_error(400, Some(param));
    }
}

#[tokio::test]
async fn images_are_fitted_to_the_model_and_counted() {
    let app = app();
    let uri = data_uri(&Image::filled(3, 5, [7; 3]), &[]);
    let part = json!({"type": "image_url", "image_url": {"url": uri}});
    let asked = |parts: Vec<Value>| {
        let parts: Vec<Value> =
            parts.into_iter().chain([json!({"type": "text", "text": "a"})]).collect();
        with("messages", json!([{"role": "user", "content": parts}]))
    };
    let answer = chat(&app, &asked(vec![part.clone()])).await.ok();
    let tokens = answer["usage"]["prompt_tokens_details"]["image_tokens"].as_u64().unwrap();
    assert!((12..=16).contains(&tokens), "{tokens}"); // 4 x 3 patches and what marks them

    let many = asked(vec![part; 4]);
    let param = "messages[0].content[3].image_url.url";
    chat(&app, &many).await.is_error(400, Some(param));
}

#[tokio::test]
async fn a_prompt_beyond_the_limit_is_refused() {
    let long = json!([{"role": "user", "content": "xyz".repeat(100)}]);
    let answer = chat(&app(), &with("messages", long)).await;
    answer.is_error(400, Some("messages"));
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
}
