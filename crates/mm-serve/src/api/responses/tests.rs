//! Responses by a tiny model that was never trained: their items, their events, what is kept.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mm_patch::{DecodeOptions, Image, PngText, png_texts};
use serde_json::{Value, json};

use crate::encode::data_uri;
use crate::testing::{Answer, app, get, post, send};

const PATH: &str = "/v1/responses";

/// Returns a request for text whose answer differs from seed to seed.
fn request(seed: u64) -> Value {
    json!({"input": "ab", "temperature": 2, "max_output_tokens": 12, "seed": seed})
}

/// Returns a request that draws at once, with this tool.
fn drawing(tool: Value) -> Value {
    let mut tool = tool;
    tool["type"] = "image_generation".into();
    json!({
        "input": "ab",
        "seed": 7,
        "tools": [tool],
        "tool_choice": {"type": "image_generation"},
    })
}

async fn respond(app: &Router, body: &Value) -> Answer {
    post(app, PATH, body).await
}

/// Returns the events of a stream, after checking their names and numbers.
fn events(answer: &Answer) -> Vec<Value> {
    let events: Vec<Value> =
        answer.data().iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    let names = answer.text.lines().filter_map(|line| line.strip_prefix("event: "));
    assert_eq!(names.collect::<Vec<_>>(), names_of(&events));
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], at);
    }
    events
}

fn names_of(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn image_of(base64: &Value) -> Image {
    let bytes = STANDARD.decode(base64.as_str().unwrap()).unwrap();
    Image::decode(&bytes, &DecodeOptions::default()).unwrap()
}

#[tokio::test]
async fn a_response_is_a_message_and_is_kept() {
    let app = app();
    let response = respond(&app, &request(1)).await.ok();
    assert_eq!(response["object"], "response");
    assert_eq!(response["model"], "tiny");
    let item = &response["output"][0];
    assert_eq!((&item["type"], &item["role"]), (&"message".into(), &"assistant".into()));
    assert_eq!(item["content"][0]["type"], "output_text");
    assert!(["completed", "incomplete"].contains(&response["status"].as_str().unwrap()));
    assert_eq!(response["usage"]["output_tokens_details"]["image_tokens"], 0);

    let path = format!("{PATH}/{}", response["id"].as_str().unwrap());
    assert_eq!(get(&app, &path).await.ok(), response);
    let delete = || Request::delete(&path).body(Body::empty()).unwrap();
    assert_eq!(send(&app, delete()).await.ok()["deleted"], true);
    send(&app, delete()).await.is_error(404, Some("id"));
    get(&app, &path).await.is_error(404, Some("id"));
}

#[tokio::test]
async fn a_response_that_shall_not_be_kept_is_not() {
    let app = app();
    let mut request = request(1);
    request["store"] = false.into();
    let response = respond(&app, &request).await.ok();
    let id = response["id"].as_str().unwrap();
    get(&app, &format!("{PATH}/{id}")).await.is_error(404, Some("id"));
    request["previous_response_id"] = id.into();
    respond(&app, &request).await.is_error(404, Some("previous_response_id"));
}

#[tokio::test]
async fn a_response_after_another_continues_its_conversation() {
    let app = app();
    let first = respond(&app, &request(1)).await.ok();
    let mut after = request(2);
    after["previous_response_id"] = first["id"].clone();
    let by_id = respond(&app, &after).await.ok();
    let said = first["output"][0]["content"].clone();
    let mut whole = request(2);
    whole["input"] = json!([
        {"role": "user", "content": "ab"},
        {"type": "message", "role": "assistant", "content": said},
        {"role": "user", "content": [{"type": "input_text", "text": "ab"}]},
    ]);
    let whole = respond(&app, &whole).await.ok();
    assert_eq!(by_id["usage"], whole["usage"]);
    assert_eq!(by_id["output"][0]["content"], whole["output"][0]["content"]);
    assert!(by_id["usage"]["input_tokens"].as_u64() > first["usage"]["input_tokens"].as_u64());
}

#[tokio::test]
async fn events_of_a_text_come_in_order_and_hold_the_response() {
    let app = app();
    let mut streamed = request(3);
    streamed["stream"] = true.into();
    let answer = respond(&app, &streamed).await;
    let events = events(&answer);
    let mut names = names_of(&events);
    names.dedup();
    let last = names.pop().unwrap();
    assert!(["response.completed", "response.incomplete"].contains(&last), "{last}");
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
        ]
    );
    let deltas = events.iter().filter_map(|event| event["delta"].as_str());
    let text = deltas.collect::<String>();
    let response = &events.last().unwrap()["response"];
    assert_eq!(response["output"][0]["content"][0]["text"], text);
    let whole = respond(&app, &request(3)).await.ok();
    assert_eq!(whole["output"][0]["content"], response["output"][0]["content"]);
    assert_eq!(whole["usage"], response["usage"]);
}

#[tokio::test]
async fn a_model_with_the_tool_writes_texts_and_images_in_its_own_order() {
    let app = app();
    for seed in 0..100 {
        let mut request = request(seed);
        request["tools"] = json!([{"type": "image_generation"}]);
        request["max_images"] = 2.into();
        let response = respond(&app, &request).await.ok();
        let output = response["output"].as_array().unwrap();
        let Some(call) = output.iter().find(|item| item["type"] == "image_generation_call") else {
            continue;
        };
        image_of(&call["result"]);
        request["stream"] = true.into();
        let answer = respond(&app, &request).await;
        let events = events(&answer);
        let streamed = &events.last().unwrap()["response"]["output"];
        assert_eq!(streamed.as_array().unwrap().len(), output.len());
        for (at, item) in output.iter().enumerate() {
            assert_eq!(streamed[at]["type"], item["type"]);
            assert_eq!(streamed[at]["result"], item["result"]);
            assert_eq!(streamed[at]["content"], item["content"]);
        }
        let added = events.iter().filter(|event| event["type"] == "response.output_item.added");
        let indices: Vec<u64> =
            added.map(|event| event["output_index"].as_u64().unwrap()).collect();
        assert_eq!(indices, (0..output.len() as u64).collect::<Vec<_>>());
        return;
    }
    panic!("no response has an image");
}

#[tokio::test]
async fn a_forced_tool_draws_what_the_user_said_with_partial_images() {
    let app = app();
    let mut request = drawing(json!({"partial_images": 2, "size": "4x6"}));
    request["steps"] = 4.into();
    let whole = respond(&app, &request).await.ok();
    let call = &whole["output"][0];
    assert_eq!(
        (&call["type"], &call["action"]),
        (&"image_generation_call".into(), &"generate".into())
    );
    let image = image_of(&call["result"]);
    assert_eq!((image.width(), image.height()), (4, 6));
    let texts = png_texts(&STANDARD.decode(call["result"].as_str().unwrap()).unwrap()).unwrap();
    let said = request["input"].as_str().unwrap();
    assert!(texts.contains(&PngText::new("Description", said)), "{texts:?}");

    request["stream"] = true.into();
    let answer = respond(&app, &request).await;
    let events = events(&answer);
    assert_eq!(
        names_of(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.image_generation_call.in_progress",
            "response.image_generation_call.generating",
            "response.image_generation_call.partial_image",
            "response.image_generation_call.partial_image",
            "response.image_generation_call.completed",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (index, event) in [(0, &events[5]), (1, &events[6])] {
        assert_eq!(event["partial_image_index"], index);
        assert_eq!(image_of(&event["partial_image_b64"]).width(), 4);
    }
    assert_eq!(events[8]["item"]["result"], call["result"]);
}

#[tokio::test]
async fn an_edit_with_a_mask_changes_nothing_else() {
    let app = app();
    let mut image = Image::filled(8, 6, [10, 200, 30]);
    image.set_pixel(1, 1, [255, 0, 0]);
    let mut mask = Image::filled(8, 6, [0; 3]);
    mask.set_pixel(5, 2, [255; 3]);
    let mut request = drawing(json!({"input_image_mask": {"image_url": data_uri(&mask, &[])}}));
    request["input"] = json!([{"role": "user", "content": [
        {"type": "input_text", "text": "b"},
        {"type": "input_image", "image_url": data_uri(&image, &[])},
    ]}]);
    let response = respond(&app, &request).await.ok();
    let call = &response["output"][0];
    assert_eq!(call["action"], "edit");
    let mut edited = image_of(&call["result"]);
    edited.set_pixel(5, 2, image.pixel(5, 2));
    assert_eq!(edited, image);

    // The image of the response before is edited where the request has none.
    request["previous_response_id"] = response["id"].clone();
    request["input"] = "a".into();
    let again = respond(&app, &request).await.ok();
    let mut again = image_of(&again["output"][0]["result"]);
    again.set_pixel(5, 2, image.pixel(5, 2));
    assert_eq!(again, image);
}

#[tokio::test]
async fn a_wrong_value_is_an_error_that_names_its_field() {
    let app = app();
    let image = data_uri(&Image::filled(8, 6, [9; 3]), &[]);
    let small = data_uri(&Image::filled(2, 2, [9; 3]), &[]);
    let shown = json!([{"role": "user", "content": [{"type": "input_image", "image_url": image}, {"type": "input_text", "text": "a"}]}]);
    let with = |mut base: Value, field: &str, value: Value| {
        base[field] = value;
        base
    };
    let masked = drawing(json!({"input_image_mask": {"image_url": small}}));
    for (body, param) in [
        (json!({}), "input"),
        (json!({"input": ""}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (json!({"input": [{"type": "item_reference", "id": "x"}]}), "input[0].type"),
        (json!({"input": [{"type": "image_generation_call", "id": "x"}]}), "input[0].result"),
        (with(request(1), "tools", json!([{"type": "web_search"}])), "tools[0].type"),
        (with(request(1), "tool_choice", json!("required")), "tool_choice"),
        (with(request(1), "background", json!(true)), "background"),
        (with(request(1), "conversation", json!("conv_1")), "conversation"),
        (with(request(1), "include", json!(["reasoning"])), "include"),
        (with(request(1), "text", json!({"format": {"type": "json_schema"}})), "text"),
        (with(request(1), "max_output_tokens", json!(0)), "max_output_tokens"),
        (drawing(json!({"partial_images": 4})), "tools[0].partial_images"),
        (drawing(json!({"size": "5x5"})), "tools[0].size"),
        (drawing(json!({"size": "large"})), "tools[0].size"),
        (drawing(json!({"action": "erase"})), "tools[0].action"),
        (drawing(json!({"output_format": "tiff"})), "tools[0].output_format"),
        (drawing(json!({"background": "transparent"})), "tools[0].background"),
        (drawing(json!({"action": "edit"})), "input"),
        (
            drawing(json!({"input_image_mask": {"file_id": "f"}})),
            "tools[0].input_image_mask.file_id",
        ),
        (with(masked, "input", shown), "tools[0].input_image_mask"),
    ] {
        let answer = respond(&app, &body).await;
        let found = answer.json()["error"]["param"].clone();
        assert_eq!(
            (answer.status.as_u16(), &found),
            (400, &param.into()),
            "{body}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_wrong_field_of_the_tool_is_refused_where_nothing_is_drawn_too() {
    let app = app();
    for (field, wrong) in
        [("strength", json!(-1)), ("size", json!("")), ("output_compression", json!(101))]
    {
        let mut body = request(1);
        body["tools"] = json!([{"type": "image_generation", field: wrong}]);
        body["tool_choice"] = json!("none");
        respond(&app, &body).await.is_error(400, Some(&format!("tools[0].{field}")));
    }
}

#[tokio::test]
async fn the_description_names_the_models_and_the_limits_of_the_server() {
    let app = app();
    let document = get(&app, "/openapi.json").await.json();
    let served = get(&app, "/v1/models").await.json();
    let names = served["data"].as_array().unwrap().iter().map(|model| model["id"].clone());
    let names: Vec<Value> = names.chain([Value::Null]).collect();
    for request in ["ChatRequest", "ResponsesRequest", "ImageRequest", "VariationRequest"] {
        let fields = &document["components"]["schemas"][request]["properties"];
        assert_eq!(fields["model"]["enum"], json!(names), "{request}");
        assert!(fields["steps"]["maximum"].as_u64() >= Some(1), "{request}");
    }
}
