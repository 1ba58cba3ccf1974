//! One line of interleaved JSONL: a whole document, text and images in any order.
//!
//! ```text
//! {"segments": [{"text": "what is this? "}, {"image": "cats/3.jpg", "loss": false}, {"text": "a cat"}]}
//! {"text": "words alone"}
//! ```
//!
//! An image is a path from the file's own folder on, or a data URI (`data:image/png;base64,…`). The
//! loss falls on every segment that does not say `"loss": false`. Other keys of a line are passed
//! over; a segment has none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// A document as a line writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Words alone; all of them are targets.
    Text(String),
    /// Text and images.
    Segments(Vec<Piece>),
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

/// Other keys, such as an `id` or a `url`, are nobody's slip: data sets have them.
#[derive(Deserialize)]
struct RawLine {
    text: Option<String>,
    segments: Option<Vec<RawSegment>>,
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

/// Reads one line, or says what is wrong with it.
pub(super) fn parse(line: &[u8]) -> Result<Line, String> {
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    let raw: RawLine = serde_json::from_slice(line).map_err(|why| why.to_string())?;
    match raw {
        RawLine { text: Some(text), segments: None } => Ok(Line::Text(text)),
        RawLine { text: None, segments: Some(segments) } if !segments.is_empty() => {
            let pieces = segments.into_iter().zip(1..).map(|(segment, number)| {
                piece(segment).map_err(|why| format!("segment {number}: {why}"))
            });
            Ok(Line::Segments(pieces.collect::<Result<_, _>>()?))
        }
        _ => Err("wanted `text`, or `segments` with at least one segment".into()),
    }
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
        (None, Some(uri)) if uri.starts_with("data:") => {
            Ok(Piece::Image { image: ImageData::Bytes(data_uri(&uri)?), target })
        }
        (None, Some(path)) if !path.is_empty() => {
            Ok(Piece::Image { image: ImageData::Path(path), target })
        }
        _ => Err("wanted either `text` or `image`".into()),
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
        assert_eq!(why("{}"), "wanted `text`, or `segments` with at least one segment");
        assert_eq!(why(r#"{"segments": []}"#), why("{}"));
        assert_eq!(
            why(r#"{"segments": [{"text": "a"}, {}]}"#),
            "segment 2: wanted either `text` or `image`"
        );
        assert!(why(r#"{"segments": [{"text": "a", "los": false}]}"#).contains("`los`"));
        assert!(why(r#"{"segments": [{"image": "data:image/png,xx"}]}"#).contains("`;base64`"));
        assert!(why(r#"{"segments": [{"image": "data:;base64,*"}]}"#).contains("no base64"));
    }

    #[test]
    fn a_line_learns_where_the_loss_falls_on_a_word_an_image_or_the_end() {
        let of = |segments: &str| match parse(format!("{{\"segments\": [{segments}]}}").as_bytes())
            .unwrap()
        {
            Line::Segments(pieces) => has_target(&pieces),
            Line::Text(text) => panic!("{text}"),
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
