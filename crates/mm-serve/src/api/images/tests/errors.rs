//! Wrong requests: each is refused in OpenAI's form with the field that is wrong.

use super::*;

/// Fails unless a body of JSON is refused with this status and field; returns the message.
async fn refused(served: &Served, path: &str, body: Value, status: u16, param: &str) -> String {
    let reply = served.json(path, &body).await;
    assert_eq!(reply.status.as_u16(), status, "{body}: {:?}", reply.body);
    assert_eq!(reply.param(), param, "{body}");
    let kind = reply.value()["error"]["type"].clone();
    assert_eq!(kind, "invalid_request_error", "{body}");
    reply.message()
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let served = serve();
    for (fields, param) in [
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "prompt": " \n" }), "prompt"),
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": 7 }), "prompt"),
        (json!({ "prompt": "a ".repeat(300) }), "prompt"),
        (json!({ "prompt": "a".repeat(100_000) }), "prompt"),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": 5 }), "n"),
        (json!({ "n": -1 }), "n"),
        (json!({ "n": 1.5 }), "n"),
        (json!({ "n": "2" }), "n"),
        (json!({ "n": 1e300 }), "n"),
        (json!({ "size": "8" }), "size"),
        (json!({ "size": "0x6" }), "size"),
        (json!({ "size": "8x6x1" }), "size"),
        (json!({ "size": "-8x6" }), "size"),
        (json!({ "size": "7x6" }), "size"),
        (json!({ "size": "99999999999999999999x1" }), "size"),
        (json!({ "size": "1000000x1000000" }), "size"),
        (json!({ "size": "18446744073709551614x2" }), "size"),
        (json!({ "size": 8 }), "size"),
        (json!({ "quality": 8 }), "quality"),
        (json!({ "background": "transparent" }), "background"),
        (json!({ "background": "red" }), "background"),
        (json!({ "output_format": "gif" }), "output_format"),
        (json!({ "output_format": "jpeg", "output_compression": 101 }), "output_compression"),
        (json!({ "output_format": "jpeg", "output_compression": -1 }), "output_compression"),
        (json!({ "output_compression": 50 }), "output_compression"),
        (json!({ "response_format": "url" }), "response_format"),
        (json!({ "response_format": "png" }), "response_format"),
        (json!({ "stream": "yes" }), "stream"),
        (json!({ "stream": true, "partial_images": 4 }), "partial_images"),
        (json!({ "partial_images": -1 }), "partial_images"),
        (json!({ "seed": "x" }), "seed"),
        (json!({ "seed": -1 }), "seed"),
        (json!({ "steps": 0 }), "steps"),
        (json!({ "steps": 9 }), "steps"),
        (json!({ "guidance": -0.1 }), "guidance"),
        (json!({ "guidance": 100.5 }), "guidance"),
        (json!({ "guidance": "NaN" }), "guidance"),
        (json!({ "guidance_interval": [0.5] }), "guidance_interval"),
        (json!({ "guidance_interval": [0.5, 0.25] }), "guidance_interval"),
        (json!({ "guidance_interval": [0, 1.5] }), "guidance_interval"),
        (json!({ "sampler": "euler2" }), "sampler"),
        (json!({ "sampler": "ddim:2" }), "sampler"),
        (json!({ "negative_prompt": "a ".repeat(300) }), "negative_prompt"),
        (json!({ "strength": 0.5 }), "strength"),
    ] {
        let mut body = json!({ "prompt": "ab" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        refused(&served, GENERATIONS, body, 400, param).await;
    }
    let body = json!({ "prompt": "ab", "model": "other" });
    let message = refused(&served, GENERATIONS, body, 404, "model").await;
    assert!(message.contains("tiny"), "{message}");
}

#[tokio::test]
async fn numbers_of_a_form_that_are_none_are_named() {
    let served = serve();
    let file = gradient(8, 6).encode_png();
    for (name, text) in [
        ("guidance", "NaN"),
        ("guidance", "inf"),
        ("guidance", "1e999"),
        ("guidance", "-1"),
        ("strength", "NaN"),
        ("strength", "1.01"),
        ("strength", "-0.0001"),
        ("n", ""),
        ("n", "two"),
        ("seed", "1.5"),
        ("stream", "yes"),
        ("guidance_interval", "0..1"),
        ("size", "8x7"),
        ("response_format", "url"),
    ] {
        let parts: &[Part<'_>] =
            &[("image@", &file[..]), ("prompt", b"ab"), (name, text.as_bytes())];
        let reply = served.form(EDITS, parts).await;
        assert_eq!((reply.status.as_u16(), reply.param().as_str()), (400, name), "{text}");
    }
}

#[tokio::test]
async fn a_size_that_cannot_be_drawn_names_those_that_can() {
    let served = serve();
    let body = json!({ "prompt": "ab", "size": "7x9" });
    let message = refused(&served, GENERATIONS, body, 400, "size").await;
    assert_eq!(
        message,
        "`size` is 7x9, wanted multiples of 2; the nearest sizes are 6x8 and 8x10; the model was \
         trained on 8x6"
    );
    let body = json!({ "prompt": "ab", "size": "40x40" });
    let message = refused(&served, GENERATIONS, body, 400, "size").await;
    assert!(message.contains("at most 64 patches of 2 x 2"), "{message}");
}

#[tokio::test]
async fn wrong_images_and_masks_are_named() {
    let served = serve();
    let file = gradient(8, 6).encode_png();
    let (image, not_one) = (uri(&file), uri(b"not an image"));
    let small = uri(&gradient(4, 4).encode_png());
    let black = uri(&Image::filled(8, 6, [0; 3]).encode_png());
    let white = uri(&Image::filled(8, 6, [255; 3]).encode_png());
    let five = vec![&image; 5];
    for (fields, param) in [
        (json!({}), "image"),
        (json!({ "image": [] }), "image"),
        (json!({ "image": 7 }), "image"),
        (json!({ "image": { "url": 7 } }), "image"),
        (json!({ "image": "https://example.com/k.png" }), "image"),
        (json!({ "image": "HTTP://example.com/k.png" }), "image"),
        (json!({ "image": "data:image/png,abc" }), "image"),
        (json!({ "image": "no base64 at all!" }), "image"),
        (json!({ "image": not_one }), "image"),
        (json!({ "image": [image, not_one] }), "image[1]"),
        (json!({ "images": [{ "file_id": "file-1" }] }), "images[0].file_id"),
        (json!({ "image": five }), "image"),
        (json!({ "image": image, "prompt": "" }), "prompt"),
        (json!({ "image": image, "mask": not_one }), "mask"),
        (json!({ "image": image, "mask": "https://example.com/m.png" }), "mask"),
        (json!({ "image": image, "mask": small }), "mask"),
        (json!({ "image": image, "mask": black }), "mask"),
        (json!({ "image": image, "mask": white, "size": "16x4" }), "size"),
        (json!({ "image": image, "size": "7x6" }), "size"),
        (json!({ "image": image, "strength": 2 }), "strength"),
    ] {
        let mut body = json!({ "prompt": "ab" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        refused(&served, EDITS, body, 400, param).await;
    }
    let body = json!({ "image": [image, image] });
    refused(&served, VARIATIONS, body, 400, "image").await;
    refused(&served, VARIATIONS, json!({}), 400, "image").await;
}

#[tokio::test]
async fn a_mask_of_another_size_names_both_sizes() {
    let served = serve();
    let (image, mask) = (gradient(8, 6).encode_png(), gradient(4, 4).encode_png());
    let parts: &[Part<'_>] = &[("image@", &image[..]), ("mask@", &mask[..]), ("prompt", b"ab")];
    let reply = served.form(EDITS, parts).await;
    assert_eq!((reply.status.as_u16(), reply.param().as_str()), (400, "mask"));
    assert_eq!(reply.message(), "the mask has 4 x 4 pixels, wanted 8 x 6");
}

#[tokio::test]
async fn a_body_that_is_no_object_or_of_another_type_is_refused() {
    let served = serve();
    for body in ["", "{", "[]", "7", "\"a\"", "{\"prompt\": \"a\"} x", "\u{feff}{}"] {
        let reply = served.ask(GENERATIONS, "application/json", body.into()).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(reply.value()["error"]["type"], "invalid_request_error", "{body}");
    }
    for kind in ["text/plain", "", "application/jsonp", "application/x-www-form-urlencoded"] {
        let reply = served.ask(GENERATIONS, kind, b"{\"prompt\": \"a\"}".to_vec()).await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    let reply = served.ask(EDITS, "multipart/form-data", form(&[])).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "there is no boundary");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_as_such() {
    let served = serve();
    let large = vec![b' '; (1 << 20) + 1];
    let reply = served.ask(GENERATIONS, "application/json", large.clone()).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    let reply = served.form(EDITS, &[("prompt", b"ab"), ("image@", &large)]).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(reply.message().contains("too large"), "{}", reply.message());
}
