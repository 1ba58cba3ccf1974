//! Streams: which events come, in which order, and that the last is the image itself.

use futures_util::StreamExt;

use super::*;

/// An event as it was sent.
#[derive(Debug)]
struct Sent {
    name: String,
    data: Value,
}

fn events(reply: &Reply) -> Vec<Sent> {
    assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
    let text = std::str::from_utf8(&reply.body).unwrap();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    let event = |block: &str| {
        let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let data = serde_json::from_str(line("data:").trim()).unwrap();
        Sent { name: line("event:").trim().to_owned(), data }
    };
    blocks.map(event).collect()
}

#[tokio::test]
async fn a_stream_shows_as_many_partial_images_as_were_asked_for_and_ends_in_the_image() {
    let served = serve();
    let body = json!({ "prompt": "ab", "seed": 1, "steps": 6 });
    let whole = served.json(GENERATIONS, &body).await;
    for partial in 0..=3 {
        let mut body = body.clone();
        body["stream"] = json!(true);
        body["partial_images"] = json!(partial);
        let found = events(&served.json(GENERATIONS, &body).await);
        let names: Vec<&str> = found.iter().map(|event| event.name.as_str()).collect();
        let mut wanted = vec!["image_generation.partial_image"; partial];
        wanted.push("image_generation.completed");
        assert_eq!(names, wanted);
        for (at, event) in found.iter().enumerate() {
            let data = &event.data;
            assert_eq!(data["type"], event.name);
            assert_eq!((&data["size"], &data["background"]), (&json!("8x6"), &json!("opaque")));
            assert_eq!((&data["quality"], &data["output_format"]), (&json!("auto"), &json!("png")));
            assert!(data["created_at"].as_u64().unwrap() > 0);
            if at < partial {
                assert_eq!(data["partial_image_index"], at);
                assert!(data["usage"].is_null());
            }
            let file = STANDARD.decode(data["b64_json"].as_str().unwrap()).unwrap();
            let is_the_image = [decode(&file)] == whole.images()[..];
            assert_eq!(is_the_image, at == partial, "event {at} of {partial}");
        }
        assert_eq!(found[partial].data["usage"], whole.value()["usage"]);
    }
}

#[tokio::test]
async fn a_stream_of_many_images_completes_each_and_counts_each_once() {
    let served = serve();
    let body = json!({ "prompt": "ab", "seed": 1, "n": 3 });
    let whole = served.json(GENERATIONS, &body).await;
    let mut body = body.clone();
    body["stream"] = json!(true);
    body["partial_images"] = json!(2);
    let found = events(&served.json(GENERATIONS, &body).await);
    assert_eq!(found.len(), 3 * 3);
    for image in 0..3 {
        let shown = found.iter().filter(|event| event.data["image_index"] == image);
        let indices: Vec<_> = shown.map(|event| &event.data["partial_image_index"]).collect();
        assert_eq!(indices, [&json!(0), &json!(1), &Value::Null]);
    }
    let completed: Vec<_> = found.iter().filter(|one| !one.data["usage"].is_null()).collect();
    let files: Vec<_> = completed.iter().map(|one| &one.data["b64_json"]).collect();
    let value = whole.value();
    let wanted: Vec<_> =
        value["data"].as_array().unwrap().iter().map(|one| &one["b64_json"]).collect();
    assert_eq!(files, wanted);
    for field in ["input_tokens", "output_tokens", "total_tokens"] {
        let sum: u64 = completed.iter().map(|one| one.data["usage"][field].as_u64().unwrap()).sum();
        assert_eq!(value["usage"][field], sum, "{field}");
    }
}

#[tokio::test]
async fn edits_have_events_of_their_own() {
    let served = serve();
    let file = gradient(8, 6).encode_png();
    let parts: &[Part<'_>] = &[
        ("image@", &file[..]),
        ("prompt", b"ab"),
        ("stream", b"true"),
        ("partial_images", b"1"),
        ("output_format", b"webp"),
    ];
    let found = events(&served.form(EDITS, parts).await);
    let names: Vec<&str> = found.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["image_edit.partial_image", "image_edit.completed"]);
    assert_eq!(found[1].data["output_format"], "webp");
}

#[tokio::test]
async fn a_stream_is_sent_as_one() {
    let served = serve();
    let body = json!({ "prompt": "ab", "stream": true }).to_string().into_bytes();
    let response = served.send(GENERATIONS, "application/json", body).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let wrong = json!({ "prompt": "", "stream": true });
    let reply = served.json(GENERATIONS, &wrong).await;
    assert_eq!((reply.status.as_u16(), reply.param().as_str()), (400, "prompt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_job() {
    let served = serve();
    let body = json!({
        "prompt": "ab", "stream": true, "partial_images": 3, "steps": 8, "size": "16x16", "n": 4,
    });
    for _ in 0..8 {
        let sent = body.to_string().into_bytes();
        let response = served.send(GENERATIONS, "application/json", sent).await;
        let first = response.into_body().into_data_stream().next().await;
        first.unwrap().unwrap(); // and the stream is dropped here
    }
    // The engine is free for the next, and nothing is left of those before.
    let reply = served.json(GENERATIONS, &json!({ "prompt": "ab" })).await;
    assert_eq!(reply.status, StatusCode::OK);
    for _ in 0..500 {
        let stats = served.engine.stats();
        if stats.waiting + stats.running == 0 {
            assert_eq!(stats.failed, 0, "{stats:?}");
            assert_eq!(stats.finished + stats.cancelled, 9, "{stats:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("jobs are left: {:?}", served.engine.stats());
}
