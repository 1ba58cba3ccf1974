//! A response as it is sent.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::usage::ResponseUsage;
use super::request::{Tool, ToolChoice};

/// A response.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct ResponseObject {
    pub id: String,
    /// Always `response`.
    pub object: &'static str,
    pub created_at: u64,
    pub completed_at: Option<u64>,
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    pub status: &'static str,
    /// Always `false`.
    pub background: bool,
    pub error: Option<ResponseError>,
    pub incomplete_details: Option<IncompleteDetails>,
    pub instructions: Option<String>,
    pub max_output_tokens: Option<u64>,
    pub model: String,
    pub output: Vec<OutputItem>,
    pub parallel_tool_calls: bool,
    pub previous_response_id: Option<String>,
    pub store: bool,
    pub temperature: f64,
    pub top_p: f64,
    pub text: TextSettings,
    pub tool_choice: Option<ToolChoice>,
    pub tools: Vec<Tool>,
    /// Always `disabled`.
    pub truncation: &'static str,
    pub usage: Option<ResponseUsage>,
    pub user: Option<String>,
    pub metadata: Map<String, Value>,
    /// The seed of every random choice.
    pub seed: u64,
}

/// Why a response failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ResponseError {
    pub code: &'static str,
    pub message: String,
}

/// Why a response ended before its end.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct IncompleteDetails {
    /// Always `max_output_tokens`.
    pub reason: &'static str,
}

/// How text is written.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct TextSettings {
    pub format: TextFormat,
}

/// The form of text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TextFormat {
    /// Always `text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl Default for TextFormat {
    fn default() -> Self {
        Self { kind: "text" }
    }
}

/// Something that the model has made.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutputItem {
    Message(OutputMessage),
    ImageGenerationCall(OutputImage),
}

/// A text that the model has written.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct OutputMessage {
    pub id: String,
    /// `in_progress`, `completed` or `incomplete`.
    pub status: &'static str,
    /// Always `assistant`.
    pub role: &'static str,
    pub content: Vec<OutputText>,
}

/// The words of a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct OutputText {
    /// Always `output_text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub text: String,
    pub annotations: Vec<String>,
    pub logprobs: Vec<String>,
}

/// An image that the model has drawn.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct OutputImage {
    pub id: String,
    /// `in_progress` or `completed`.
    pub status: &'static str,
    /// The image file, in base64.
    pub result: Option<String>,
    /// `WIDTHxHEIGHT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    pub output_format: &'static str,
    /// `generate` or `edit`.
    pub action: &'static str,
    /// Always `opaque`.
    pub background: &'static str,
    /// Always `auto`.
    pub quality: &'static str,
}

impl OutputText {
    /// Makes a text.
    pub fn of(text: String) -> Self {
        Self { kind: "output_text", text, annotations: vec![], logprobs: vec![] }
    }
}

impl ResponseObject {
    /// Returns about how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let items = self.output.iter().map(|item| match item {
            OutputItem::Message(message) => {
                message.content.iter().map(|part| part.text.len()).sum()
            }
            OutputItem::ImageGenerationCall(call) => call.result.as_ref().map_or(0, String::len),
        });
        let metadata =
            self.metadata.iter().map(|(name, value)| name.len() + value.to_string().len());
        let texts = [&self.instructions, &self.user].into_iter().flatten().map(String::len);
        size_of::<Self>() + items.chain(metadata).chain(texts).sum::<usize>()
    }
}
