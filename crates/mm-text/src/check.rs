//! What a `tokenizer.json` must say for the promises of [`Tokenizer`](crate::Tokenizer) to hold:
//! any text comes back, no text makes a special token, and no step happens that this crate does not
//! know.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::bytes::{ALPHABET, bytes_of};
use crate::{Special, TextError};

/// Refuses the first part of `json` that breaks a promise.
pub(crate) fn check(json: &Value) -> Result<(), TextError> {
    want(json, "model.type", "`BPE`", |value| value == "BPE")?;
    for part in ["normalizer", "post_processor", "truncation", "padding"] {
        want(json, part, "null", Value::is_null)?;
    }
    want(json, "pre_tokenizer.type", "`ByteLevel`", |value| value == "ByteLevel")?;
    want(json, "pre_tokenizer.add_prefix_space", "false", |value| value == false)?;
    want(json, "decoder.type", "`ByteLevel`", |value| value == "ByteLevel")?;
    for part in ["model.dropout", "model.unk_token"] {
        want(json, part, "null", Value::is_null)?;
    }
    for part in ["model.continuing_subword_prefix", "model.end_of_word_suffix"] {
        want(json, part, "null", |value| value.is_null() || value == "")?;
    }
    for part in ["model.byte_fallback", "model.ignore_merges"] {
        want(json, part, "false", |value| value.is_null() || value == false)?;
    }
    check_vocab(json)?;
    check_merges(json)?;
    check_added(json)
}

fn check_vocab(json: &Value) -> Result<(), TextError> {
    const PART: &str = "model.vocab";
    let empty = Map::new();
    let vocab = want(json, PART, "an object of tokens and their ids", Value::is_object)?;
    let vocab = vocab.as_object().unwrap_or(&empty);
    check_special(PART, |name| vocab.get(name))?;

    let ids = format!("each id from 0 to {} once", vocab.len() - 1);
    let mut taken = vec![false; vocab.len()];
    for (token, id) in vocab {
        let slot = id.as_u64().and_then(|id| taken.get_mut(usize::try_from(id).ok()?));
        if slot.is_none_or(|slot| std::mem::replace(slot, true)) {
            return Err(wrong(PART, format!("`{token}` with id {}", short(id)), ids));
        }
        let special = id.as_u64().is_some_and(|id| id < Special::COUNT as u64);
        if !special && bytes_of(token).is_none_or(|bytes| bytes.is_empty()) {
            return Err(wrong(
                PART,
                format!("`{token}`"),
                "byte-level characters in each token".into(),
            ));
        }
    }
    match ALPHABET.iter().position(|&character| !vocab.contains_key(&character.to_string())) {
        Some(byte) => {
            Err(wrong(PART, format!("without byte {byte:#04x}"), "a token for each byte".into()))
        }
        None => Ok(()),
    }
}

/// Refuses merges that spell a special token, because text would then turn into it.
fn check_merges(json: &Value) -> Result<(), TextError> {
    let merges = want(json, "model.merges", "an array of pairs", Value::is_array)?;
    let names: HashSet<String> = Special::default().names().collect();
    for merge in merges.as_array().into_iter().flatten() {
        let whole = match merge {
            Value::String(pair) => pair.split(' ').collect(), // as files before 2024 have it
            pair => {
                pair.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<String>()
            }
        };
        if names.contains::<String>(&whole) {
            return Err(wrong("model.merges", short(merge), "merges that make text".into()));
        }
    }
    Ok(())
}

fn check_added(json: &Value) -> Result<(), TextError> {
    const PART: &str = "added_tokens";
    let added = want(json, PART, "an array of the special tokens", Value::is_array)?;
    let added: Vec<&Value> = added.as_array().into_iter().flatten().collect();
    check_special(PART, |name| Some(&added.iter().find(|token| token["content"] == name)?["id"]))?;
    for token in &added {
        if token["special"] != true || token["lstrip"] == true || token["rstrip"] == true {
            return Err(wrong(
                PART,
                short(token),
                "`special` true, `lstrip` and `rstrip` false".into(),
            ));
        }
    }
    let known = |token: &Value| Special::default().names().any(|name| token["content"] == name);
    match added.iter().find(|token| !known(token)) {
        Some(token) => Err(wrong(PART, short(&token["content"]), "the special tokens only".into())),
        None => Ok(()),
    }
}

/// Checks that every special token stands in `part` with its id.
fn check_special<'a>(
    part: &'static str,
    id_of: impl Fn(&str) -> Option<&'a Value>,
) -> Result<(), TextError> {
    for (wanted, name) in (0u32..).zip(Special::default().names()) {
        match id_of(&name) {
            None => return Err(TextError::MissingSpecial { part, name, wanted }),
            Some(id) if *id != wanted => {
                return Err(TextError::MisplacedSpecial { part, name, found: short(id), wanted });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Returns the value at a path such as `model.type` if it is `fine`; an absent value counts as
/// null.
fn want<'a>(
    json: &'a Value,
    part: &str,
    wanted: &str,
    fine: impl Fn(&Value) -> bool,
) -> Result<&'a Value, TextError> {
    let value = part.split('.').try_fold(json, |value, key| value.get(key));
    let found = value.unwrap_or(&Value::Null);
    if fine(found) {
        return Ok(found);
    }
    Err(wrong(part, value.map_or("missing".into(), short), wanted.into()))
}

fn wrong(part: &str, found: String, wanted: String) -> TextError {
    TextError::Part { part: part.into(), found, wanted }
}

/// Returns a value as a message shows it: a string in backticks, anything long cut.
fn short(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = value.as_str().map_or_else(|| value.to_string(), |text| format!("`{text}`"));
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::Tokenizer;

    /// Spoils a good tokenizer by `spoil` and checks the message that this gives.
    fn check_refusal(spoil: impl FnOnce(&mut Value), expected: Expect) {
        let good = Tokenizer::train(["low lower lowest".to_owned()].into_iter(), 392).unwrap();
        let mut json: Value = serde_json::from_str(&good.to_json()).unwrap();
        assert!(Tokenizer::from_json(json.to_string().as_bytes()).is_ok());
        spoil(&mut json);
        let error = Tokenizer::from_json(json.to_string().as_bytes()).unwrap_err();
        expected.assert_eq(&error.to_string());
    }

    fn check_refused_value(path: &str, value: Value, expected: Expect) {
        check_refusal(|json| *json.pointer_mut(path).unwrap() = value, expected);
    }

    #[test]
    fn a_file_that_is_not_a_tokenizer_is_refused() {
        let refuse = |text: &str| Tokenizer::from_json(text.as_bytes()).unwrap_err().to_string();
        expect!["cannot read the tokenizer as a `tokenizer.json`"].assert_eq(&refuse("{"));
        expect!["`model.type` of the tokenizer is missing, wanted `BPE`"].assert_eq(&refuse("[]"));
        check_refused_value(
            "/version",
            json!("2.0"),
            expect!["cannot read the tokenizer as a `tokenizer.json`"],
        );
    }

    #[test]
    fn parts_that_lose_text_are_refused() {
        check_refused_value(
            "/model/type",
            json!("WordPiece"),
            expect!["`model.type` of the tokenizer is `WordPiece`, wanted `BPE`"],
        );
        check_refused_value(
            "/normalizer",
            json!({ "type": "Lowercase" }),
            expect![[r#"`normalizer` of the tokenizer is {"type":"Lowercase"}, wanted null"#]],
        );
        check_refused_value(
            "/pre_tokenizer/add_prefix_space",
            json!(true),
            expect!["`pre_tokenizer.add_prefix_space` of the tokenizer is true, wanted false"],
        );
        check_refused_value(
            "/pre_tokenizer",
            json!(null),
            expect!["`pre_tokenizer.type` of the tokenizer is missing, wanted `ByteLevel`"],
        );
        check_refused_value(
            "/decoder/type",
            json!("BPEDecoder"),
            expect!["`decoder.type` of the tokenizer is `BPEDecoder`, wanted `ByteLevel`"],
        );
        check_refused_value(
            "/model/dropout",
            json!(0.5),
            expect!["`model.dropout` of the tokenizer is 0.5, wanted null"],
        );
        check_refused_value(
            "/model/end_of_word_suffix",
            json!("</w>"),
            expect!["`model.end_of_word_suffix` of the tokenizer is `</w>`, wanted null"],
        );
        check_refused_value(
            "/model/ignore_merges",
            json!(true),
            expect!["`model.ignore_merges` of the tokenizer is true, wanted false"],
        );
        check_refused_value(
            "/truncation",
            json!({ "max_length": 512, "strategy": "LongestFirst", "stride": 0, "direction": "Right" }),
            expect![[
                r#"`truncation` of the tokenizer is {"direction":"Right","max_length":512,"strategy":"LongestFir..., wanted null"#
            ]],
        );
    }

    #[test]
    fn vocabularies_with_gaps_or_without_a_byte_are_refused() {
        let rename = |old: &'static str, new: &'static str| {
            move |json: &mut Value| {
                let vocab = json["model"]["vocab"].as_object_mut().unwrap();
                let id = vocab.remove(old).unwrap();
                vocab.insert(new.into(), id);
            }
        };
        check_refusal(
            rename("A", "AB"),
            expect![
                "`model.vocab` of the tokenizer is without byte 0x41, wanted a token for each byte"
            ],
        );
        check_refusal(
            rename("A", "A B"),
            expect![
                "`model.vocab` of the tokenizer is `A B`, wanted byte-level characters in each token"
            ],
        );
        check_refused_value(
            "/model/vocab/A",
            json!(5000),
            expect![
                "`model.vocab` of the tokenizer is `A` with id 5000, wanted each id from 0 to 391 once"
            ],
        );
        check_refused_value(
            "/model/vocab/A",
            json!(200),
            expect![
                "`model.vocab` of the tokenizer is `d` with id 200, wanted each id from 0 to 391 once"
            ],
        );
        check_refused_value(
            "/model/vocab",
            json!([]),
            expect![
                "`model.vocab` of the tokenizer is [], wanted an object of tokens and their ids"
            ],
        );
    }

    #[test]
    fn special_tokens_that_are_missing_or_misplaced_are_refused() {
        let remove = |json: &mut Value| {
            drop(json["model"]["vocab"].as_object_mut().unwrap().remove("[IMG]"))
        };
        check_refusal(
            remove,
            expect![
                "special token `[IMG]` is missing from `model.vocab` of the tokenizer, wanted it with id 3"
            ],
        );
        check_refused_value(
            "/model/vocab/[~1IMG]",
            json!(7),
            expect!["special token `[/IMG]` has id 7 in `model.vocab` of the tokenizer, wanted 4"],
        );
        check_refused_value(
            "/added_tokens",
            json!([]),
            expect![
                "special token `[PAD]` is missing from `added_tokens` of the tokenizer, wanted it with id 0"
            ],
        );
        check_refused_value(
            "/added_tokens/3/id",
            json!(9),
            expect!["special token `[IMG]` has id 9 in `added_tokens` of the tokenizer, wanted 3"],
        );
        check_refused_value(
            "/added_tokens/3/special",
            json!(false),
            expect![[
                r#"`added_tokens` of the tokenizer is {"content":"[IMG]","id":3,"lstrip":false,"normalized":false,..., wanted `special` true, `lstrip` and `rstrip` false"#
            ]],
        );
        let tool = json!({ "id": 392, "content": "<tool>", "special": true });
        check_refusal(
            |json| json["added_tokens"].as_array_mut().unwrap().push(tool),
            expect!["`added_tokens` of the tokenizer is `<tool>`, wanted the special tokens only"],
        );
    }

    #[test]
    fn merges_that_spell_a_special_token_are_refused() {
        check_refused_value(
            "/model/merges/0",
            json!(["[PA", "D]"]),
            expect![[
                r#"`model.merges` of the tokenizer is ["[PA","D]"], wanted merges that make text"#
            ]],
        );
        check_refused_value(
            "/model/merges/0",
            json!("[PA D]"),
            expect!["`model.merges` of the tokenizer is `[PA D]`, wanted merges that make text"],
        );
        check_refused_value(
            "/model/merges",
            json!(null),
            expect!["`model.merges` of the tokenizer is null, wanted an array of pairs"],
        );
    }
}
