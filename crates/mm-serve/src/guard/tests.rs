//! What stands around every endpoint, asked through the router.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::testing::{Answer, app, engine, get, options, post, send};
use crate::{ServeOptions, router};

/// A request for a little text.
fn body() -> Value {
    json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "max_images": 0})
}

const CHAT: &str = "/v1/chat/completions";

/// Asks `app` with these headers.
async fn with(
    app: &axum::Router,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(app, request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn only_a_request_with_a_key_is_answered_where_there_are_keys() {
    let keys = vec!["first-key".to_owned(), "second-key".to_owned()];
    let app = router(engine(), ServeOptions { api_keys: keys, ..options() });
    for wrong in [&[][..], &[("authorization", "Bearer nope")], &[("authorization", "first-key")]] {
        let answer = with(&app, Method::GET, "/v1/models", wrong, "").await;
        answer.is_error(401, None);
        assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        with(&app, Method::POST, CHAT, wrong, "{").await.is_error(401, None);
        with(&app, Method::GET, "/metrics", wrong, "").await.is_error(401, None);
    }
    for key in ["Bearer first-key", "bearer second-key"] {
        let right = [("authorization", key), ("host", "models.example.org")];
        with(&app, Method::GET, "/v1/models", &right, "").await.ok();
    }
    for open in ["/healthz", "/readyz"] {
        assert_eq!(get(&app, open).await.status, 200);
    }
}

#[tokio::test]
async fn a_page_with_another_name_or_origin_cannot_use_a_loopback_server() {
    let app = app();
    for host in ["evil.example", "evil.example:8080", "192.168.1.5"] {
        let answer = with(&app, Method::GET, "/v1/models", &[("host", host)], "").await;
        answer.is_error(421, None);
    }
    let json = ("content-type", "application/json");
    let body = body().to_string();
    let host = ("host", "localhost:8080");
    for origin in ["https://evil.example", "null", "http://localhost:9999"] {
        let headers = [json, host, ("origin", origin)];
        with(&app, Method::POST, CHAT, &headers, &body).await.is_error(403, None);
    }
    let own = [json, host, ("origin", "http://localhost:8080")];
    let answer = with(&app, Method::POST, CHAT, &own, &body).await;
    answer.ok();
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn pages_of_named_origins_may_read_answers_and_no_others() {
    let origin = "https://app.example";
    let named = ServeOptions { cors_origins: vec![origin.to_owned()], ..options() };
    let app = router(engine(), named);
    let json = ("content-type", "application/json");
    let answer =
        with(&app, Method::POST, CHAT, &[json, ("origin", origin)], &body().to_string()).await;
    answer.ok();
    assert_eq!(answer.headers["access-control-allow-origin"], origin);
    let before = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let answer = with(&app, Method::OPTIONS, CHAT, &before, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-headers"], "authorization,content-type");
    let other = [("origin", "https://other.example")];
    let answer = with(&app, Method::GET, "/v1/models", &other, "").await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn every_answer_has_an_id_and_headers_that_make_it_harmless() {
    let app = app();
    for path in ["/v1/models", "/healthz", "/nowhere", "/metrics"] {
        let answer = get(&app, path).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["x-frame-options"], "DENY");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"));
        assert!(answer.headers["x-request-id"].to_str().unwrap().starts_with("req_"));
    }
    let given = [("x-request-id", "my-id.7")];
    let answer = with(&app, Method::GET, "/healthz", &given, "").await;
    assert_eq!(answer.headers["x-request-id"], "my-id.7");
    let answer = with(&app, Method::GET, "/healthz", &[("x-request-id", "a b")], "").await;
    assert_ne!(answer.headers["x-request-id"], "a b");
}

#[tokio::test]
async fn what_the_router_refuses_has_the_form_of_every_error() {
    let app = app();
    get(&app, "/v1/nothing").await.is_error(404, None);
    get(&app, "/../../etc/passwd").await.is_error(404, None);
    let answer = get(&app, CHAT).await;
    answer.is_error(405, None);
    assert_eq!(answer.headers["allow"], "POST");
    let json = ("content-type", "application/json");
    for (headers, body, status) in [
        (&[json][..], "{\"messages\": [", 400),
        (&[json], "[]", 400),
        (&[json], "", 400),
        (&[json], "\u{feff}{}", 400),
        (&[("content-type", "text/plain")], "{}", 415),
        (&[], "{}", 415),
    ] {
        with(&app, Method::POST, CHAT, headers, body).await.is_error(status, None);
    }
    let deep = "[".repeat(50_000);
    with(&app, Method::POST, CHAT, &[json], &deep).await.is_error(400, None);
    let large = " ".repeat(100_001);
    let said = with(&app, Method::POST, CHAT, &[json], &large).await.is_error(413, None);
    assert!(said.contains("100000 bytes"), "{said}");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let mut options = options();
    options.limits.request_time = Duration::ZERO;
    let app = router(engine(), options);
    let mut body = body();
    body["max_tokens"] = 64.into();
    body["n"] = 4.into();
    post(&app, CHAT, &body).await.is_error(504, None);
}

#[tokio::test]
async fn models_are_listed_by_name() {
    let app = app();
    let list = get(&app, "/v1/models").await.ok();
    let names: Vec<&Value> =
        list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(names, ["tiny", "other"]);
    let model = get(&app, "/v1/models/other").await.ok();
    assert_eq!(
        (&model["object"], &model["width"], &model["patch"]),
        (&"model".into(), &8.into(), &2.into())
    );
    get(&app, "/v1/models/third").await.is_error(404, Some("model"));
}

#[tokio::test]
async fn counts_tell_requests_by_route_and_status() {
    let app = app();
    post(&app, CHAT, &body()).await.ok();
    get(&app, "/v1/models/third").await;
    get(&app, "/somewhere/else").await;
    let text = get(&app, "/metrics").await.text;
    for line in [
        "mm_http_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1",
        "mm_http_requests_total{path=\"/v1/models/{id}\",status=\"404\"} 1",
        "mm_http_requests_total{path=\"other\",status=\"404\"} 1",
        "mm_jobs_finished_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
    }
}

#[tokio::test]
async fn the_description_names_every_endpoint_and_no_schema_that_is_missing() {
    let answer = get(&app(), "/openapi.json").await;
    let document = answer.ok();
    for path in [
        CHAT,
        "/v1/responses",
        "/v1/responses/{id}",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
        "/v1/models",
        "/v1/models/{id}",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let schemas = &document["components"]["schemas"];
    for reference in answer.text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas[name].is_object(), "{name}");
    }
}
