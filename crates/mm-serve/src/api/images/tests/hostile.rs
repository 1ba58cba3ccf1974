//! Bodies that were cut off, that lie, or that hold anything at all: none is a fault of the server.

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;

/// Writes the beginning of a PNG file that claims so many pixels.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut file = gradient(4, 4).encode_png();
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    // The checksum of the header, so that it is read for what it says.
    let crc = crc32(&file[12..29]);
    file[29..33].copy_from_slice(&crc.to_be_bytes());
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[tokio::test]
async fn an_image_that_claims_too_many_pixels_is_refused_before_it_is_decoded() {
    let served = serve();
    let file = gradient(8, 6).encode_png();
    for (width, height) in [(10_000, 10_000), (101, 100), (u32::MAX >> 1, u32::MAX >> 1)] {
        let huge = claiming(width, height);
        for path in [EDITS, VARIATIONS] {
            let reply = served.form(path, &[("image@", &huge), ("prompt", b"ab")]).await;
            assert_eq!((reply.status.as_u16(), reply.param().as_str()), (400, "image"));
        }
        let parts: &[Part<'_>] = &[("image@", &file[..]), ("mask@", &huge[..]), ("prompt", b"ab")];
        let reply = served.form(EDITS, parts).await;
        assert_eq!((reply.status.as_u16(), reply.param().as_str()), (400, "mask"));
    }
    let reply = served.form(VARIATIONS, &[("image@", &claiming(10_000, 10_000))]).await;
    assert!(reply.message().contains("10000 x 10000"), "{}", reply.message());
}

#[tokio::test]
async fn answers_may_not_have_far_more_pixels_than_a_request_may() {
    let served = serve();
    // 90 x 90 pixels may be sent, but not be answered four times.
    let image = uri(&gradient(90, 90).encode_png());
    let body = json!({ "image": image, "prompt": "ab", "n": 4 });
    let reply = served.json(EDITS, &body).await;
    assert_eq!((reply.status.as_u16(), reply.param().as_str()), (400, "image"));
    assert!(reply.message().contains("8100 pixels"), "{}", reply.message());
}

#[tokio::test]
async fn special_tokens_in_a_prompt_are_letters() {
    let served = serve();
    for prompt in ["[IMG]", "[END][BEGIN]", "[ROWS=2][COLS=2][IMG]", "\0\u{202e}\u{fffd}"] {
        let reply = served.json(GENERATIONS, &json!({ "prompt": prompt, "seed": 1 })).await;
        let document = Document::of_text(prompt);
        let grid = served.model.grid().unwrap();
        assert_eq!(reply.images(), [served.draw(&document, grid, &served.model.options(1))]);
    }
}

/// Values that stand where they should not.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..6).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0..2.0).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9]{1,3}x[0-9]{1,3}".prop_map(Value::from),
        prop_oneof![Just("auto"), Just("jpeg"), Just("url"), Just("heun"), Just("data:,")]
            .prop_map(Value::from),
        Just(Value::from(uri(&gradient(4, 4).encode_png()))),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            inner.prop_map(|value| json!({ "image_url": value })),
        ]
    })
}

const FIELDS: [&str; 20] = [
    "model",
    "n",
    "size",
    "quality",
    "output_format",
    "output_compression",
    "stream",
    "partial_images",
    "seed",
    "steps",
    "guidance",
    "guidance_interval",
    "sampler",
    "negative_prompt",
    "strength",
    "background",
    "response_format",
    "image",
    "images",
    "mask",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_form_that_was_cut_off_anywhere_is_the_fault_of_the_client(share in 0.0..1.0) {
        let file = gradient(8, 6).encode_png();
        let whole = form(&[("prompt", b"ab"), ("image@", &file), ("mask@", &file), ("n", b"1")]);
        // All but the last four bytes, which are two dashes and an end of line.
        let end = ((whole.len() - 4) as f64 * share) as usize;
        let served = serve();
        let runtime = Runtime::new().unwrap();
        for path in [GENERATIONS, EDITS, VARIATIONS] {
            let reply = runtime.block_on(served.ask(path, &form_type(), whole[..end].to_vec()));
            prop_assert!(reply.status.is_client_error(), "{} at {}", reply.status, end);
            prop_assert!(reply.value()["error"]["message"].is_string());
        }
    }

    #[test]
    fn an_object_that_was_cut_off_anywhere_is_the_fault_of_the_client(share in 0.0..1.0) {
        let image = uri(&gradient(8, 6).encode_png());
        let whole = json!({ "prompt": "ab", "n": 1, "image": [image], "steps": 2 }).to_string();
        let end = (whole.len() as f64 * share) as usize;
        let served = serve();
        let runtime = Runtime::new().unwrap();
        for path in [GENERATIONS, EDITS, VARIATIONS] {
            let body = whole.as_bytes()[..end].to_vec();
            let reply = runtime.block_on(served.ask(path, "application/json", body));
            prop_assert_eq!(reply.status, StatusCode::BAD_REQUEST, "at {}", end);
        }
    }

    #[test]
    fn whatever_stands_in_the_fields_is_drawn_or_refused_with_a_reason(
        fields in proptest::collection::vec((0..FIELDS.len(), any_value()), 1..4),
        endpoint in 0..3_usize,
    ) {
        let path = [GENERATIONS, EDITS, VARIATIONS][endpoint];
        let mut body = json!({ "prompt": "ab", "steps": 1 });
        if path != GENERATIONS {
            body["image"] = Value::from(uri(&gradient(4, 4).encode_png()));
        }
        for (at, value) in fields {
            body[FIELDS[at]] = value;
        }
        let served = serve();
        let reply = Runtime::new().unwrap().block_on(served.json(path, &body));
        prop_assert!(!reply.status.is_server_error(), "{}: {:?}", body, reply.body);
        if reply.status != StatusCode::OK {
            prop_assert!(!reply.message().is_empty(), "{}", body);
        }
    }
}
