//! Errors of deserialization in words that somebody who does not know Rust understands.

/// Returns serde's words about a value of the wrong type without the names of Rust's types; other
/// words as they are.
///
/// ```
/// let said = mm_model::plain_words("invalid type: string \"many\", expected u64");
/// assert_eq!(said, "found the text \"many\", wanted a whole number, 0 or more");
/// let said = mm_model::plain_words("invalid type: integer `7`, expected a string at line 1 column 5");
/// assert_eq!(said, "found 7, wanted a text in quotes, at line 1 column 5");
/// assert_eq!(mm_model::plain_words("missing field `n`"), "missing field `n`");
/// ```
pub fn plain_words(words: &str) -> String {
    let of_type = words.strip_prefix("invalid type: ");
    let refused = of_type.or_else(|| words.strip_prefix("invalid value: "));
    let refused = refused.or_else(|| words.strip_prefix("invalid length "));
    let Some((found, wanted)) = refused.and_then(|rest| rest.split_once(", expected ")) else {
        return words.to_owned();
    };
    // serde_json says where, behind what it wanted.
    let (wanted, place) = match wanted.split_once(" at line ") {
        Some((wanted, place)) => (wanted, format!(", at line {place}")),
        None => (wanted, String::new()),
    };
    let found = match found {
        "map" => "a table of fields".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" => "nothing".to_owned(),
        count if words.starts_with("invalid length ") => format!("a list of {count}"),
        _ => match found.split_once(" \"") {
            Some(("string", text)) => format!("the text \"{text}"),
            _ => found.split('`').nth(1).unwrap_or(found).to_owned(),
        },
    };
    let wanted = match wanted {
        "u8" => "a whole number from 0 to 255",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a sequence" => "a list",
        table if table.starts_with("struct ") => "a table of fields",
        table if table.starts_with("internally tagged enum ") => "a table with its kind",
        other => other,
    };
    format!("found {found}, wanted {wanted}{place}")
}
