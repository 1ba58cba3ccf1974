//! One line of interleaved JSONL: a whole document, text and images in any order.
//!
//! ```text
//! {"segments": [{"text": "what is this? "}, {"image": "cats/3.jpg", "loss": false}, {"text": "a cat"}]}
//! {"text": "words alone"}
//! {"image": "cats/3.jpg", "text": "a cat"}
//! ```
//!
//! The last is an image with its caption, or with each caption of a list, of which documents of
//! several tasks are made. An image is a path from the file's own folder on, or a data URI
//! (`data:image/png;base64,…`). The loss falls on every segment that does not say `"loss": false`.
//! Other keys of a line are passed over, unless they mean an image: a line in the form of another
//! data set is refused, since its words alone would be trained on without what they are about. A
//! segment has no other keys.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::caption::{HAS_NUL, json_object, keys, kind, of_field, slashes};
use crate::files::is_image;

/// A document as a line writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Words alone; all of them are targets.
    Text(String),
    /// Text and images.
    Segments(Vec<Piece>),
    /// An image and its captions, at least one.
    Captioned { image: ImageData, captions: Vec<String> },
}

/// A segment as a line writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text { text: String, target: bool },
    Image { image: ImageData, target: bool },
}

/// Where an image's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ImageData {
    /// A path, from the folder of the JSONL file on.
    Path(String),
    /// The bytes of the file, which stand in the line itself.
    Bytes(Vec<u8>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSegment {
    text: Option<String>,
    image: Option<String>,
    #[serde(default = "yes")]
    loss: bool,
}

fn yes() -> bool {
    true
}

/// What a line may be, for messages.
const WANTED: &str = "wanted `text`, `text` and `image` (a path or a data URI), or `segments` with at least one segment";

/// Reads one line, or says what is wrong with it.
pub(super) fn parse(line: &[u8]) -> Result<Line, String> {
    if line.contains(&0) {
        return Err(HAS_NUL.into());
    }
    let mut object = json_object(line)?;
    let other = |object: &Map<String, Value>| Err(format!("it has {}, {WANTED}", keys(object)));
    object.retain(|_, value| !value.is_null());
    let has = |key: &str| object.contains_key(key);
    if has("segments") && !has("text") && !has("image") {
        let segments = object.remove("segments").unwrap_or_default();
        let segments: Vec<RawSegment> =
            serde_json::from_value(segments).map_err(|why| format!("its `segments`: {why}"))?;
        if segments.is_empty() {
            return Err(format!("its `segments` are empty, {WANTED}"));
        }
        let pieces = segments.into_iter().zip(1..).map(|(segment, number)| {
            piece(segment).map_err(|why| format!("segment {number}: {why}"))
        });
        return Ok(Line::Segments(pieces.collect::<Result<_, _>>()?));
    }
    let only =
        |key: &str| object.iter().all(|(name, value)| name == key || !means_image(name, value));
    if has("segments") || !has("text") || !only("image") {
        return other(&object);
    }
    match object.get("image") {
        Some(Value::String(image)) => {
            let captions = of_field(&object, "text", "")?;
            if captions.is_empty() {
                return Err("its text is empty".into());
            }
            Ok(Line::Captioned { image: image_data(image)?, captions })
        }
        Some(value) if means_image("image", value) => {
            Err(format!("its `image` is {}, wanted a path or a data URI", kind(value)))
        }
        _ => match object.remove("text") {
            Some(Value::String(text)) if text.contains('\0') => Err(HAS_NUL.into()),
            Some(Value::String(text)) if text.contains("<image>") => {
                Err(format!("its text has `<image>`, but no image is beside it; {WANTED}"))
            }
            Some(Value::String(text)) => Ok(Line::Text(text)),
            Some(value) => Err(format!("its `text` is {}, wanted a text", kind(&value))),
            None => other(&object),
        },
    }
}

/// Returns whether a key and its value say that there are images beside the text: the key by one
/// of its words, or the value by the ending of a file, also within objects and lists.
fn means_image(name: &str, value: &Value) -> bool {
    let name = name.to_lowercase();
    let mut words = name.split(|sign: char| !sign.is_alphabetic());
    let is_word = words.any(|word| IMAGE_WORDS.contains(&word.strip_suffix('s').unwrap_or(word)));
    let is_said = is_word || IMAGE_PARTS.iter().any(|part| name.contains(part));
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes && is_said,
        Value::Number(number) => number.as_f64() != Some(0.0) && is_said,
        Value::String(text) => !text.is_empty() && (is_said || is_image_file(text)),
        Value::Array(list) => list.iter().any(|one| match one {
            Value::Null => false,
            Value::Number(_) => is_said, // also of pixels that are 0
            one => means_image(&name, one),
        }),
        Value::Object(object) => {
            !object.is_empty() && is_said || object.iter().any(|(key, one)| means_image(key, one))
        }
    }
}

/// What a key that means an image has in it.
const IMAGE_PARTS: [&str; 5] = ["image", "img", "photo", "pictu", "pixel"];
/// The words of a key that mean an image; also with an `s`.
const IMAGE_WORDS: [&str; 9] =
    ["figure", "frame", "jpeg", "jpg", "pic", "png", "screenshot", "video", "webp"];

/// Returns whether a text is the name or the address of an image file, or holds one.
fn is_image_file(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    text.starts_with("data:image/")
        || !text.contains(char::is_whitespace) && is_image(Path::new(path))
}

/// Whether the loss falls on anything: a word, an image, or the end, which is a target with the
/// last segment.
pub(super) fn has_target(pieces: &[Piece]) -> bool {
    let (mut any, mut last) = (false, false);
    for piece in pieces {
        let (target, empty) = match piece {
            Piece::Text { text, target } => (*target, text.is_empty()),
            Piece::Image { target, .. } => (*target, false),
        };
        any |= target && !empty;
        last = target;
    }
    any || last
}

fn piece(segment: RawSegment) -> Result<Piece, String> {
    let target = segment.loss;
    match (segment.text, segment.image) {
        (Some(text), None) => Ok(Piece::Text { text, target }),
        (None, Some(image)) if !image.is_empty() => {
            Ok(Piece::Image { image: image_data(&image)?, target })
        }
        _ => Err("wanted either `text` or `image`".into()),
    }
}

/// Returns the image of a data URI, or of a path.
fn image_data(text: &str) -> Result<ImageData, String> {
    match text {
        "" => Err("its `image` is empty, wanted a path or a data URI".into()),
        uri if uri.starts_with("data:") => Ok(ImageData::Bytes(data_uri(uri)?)),
        path if path.starts_with("http://") || path.starts_with("https://") => Err(format!(
            "its image is at `{path}`, wanted a path or a data URI: nothing is fetched"
        )),
        path => Ok(ImageData::Path(slashes(path))),
    }
}

/// The bytes of a data URI (RFC 2397) in base64.
pub(super) fn data_uri(uri: &str) -> Result<Vec<u8>, String> {
    let rest = uri.strip_prefix("data:").ok_or("a data URI begins with `data:`")?;
    let (head, data) = rest.split_once(',').ok_or("a data URI has a `,` before its data")?;
    if !head.ends_with(";base64") {
        return Err(format!("a data URI of the kind `{head}`, wanted one that ends in `;base64`"));
    }
    STANDARD.decode(data.trim()).map_err(|why| format!("a data URI that is no base64: {why}"))
}

/// The ends of the pieces that a long text is cut into: each has at most `most` bytes, and ends
/// behind white space where it has any, otherwise between characters.
pub(super) fn cuts(text: &str, most: usize) -> Vec<usize> {
    let (mut ends, mut start) = (Vec::new(), 0);
    while text.len() - start > most.max(4) {
        let end = text.floor_char_boundary(start + most.max(4));
        let space = text[start..end].rfind(char::is_whitespace);
        let behind =
            |at: usize| start + at + text[start + at..].chars().next().map_or(0, char::len_utf8);
        start = space.map_or(end, behind);
        ends.push(start);
    }
    ends.push(text.len());
    ends
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_text_or_segments_and_the_loss_falls_where_it_is_not_switched_off() {
        assert_eq!(parse(br#"{"text": "hi"}"#).unwrap(), Line::Text("hi".into()));
        let line = br#"{"segments": [{"text": "see "}, {"image": "a.png", "loss": false}, {"image": "data:image/png;base64,AAEC"}]}"#;
        let known = br#"{"id": 7, "text": "hi", "meta": {"url": "a.org"}}"#;
        assert_eq!(parse(known).unwrap(), Line::Text("hi".into()));
        let image = |image, target| Piece::Image { image, target };
        assert_eq!(
            parse(line).unwrap(),
            Line::Segments(vec![
                Piece::Text { text: "see ".into(), target: true },
                image(ImageData::Path("a.png".into()), false),
                image(ImageData::Bytes(vec![0, 1, 2]), true),
            ])
        );
    }

    #[test]
    fn wrong_lines_say_what_was_wanted() {
        let why = |line: &str| parse(line.as_bytes()).unwrap_err();
        assert!(why("not json").contains("line 1 column"));
        assert_eq!(why("{}"), format!("it has nothing, {WANTED}"));
        assert_eq!(why(r#"{"segments": []}"#), format!("its `segments` are empty, {WANTED}"));
        assert_eq!(why(r#"{"text": 3}"#), "its `text` is a number, wanted a text");
        assert_eq!(
            why(r#"{"segments": [{"text": "a"}, {}]}"#),
            "segment 2: wanted either `text` or `image`"
        );
        assert!(why(r#"{"segments": [{"text": "a", "los": false}]}"#).contains("`los`"));
        assert!(why(r#"{"segments": [{"image": "data:image/png,xx"}]}"#).contains("`;base64`"));
        assert!(why(r#"{"segments": [{"image": "data:;base64,*"}]}"#).contains("no base64"));
    }

    #[test]
    fn a_line_with_an_image_is_read_or_refused_and_never_its_text_alone() {
        let line =
            br#"{"id": 3, "image": "a\\\\b.png", "text": ["a cat", "\\u00e4 cat"], "score": NaN}"#;
        let line = String::from_utf8_lossy(line).replace("\\\\", "\\");
        assert_eq!(
            parse(line.as_bytes()).unwrap(),
            Line::Captioned {
                image: ImageData::Path("a/b.png".into()),
                captions: vec!["a cat".into(), "ä cat".into()],
            }
        );
        let why = |line: &str| parse(line.as_bytes()).unwrap_err();
        let forms = [
            // OBELICS
            (r#"{"images": ["a.png", null], "texts": [null, "words"]}"#, "`images`, `texts`"),
            // MMC4
            (
                r#"{"image_info": [{"image_name": "a.png"}], "text_list": ["words"]}"#,
                "`image_info`, `text_list`",
            ),
            // LLaVA
            (
                r#"{"conversations": [], "id": "1", "image": "a.png"}"#,
                "`conversations`, `id`, `image`",
            ),
            (r#"{"caption": "a cat", "image": "a.png"}"#, "`caption`, `image`"),
            (r#"{"images": ["a.png"], "text": "<image> words"}"#, "`images`, `text`"),
            (r#"{"image_url": "a.org/b", "text": "words"}"#, "`image_url`, `text`"),
            (
                r#"{"image": "a.png", "segments": [], "text": "words"}"#,
                "`image`, `segments`, `text`",
            ),
        ];
        for (line, keys) in forms {
            assert_eq!(why(line), format!("it has {keys}, {WANTED}"));
        }
        for other in [
            r#""file_name": "0.png""#,
            r#""jpg": "AAEC""#,
            r#""pics": 3"#,
            r#""media": ["a/b.webp"]"#,
            r#""meta": {"image": "a"}"#,
            r#""url": "https://a.org/b.JPG?w=3""#,
            r#""frames": [[0, 0]]"#,
        ] {
            assert!(why(&format!(r#"{{{other}, "text": "words"}}"#)).contains(WANTED), "{other}");
        }
        assert!(why(r#"{"text": "<image>\nwords"}"#).contains("`<image>`"));
        assert_eq!(why(r#"{"text": "a\u0000b"}"#), HAS_NUL);
        assert_eq!(why("{\0\"\0t\0"), HAS_NUL);
        assert!(
            why(r#"{"image": {"bytes": "x"}, "text": "words"}"#).contains("`image` is an object")
        );
        assert!(why(r#"{"image": "https://a.org/b.png", "text": "words"}"#).contains("fetched"));
        assert_eq!(why(r#"{"image": "a.png", "text": " "}"#), "its text is empty");
        let bare = r#"{"text": "words", "image": null, "images": [], "has_image": false, "url": "a.org/b.html",
                  "timeframe": "1999", "path": "src/main.rs", "meta": {"pics": []}}"#;
        assert_eq!(parse(bare.as_bytes()).unwrap(), Line::Text("words".into()));
    }

    #[test]
    fn a_line_learns_where_the_loss_falls_on_a_word_an_image_or_the_end() {
        let of = |segments: &str| match parse(format!("{{\"segments\": [{segments}]}}").as_bytes())
            .unwrap()
        {
            Line::Segments(pieces) => has_target(&pieces),
            other => panic!("{other:?}"),
        };
        assert!(!of(r#"{"text": "a", "loss": false}, {"image": "a.png", "loss": false}"#));
        assert!(!of(r#"{"text": ""}, {"image": "a.png", "loss": false}"#));
        assert!(of(r#"{"text": "a"}, {"image": "a.png", "loss": false}"#));
        assert!(of(r#"{"image": "a.png"}, {"text": "a", "loss": false}"#));
        assert!(of(r#"{"image": "a.png", "loss": false}, {"text": ""}"#), "the end is a target");
    }

    proptest! {
        #[test]
        fn cuts_lose_nothing_and_are_short_enough(text in "\\PC{0,80}|[a-c ]{0,200}", most in 4_usize..30) {
            let ends = cuts(&text, most);
            let mut start = 0;
            for &end in &ends {
                prop_assert!(end - start <= most && (end > start || text.is_empty()));
                prop_assert!(text.is_char_boundary(end));
                start = end;
            }
            prop_assert_eq!(start, text.len());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(noise in prop::collection::vec(any::<u8>(), 0..120), text in "\\PC{0,60}") {
            let _ = parse(&noise);
            let _ = data_uri(&text);
            let _ = data_uri(&format!("data:;base64,{text}"));
            let _ = parse(format!("{{\"segments\": [{{\"text\": {text:?}}}]}}").as_bytes());
        }
    }
}
