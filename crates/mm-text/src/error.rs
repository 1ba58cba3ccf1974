//! What can be wrong with a tokenizer, its training or the sampling options.

/// Everything this crate refuses; each message names what was found and what was wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The bytes are not JSON, or a part of the JSON has a shape that no tokenizer has.
    #[error("cannot read the tokenizer as a `tokenizer.json`")]
    Json {
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// A part of the tokenizer would make it lose text or would hide ids from this crate.
    #[error("`{part}` of the tokenizer is {found}, wanted {wanted}")]
    Part {
        /// The path in the JSON, such as `model.type`.
        part: String,
        /// The value that stands there, shortened.
        found: String,
        /// Says what has to stand there.
        wanted: String,
    },
    /// A special token is missing.
    #[error(
        "special token `{name}` is missing from `{part}` of the tokenizer, wanted it with id {wanted}"
    )]
    MissingSpecial {
        /// The path in the JSON: `model.vocab` or `added_tokens`.
        part: &'static str,
        /// The token's text.
        name: String,
        /// The id it should have.
        wanted: u32,
    },
    /// A special token has another id.
    #[error("special token `{name}` has id {found} in `{part}` of the tokenizer, wanted {wanted}")]
    MisplacedSpecial {
        /// The path in the JSON: `model.vocab` or `added_tokens`.
        part: &'static str,
        /// The token's text.
        name: String,
        /// The id it has.
        found: String,
        /// The id it should have.
        wanted: u32,
    },
    /// The vocabulary asked for has no room for the special tokens and all bytes.
    #[error(
        "`vocab` is {found}, wanted at least {wanted} for the special tokens and the 256 bytes"
    )]
    VocabTooSmall {
        /// The size asked for.
        found: usize,
        /// The smallest size that works.
        wanted: usize,
    },
    /// An option of [`TokenSampling`](crate::TokenSampling) is out of its range.
    #[error("`{field}` is {found}, wanted {wanted}")]
    Sampling {
        /// The option's name.
        field: &'static str,
        /// Its value.
        found: String,
        /// The values that are allowed.
        wanted: &'static str,
    },
    /// An empty stop string would stop before the first character.
    #[error("stop string {index} is empty, wanted at least one character")]
    EmptyStop {
        /// Its index in the list, from 0.
        index: usize,
    },
}
