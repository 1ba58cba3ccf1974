//! Streaming text: ids become whole characters as soon as they can, and a stop string ends the
//! text.

use std::sync::Arc;

use crate::{TextError, Tokenizer};

/// Decodes ids one by one, and returns a character as soon as its last byte is there.
///
/// What [`push`](Self::push) and [`finish`](Self::finish) return adds up to what
/// [`Tokenizer::decode`] returns for all ids.
///
/// ```
/// use mm_text::{TextStream, Tokenizer};
///
/// let tokenizer = Tokenizer::train(std::iter::empty(), 400)?; // one token for each byte
/// let ids = tokenizer.encode("é!");
/// let mut stream = TextStream::new(&tokenizer);
/// let text: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
/// assert_eq!(text, ["", "é", "!"]);
/// assert_eq!(stream.finish(), "");
/// # Ok::<(), mm_text::TextError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TextStream {
    pieces: Arc<[Vec<u8>]>,
    /// The start of a character whose other bytes may still come, at most three bytes.
    begun: Vec<u8>,
}

impl TextStream {
    /// Starts a stream that has seen no id.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self { pieces: tokenizer.pieces(), begun: Vec::new() }
    }

    /// Takes one more id and returns the text that no later id can change.
    pub fn push(&mut self, id: u32) -> String {
        self.begun.extend_from_slice(self.pieces.get(id as usize).map_or(&[], Vec::as_slice));
        let whole = whole_characters(&self.begun);
        let rest = self.begun.split_off(whole);
        let text = String::from_utf8_lossy(&self.begun).into_owned();
        self.begun = rest;
        text
    }

    /// Returns the rest: nothing, or U+FFFD for a character that was begun and not ended.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.begun).into_owned()
    }
}

/// Returns the length of the part of `bytes` that no further byte can turn into other text.
fn whole_characters(bytes: &[u8]) -> usize {
    let mut start = 0;
    while let Err(error) = std::str::from_utf8(&bytes[start..]) {
        start += error.valid_up_to();
        match error.error_len() {
            Some(wrong) => start += wrong,
            None => return start, // the end is missing, the rest is fine
        }
    }
    bytes.len()
}

/// Ends a text at the first of several stop strings, however the text is cut into pieces.
///
/// The stop string that ends first counts; of those that end at the same character, the longest.
/// Neither it nor anything after it is returned.
///
/// ```
/// use mm_text::StopStrings;
///
/// let mut stop = StopStrings::new(vec!["\nUser:".into()])?;
/// let text = ["Yes.\n\nUs", "er", ": and"].map(|piece| stop.push(piece));
/// assert_eq!(text, ["Yes.\n", "", ""]);
/// assert_eq!(stop.stopped(), Some("\nUser:"));
/// # Ok::<(), mm_text::TextError>(())
/// ```
#[derive(Debug, Clone)]
pub struct StopStrings {
    /// The stop strings, the longest first.
    stops: Vec<String>,
    /// The end of the text so far, which may begin a stop string.
    held: String,
    stopped: Option<usize>,
}

impl StopStrings {
    /// Ends the text at any of `stops`; an empty list never ends it. An empty stop string is an
    /// error.
    pub fn new(mut stops: Vec<String>) -> Result<Self, TextError> {
        if let Some(index) = stops.iter().position(String::is_empty) {
            return Err(TextError::EmptyStop { index });
        }
        stops.sort_by_key(|stop| std::cmp::Reverse(stop.len()));
        Ok(Self { stops, held: String::new(), stopped: None })
    }

    /// Takes the next piece of text and returns what is certain not to be part of a stop string.
    pub fn push(&mut self, text: &str) -> String {
        let mut certain = String::new();
        for character in text.chars() {
            if self.stopped.is_some() {
                break;
            }
            self.held.push(character);
            self.stopped = self.stops.iter().position(|stop| self.held.ends_with(stop));
            let keep = match self.stopped {
                Some(stop) => self.stops[stop].len(),
                None => self.possible_start(),
            };
            certain.extend(self.held.drain(..self.held.len() - keep));
        }
        certain
    }

    /// Returns the stop string that ended the text, if one did.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.map(|stop| self.stops[stop].as_str())
    }

    /// Returns what was held back, when no more text comes and no stop string was seen.
    pub fn finish(self) -> String {
        if self.stopped.is_some() { String::new() } else { self.held }
    }

    /// Returns the length of the longest end of `held` that begins a stop string.
    fn possible_start(&self) -> usize {
        let starts = self.held.char_indices().map(|(start, _)| &self.held[start..]);
        let mut possible = starts.filter(|end| self.stops.iter().any(|stop| stop.starts_with(end)));
        possible.next().map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::Special;

    /// Returns the text after each id, and at the end.
    fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
        let mut stream = TextStream::new(tokenizer);
        let mut text: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
        text.push(stream.finish());
        text
    }

    /// One token for each byte.
    static BYTES: LazyLock<Tokenizer> =
        LazyLock::new(|| Tokenizer::train(std::iter::empty(), Special::COUNT + 256).unwrap());

    #[test]
    fn a_character_split_over_tokens_comes_whole() {
        let tokenizer = &*BYTES;
        let ids = tokenizer.encode("aé🦀");
        assert_eq!(stream(tokenizer, &ids), ["a", "", "é", "", "", "", "🦀", ""]);
        assert_eq!(stream(tokenizer, &ids[..5]), ["a", "", "é", "", "", "\u{fffd}"]);
    }

    #[test]
    fn a_broken_character_does_not_hold_up_the_next() {
        let tokenizer = &*BYTES;
        let (crab, letter) = (tokenizer.encode("🦀"), tokenizer.encode("a")[0]);
        assert_eq!(stream(tokenizer, &[crab[0], crab[1], letter]), ["", "", "\u{fffd}a", ""]);
        assert_eq!(stream(tokenizer, &[crab[1], letter]), ["\u{fffd}", "a", ""]);
    }

    proptest! {
        #[test]
        fn a_stream_gives_what_decoding_at_once_gives(
            ids in prop::collection::vec(100u32..420, 0..40),
        ) {
            let tokenizer = &*BYTES;
            prop_assert_eq!(stream(tokenizer, &ids).concat(), tokenizer.decode(&ids));
        }

        #[test]
        fn where_the_text_is_cut_does_not_matter(
            text in "[abc]{0,12}",
            stops in prop::collection::vec("[abc]{1,3}", 0..4),
            cut in 0usize..12,
        ) {
            let run = |pieces: &[&str]| {
                let mut stop = StopStrings::new(stops.clone()).unwrap();
                let mut out: String = pieces.iter().map(|piece| stop.push(piece)).collect();
                let stopped = stop.stopped().map(str::to_owned);
                out += &stop.finish();
                (out, stopped)
            };
            let cut = cut.min(text.len());
            let (out, stopped) = run(&[&text]);
            prop_assert_eq!((out.clone(), stopped.clone()), run(&[&text[..cut], &text[cut..]]));
            match stopped {
                Some(stop) => {
                    prop_assert!(text.starts_with(&(out + &stop)) && stops.contains(&stop));
                }
                None => {
                    prop_assert!(out == text && !stops.iter().any(|stop| text.contains(stop)));
                }
            }
        }
    }

    /// Checks what comes out for each of `pieces`, then the end.
    fn check_stops(stops: &[&str], pieces: &[&str], expected: Expect) {
        let stops = stops.iter().map(|stop| stop.to_string()).collect();
        let mut stop = StopStrings::new(stops).unwrap();
        let mut lines: Vec<String> =
            pieces.iter().map(|piece| format!("{piece:?} -> {:?}", stop.push(piece))).collect();
        lines.push(format!("stopped by {:?}", stop.stopped()));
        lines.push(format!("end -> {:?}", stop.finish()));
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn a_stop_string_over_several_pieces_ends_the_text() {
        check_stops(
            &["</s>"],
            &["one <", "/", "b> <", "</", "s> two"],
            expect![[r#"
                "one <" -> "one "
                "/" -> ""
                "b> <" -> "</b> "
                "</" -> "<"
                "s> two" -> ""
                stopped by Some("</s>")
                end -> """#]],
        );
    }

    #[test]
    fn what_was_held_back_comes_at_the_end_when_nothing_stopped() {
        check_stops(
            &["ab", "€€"],
            &["xa", "€"],
            expect![[r#"
                "xa" -> "x"
                "€" -> "a"
                stopped by None
                end -> "€""#]],
        );
    }

    #[test]
    fn the_stop_string_that_ends_first_counts() {
        check_stops(
            &["abc", "b", "ab"],
            &["xabc"],
            expect![[r#"
                "xabc" -> "x"
                stopped by Some("ab")
                end -> """#]],
        );
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        let error = StopStrings::new(vec!["a".into(), String::new()]).unwrap_err();
        expect!["stop string 1 is empty, wanted at least one character"]
            .assert_eq(&error.to_string());
    }
}
