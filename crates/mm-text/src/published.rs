//! What is asked of the `tokenizer.json` of a published model, Fuyu's: its special tokens, and the
//! bytes that each of its tokens stands for.
//!
//! Such a tokenizer is the author's, so only its ends are checked: it must have the tokens that lay
//! out images, and a template that says how a document begins and ends.

use std::collections::HashSet;

use serde_json::Value;

use crate::TextError;
use crate::bytes::bytes_of;
use crate::special::{FUYU_NAMES, Rows, Special};

/// The character that stands for a blank in tokens of SentencePiece.
const BLANK: char = '\u{2581}';

/// How tokens stand for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PieceStyle {
    /// Each character is a byte, as in GPT-2.
    Bytes,
    /// Characters stand for themselves, `▁` for a blank and `<0xNN>` for a byte, as in
    /// SentencePiece. A blank that is put before each text is taken off again where this is set.
    Sentence {
        /// Whether it is.
        strips_blank: bool,
    },
}

impl PieceStyle {
    /// Finds how the tokens of a file stand for bytes.
    pub(crate) fn of(json: &Value) -> Self {
        let decoder = &json["decoder"];
        let has = |kind: &str| {
            let mut all = decoder["decoders"].as_array().into_iter().flatten();
            decoder["type"] == kind || all.any(|one| one["type"] == kind)
        };
        if has("ByteLevel") {
            return Self::Bytes;
        }
        let adds_none =
            decoder["prepend_scheme"] == "never" || decoder["add_prefix_space"] == false;
        Self::Sentence { strips_blank: has("Strip") || (has("Metaspace") && !adds_none) }
    }

    /// Returns the bytes of a token.
    pub(crate) fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            Self::Bytes => bytes_of(token).unwrap_or_else(|| token.as_bytes().to_vec()),
            Self::Sentence { .. } => {
                let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                match hex.filter(|hex| hex.len() == 2).map(|hex| u8::from_str_radix(hex, 16)) {
                    Some(Ok(byte)) => vec![byte],
                    _ => token.replace(BLANK, " ").into_bytes(),
                }
            }
        }
    }

    /// Says whether the first blank of a text is the tokenizer's own.
    pub(crate) fn strips_blank(self) -> bool {
        self == Self::Sentence { strips_blank: true }
    }
}

/// Returns the ids of the added tokens that stand for no text.
pub(crate) fn silent_ids(json: &Value) -> HashSet<u32> {
    let added = json["added_tokens"].as_array().into_iter().flatten();
    let special = added.filter(|token| token["special"] == true);
    special.filter_map(|token| u32::try_from(token["id"].as_u64()?).ok()).collect()
}

/// Returns the tokens that stand for the single bytes of a text.
pub(crate) fn byte_tokens(text: &str) -> Vec<String> {
    text.bytes().map(|byte| format!("<0x{byte:02X}>")).collect()
}

/// Says whether a file has the tokens by which Fuyu lays out images.
pub(crate) fn is_of_fuyu(json: &Value) -> bool {
    FUYU_NAMES[..2].iter().all(|name| {
        let added = json["added_tokens"].as_array().into_iter().flatten();
        let is_there = |pair: &Value| pair[0] == *name;
        let vocab = &json["model"]["vocab"];
        added.into_iter().any(|token| token["content"] == *name)
            || vocab.get(name).is_some()
            || vocab.as_array().is_some_and(|pairs| pairs.iter().any(is_there))
    })
}

/// Checks the parts of a file without which its special tokens are not known.
pub(crate) fn check(json: &Value) -> Result<(), TextError> {
    for part in ["truncation", "padding"] {
        if !json[part].is_null() {
            return Err(wrong(part, "given", "null"));
        }
    }
    Ok(())
}

/// Returns the special tokens of a file; `id_of` returns the id of a token.
pub(crate) fn special_of(
    json: &Value,
    id_of: &dyn Fn(&str) -> Option<u32>,
) -> Result<Special, TextError> {
    let need = |name: &str| {
        id_of(name).ok_or_else(|| wrong("model.vocab", &format!("without `{name}`"), "this token"))
    };
    let [image, newline, begin, answer] = FUYU_NAMES;
    let rows = Rows { newline: need(newline)?, answer: need(answer)? };
    Ok(Special::of_rows(need(begin)?, need(end_of(json)?)?, need(image)?, rows))
}

/// Returns the token with which the template of a file ends a document.
fn end_of(json: &Value) -> Result<&str, TextError> {
    let post = &json["post_processor"];
    let parts = if post["type"] == "Sequence" { post["processors"].as_array() } else { None };
    let single = match parts {
        Some(parts) => parts.iter().find_map(|part| part["single"].as_array()),
        None => post["single"].as_array(),
    };
    let last = single.and_then(|single| single.last()?["SpecialToken"]["id"].as_str());
    let wanted = "a template whose `single` ends with the token that ends a document";
    last.ok_or_else(|| wrong("post_processor", "another", wanted))
}

fn wrong(part: &str, found: &str, wanted: &str) -> TextError {
    TextError::Part { part: part.to_owned(), found: found.to_owned(), wanted: wanted.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Tokenizer;

    /// Makes a tokenizer of words as Fuyu has it, with a few tokens.
    fn file() -> Value {
        let words = [
            "<unk>",
            "<s>",
            "</s>",
            "|SPEAKER|",
            "|NEWLINE|",
            "<0x04>",
            "\u{2581}a",
            "\u{2581}cat",
        ];
        let mut vocab: Vec<(String, f64)> =
            words.iter().map(|word| ((*word).to_owned(), -1.0)).collect();
        vocab.extend(
            (0..=255u8).filter(|byte| *byte != 4).map(|byte| (format!("<0x{byte:02X}>"), -9.0)),
        );
        vocab.push(("\u{2581}".to_owned(), -5.0));
        let added = |id: usize| {
            json!({ "id": id, "content": words[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true })
        };
        let special = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
        let entry = |id: u32, name: &str| json!({ "id": name, "ids": [id], "tokens": [name] });
        let meta = json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
            "added_tokens": (0..6).map(added).collect::<Vec<_>>(),
            "pre_tokenizer": meta, "decoder": meta,
            "post_processor": { "type": "TemplateProcessing",
                "single": [special("<s>"), { "Sequence": { "id": "A", "type_id": 0 } }, special("</s>")],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
                "special_tokens": { "<s>": entry(1, "<s>"), "</s>": entry(2, "</s>") } },
            "model": { "type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": vocab },
        })
    }

    #[test]
    fn a_tokenizer_of_fuyu_reads_and_writes_text() {
        let tokenizer = Tokenizer::from_json(file().to_string().as_bytes()).unwrap();
        assert_eq!(tokenizer.decode(&tokenizer.encode("a cat")), "a cat");
        assert_eq!(tokenizer.encode("a cat"), [6, 7]);
        let odd = "caf\u{e9} |NEWLINE| <s>";
        assert_eq!(tokenizer.decode(&tokenizer.encode(odd)), odd);
        assert!(tokenizer.encode(odd).iter().all(|id| !tokenizer.special().is_special(*id)));
        let copy = Tokenizer::from_json(tokenizer.to_json().as_bytes()).unwrap();
        assert_eq!((copy.special(), copy.vocab()), (tokenizer.special(), tokenizer.vocab()));
        let special = tokenizer.special();
        assert_eq!([special.begin, special.end, special.image], [1, 2, 3]);
        assert_eq!(special.by_rows, Some(Rows { newline: 4, answer: 5 }));
        assert_eq!(
            (special.rows(3), special.cols_of(200), special.name(4)),
            (None, None, Some("|NEWLINE|".to_owned()))
        );
    }

    #[test]
    fn a_tokenizer_of_fuyu_without_its_ends_is_refused() {
        let check = |spoil: fn(&mut Value), wanted: &str| {
            let mut json = file();
            spoil(&mut json);
            let why = Tokenizer::from_json(json.to_string().as_bytes()).unwrap_err().to_string();
            assert_eq!(why, wanted);
        };
        check(
            |json| json["post_processor"] = Value::Null,
            "`post_processor` of the tokenizer is another, wanted a template whose `single` ends with the token that ends a document",
        );
        check(
            |json| json["padding"] = json!({}),
            "`padding` of the tokenizer is given, wanted null",
        );
    }
}
