//! The answer to a chat completion that is sent as a whole, and what it shares with a stream.

use mm_patch::PngText;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::run::{Made, Piece};
use super::super::usage::ChatUsage;
use crate::FinishReason;
use crate::encode::data_uri;
use crate::id::{new_id, now};

/// What every object of one answer says.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub id: String,
    pub created: u64,
    pub model: String,
}

impl Header {
    /// Makes the header of a new answer.
    pub fn new(model: &str) -> Self {
        let id = new_id("chatcmpl").replacen('_', "-", 1);
        Self { id, created: now(), model: model.to_owned() }
    }
}

/// The program, which together with the model and the seed says what is made.
pub(super) const FINGERPRINT: &str = concat!("mm-", env!("CARGO_PKG_VERSION"));

/// A chat completion.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChatAnswer {
    id: String,
    /// Always `chat.completion`.
    object: &'static str,
    created: u64,
    model: String,
    system_fingerprint: &'static str,
    choices: Vec<Choice>,
    usage: ChatUsage,
}

/// One answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Choice {
    index: usize,
    message: AnswerMessage,
    /// `stop` or `length`.
    finish_reason: &'static str,
    logprobs: Option<String>,
}

/// What was answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AnswerMessage {
    /// Always `assistant`.
    role: &'static str,
    /// The text, without images.
    content: String,
    refusal: Option<String>,
    /// The images, where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<AnswerPart>,
    /// Texts and images in the order in which they were made, where there are images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<AnswerPart>,
}

/// A text or an image of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum AnswerPart {
    Text {
        text: String,
    },
    ImageUrl {
        /// The number of the image in the answer, from 0.
        #[serde(skip_serializing_if = "Option::is_none")]
        index: Option<usize>,
        image_url: AnswerUrl,
    },
}

/// Where an image of an answer is: in the answer itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AnswerUrl {
    /// A data URI of a PNG file.
    pub url: String,
}

impl ChatAnswer {
    /// Makes the answer of what its jobs have made, each with what PNG files say of its images.
    pub fn of(header: Header, made: Vec<(Made, Vec<PngText>)>) -> Self {
        let usage: Vec<_> = made.iter().map(|(made, _)| made.usage).collect();
        let choice = |(index, (made, texts)): (usize, (Made, Vec<PngText>))| Choice {
            index,
            finish_reason: finish_reason(made.reason),
            message: AnswerMessage::of(made.pieces, &texts),
            logprobs: None,
        };
        let Header { id, created, model } = header;
        Self {
            id,
            object: "chat.completion",
            created,
            model,
            system_fingerprint: FINGERPRINT,
            choices: made.into_iter().enumerate().map(choice).collect(),
            usage: ChatUsage::of(&usage),
        }
    }
}

impl AnswerMessage {
    fn of(pieces: Vec<Piece>, texts: &[PngText]) -> Self {
        let mut content = String::new();
        let mut images = vec![];
        let mut parts = vec![];
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    content.push_str(&text);
                    parts.push(AnswerPart::Text { text });
                }
                Piece::Image(image) => {
                    let image_url = AnswerUrl { url: data_uri(&image, texts) };
                    let index = Some(images.len());
                    images.push(AnswerPart::ImageUrl { index, image_url: image_url.clone() });
                    parts.push(AnswerPart::ImageUrl { index: None, image_url });
                }
            }
        }
        if images.is_empty() {
            parts.clear();
        }
        Self { role: "assistant", content, refusal: None, images, parts }
    }
}

/// Returns the word for why a text ended.
pub(super) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}
