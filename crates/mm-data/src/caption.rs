//! Captions as their sources write them: bytes of text, or values of JSON.
//!
//! Every source treats them alike. A byte-order mark and white space at the ends are taken off, and
//! a line ends in a line feed whatever system wrote it. A list of texts is as many captions. What
//! is null, empty or white space alone is no caption.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The most bytes of a caption: what is longer is no caption, and would fill a batch alone.
const MOST_BYTES: usize = 16 << 10;

/// What is wrong with text that holds the character 0: most often it is UTF-16.
pub(crate) const HAS_NUL: &str = "it has zero bytes, as text in UTF-16 has; wanted UTF-8";

/// Returns the caption in the bytes of a text file, which may be empty, or what is wrong with it.
pub(crate) fn caption(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > MOST_BYTES {
        let found = bytes.len();
        return Err(format!("its caption has {found} bytes, wanted at most {MOST_BYTES}"));
    }
    if bytes.contains(&0) {
        return Err(format!("its caption: {HAS_NUL}"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "its caption is not UTF-8")?;
    Ok(line_feeds(text.trim_start_matches('\u{feff}').trim()))
}

/// Writes every end of a line as a line feed, as reading a file in text mode does.
pub(crate) fn line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Returns the captions of a field of a JSON object: none where it is null or empty, several where
/// it is a list. `set` says where the name of the field comes from.
pub(crate) fn of_field(
    object: &Map<String, Value>,
    name: &str,
    set: &str,
) -> Result<Vec<String>, String> {
    match object.get(name) {
        Some(value) => of_value(value).map_err(|why| format!("its `{name}` {why}")),
        None => Err(format!("it has no `{name}`{set}, it has {}", keys(object))),
    }
}

fn of_value(value: &Value) -> Result<Vec<String>, String> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut found = Vec::new();
    for one in list {
        match one {
            Value::Null => {}
            Value::String(text) => {
                let text =
                    caption(text.clone().into_bytes()).map_err(|why| format!("is bad: {why}"))?;
                if !text.is_empty() && !found.contains(&text) {
                    found.push(text);
                }
            }
            other if list.len() == 1 && !value.is_array() => {
                return Err(format!("is {}, wanted a text or a list of texts", kind(other)));
            }
            other => {
                return Err(format!("is a list with {}, wanted a list of texts", kind(other)));
            }
        }
    }
    Ok(found)
}

/// Names the type of a value.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Names the keys of an object.
pub(crate) fn keys(object: &Map<String, Value>) -> String {
    let names: Vec<String> = object.keys().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Reads a JSON object. `NaN`, `Infinity` and `-Infinity`, which Python's `json` writes and JSON
/// (RFC 8259) does not know, are null: they stand in columns that nobody reads.
pub(crate) fn json_object(text: &[u8]) -> Result<Map<String, Value>, String> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    serde_json::from_slice(text).or_else(|why| match without_nan(text) {
        Cow::Owned(text) => serde_json::from_slice(&text).map_err(|why| why.to_string()),
        Cow::Borrowed(_) => Err(why.to_string()),
    })
}

/// Writes the numbers that JSON does not have as null, outside texts.
fn without_nan(text: &[u8]) -> Cow<'_, [u8]> {
    let (mut out, mut at, mut in_text, mut changed) = (Vec::new(), 0, false, false);
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        let number = [&b"NaN"[..], b"Infinity", b"-Infinity"]
            .into_iter()
            .find(|number| !in_text && rest.starts_with(number));
        if let Some(number) = number {
            out.extend_from_slice(b"null");
            (at, changed) = (at + number.len(), true);
            continue;
        }
        let step = if in_text && byte == b'\\' { rest.len().min(2) } else { 1 };
        in_text ^= byte == b'"';
        out.extend_from_slice(&rest[..step]);
        at += step;
    }
    if changed { Cow::Owned(out) } else { Cow::Borrowed(text) }
}

/// Returns a path as metadata writes it with `/` between its parts, where Windows writes `\`, and
/// without going into a folder and out again.
pub(crate) fn slashes(path: &str) -> String {
    let path = path.replace('\\', "/");
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/') {
        match (part, parts.last()) {
            (".", _) => {}
            ("..", Some(last)) if !matches!(*last, "" | "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Result<Vec<String>, String> {
        let Value::Object(object) = json!({ "text": value, "id": 1 }) else { unreachable!() };
        of_field(&object, "text", "")
    }

    #[test]
    fn captions_are_trimmed_and_bounded_and_their_lines_end_alike() {
        assert_eq!(caption("\u{feff} a cat\n".into()).unwrap(), "a cat");
        assert_eq!(
            caption("a cat\r\non a mat\rasleep\r\n".into()).unwrap(),
            "a cat\non a mat\nasleep"
        );
        assert_eq!(caption(vec![0xff]).unwrap_err(), "its caption is not UTF-8");
        assert!(caption(b"a\0 \0c\0a\0t\0".into()).unwrap_err().ends_with("wanted UTF-8"));
        assert!(caption(vec![b'a'; 20_000]).unwrap_err().contains("20000 bytes"));
    }

    #[test]
    fn a_list_is_as_many_captions_and_null_is_none_like_an_empty_text() {
        assert_eq!(of(json!("a\r\nb ")).unwrap(), ["a\nb"]);
        assert_eq!(of(json!(["a", null, " ", "b", "a"])).unwrap(), ["a", "b"]);
        for none in [json!(null), json!(""), json!(" \n"), json!([]), json!([null])] {
            assert_eq!(of(none).unwrap(), [""; 0]);
        }
        assert_eq!(
            of(json!(3)).unwrap_err(),
            "its `text` is a number, wanted a text or a list of texts"
        );
        assert_eq!(
            of(json!([true])).unwrap_err(),
            "its `text` is a list with a boolean, wanted a list of texts"
        );
        let Value::Object(object) = json!({ "a": 1, "b": 2 }) else { unreachable!() };
        assert_eq!(of_field(&object, "text", "").unwrap_err(), "it has no `text`, it has `a`, `b`");
    }

    #[test]
    fn a_number_that_json_does_not_have_is_null_outside_texts() {
        let found = json_object(br#"{"text": "NaN \" Infinity", "x": [NaN, -Infinity, Infinity]}"#);
        let Value::Object(wanted) = json!({ "text": "NaN \" Infinity", "x": [null, null, null] })
        else {
            unreachable!()
        };
        assert_eq!(found.unwrap(), wanted);
        assert!(json_object(br#"{"text": NaNa}"#).is_err());
        assert_eq!(json_object("\u{feff}{}".as_bytes()).unwrap(), Map::new());
    }

    #[test]
    fn a_path_of_metadata_goes_straight_to_its_file() {
        let paths = [(r"a\b.png", "a/b.png"), ("./a/../b.png", "b.png"), ("../../a", "../../a")];
        for (written, wanted) in [&paths[..], &[("/../a", "/../a"), ("a/..", "")]].concat() {
            assert_eq!(slashes(written), wanted);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_caption_or_an_object_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = json_object(&noise);
            let _ = caption(noise);
        }
    }
}
