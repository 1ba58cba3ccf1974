//! The body of a request for a response.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::json::{Refused, is_empty};
use super::super::settings::Strings;
use super::super::talk::Content;

/// A request for a response. Fields that are not known are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ResponsesRequest {
    /// The name of the model; the first that is served where it is missing.
    pub model: Option<String>,
    /// What is said: a text, or items in order.
    #[schema(value_type = Input, required = true, nullable = false)]
    pub input: Option<Input>,
    /// Stands before the first turn of this request alone.
    pub instructions: Option<String>,
    /// The response after which this one comes.
    pub previous_response_id: Option<String>,
    /// Whether the response is kept; it is unless this is `false`.
    pub store: Option<bool>,
    /// Whether the response comes in events as it is made.
    pub stream: Option<bool>,
    /// `image_generation`, where images may be made.
    pub tools: Option<Vec<Tool>>,
    pub tool_choice: Option<ToolChoice>,
    /// 0 to 2; 0, which is the default, always takes the likeliest token.
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// The most tokens of text.
    #[schema(minimum = 1)]
    pub max_output_tokens: Option<u64>,
    pub metadata: Option<Map<String, Value>>,
    pub user: Option<String>,
    /// Texts that end the response, at most four.
    pub stop: Option<Strings>,
    /// Decides every random choice, so that it repeats a response.
    pub seed: Option<i64>,
    /// Denoising steps of an image.
    #[schema(minimum = 1)]
    pub steps: Option<u64>,
    /// The scale of guidance of an image; 1 turns it off.
    #[schema(minimum = 0, maximum = 100)]
    pub guidance: Option<f64>,
    /// How an image is denoised: ddpm, ddim, dpm++2m, euler, heun.
    pub sampler: Option<String>,
    /// What images shall not look like.
    pub negative_prompt: Option<String>,
    /// Chooses among the `top_k` likeliest tokens.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub top_k: Option<u64>,
    /// Leaves out tokens whose probability is below this share of the highest.
    #[schema(minimum = 0, maximum = 1)]
    pub min_p: Option<f64>,
    /// The most images of a response.
    pub max_images: Option<u64>,
}

/// A text, or items in order.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "wanted a string or a list of items such as {\"role\": \"user\"}")]
pub(crate) enum Input {
    Text(String),
    Items(Vec<Item>),
}

/// A message, or an image that was drawn before.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct Item {
    /// `message`, which is the default, or `image_generation_call`.
    #[serde(rename = "type")]
    #[schema(pattern = "^(message|image_generation_call|reasoning)$")]
    pub kind: Option<String>,
    /// Who says a message: `system`, `developer`, `user` or `assistant`.
    #[schema(pattern = "^(system|developer|user|assistant)$")]
    pub role: Option<String>,
    /// What a message says.
    pub content: Option<Content>,
    /// The image of a call, in base64.
    pub result: Option<String>,
}

/// A tool that the model may use.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Tool {
    /// `image_generation` alone.
    #[serde(rename = "type")]
    #[schema(pattern = "^image_generation$")]
    pub kind: String,
    /// `generate`, `edit`, or `auto`: an edit where the user has sent an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(auto|generate|edit)$")]
    pub action: Option<String>,
    /// Clean estimates that are sent while an image is drawn, 0 to 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 3)]
    pub partial_images: Option<u64>,
    /// What an edit may change: transparent pixels or, in a mask without any, white ones.
    #[serde(skip_serializing)]
    pub input_image_mask: Option<MaskInput>,
    /// `auto`, or `WIDTHxHEIGHT` in multiples of the patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$")]
    pub size: Option<String>,
    /// `auto`, `low`, `medium` or `high`, which are all the same here; see `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(auto|low|medium|high)$")]
    pub quality: Option<String>,
    /// `png`, `jpeg` or `webp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(png|jpeg|webp)$")]
    pub output_format: Option<String>,
    /// The quality of JPEG, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub output_compression: Option<u64>,
    /// `opaque` or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(auto|opaque)$")]
    pub background: Option<String>,
    /// The share of the steps that an edit without a mask makes, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub strength: Option<f64>,
}

/// A mask in the request itself.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct MaskInput {
    /// A data URI.
    pub image_url: Option<String>,
    /// Not supported: files are not kept.
    pub file_id: Option<String>,
}

/// `auto`, `none`, `required`, or the tool that must be used.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "wanted a string, or {\"type\": \"image_generation\"}")]
pub(crate) enum ToolChoice {
    Mode(String),
    Tool {
        #[serde(rename = "type")]
        kind: String,
    },
}

/// What OpenAI's API has and is not done here.
pub(super) const REFUSED: &[Refused] = &[
    Refused {
        field: "background",
        is_harmless: |value| *value == false,
        why: "responses are made while the client waits, wanted false",
    },
    Refused {
        field: "conversation",
        is_harmless: |_| false,
        why: "conversations are not kept; `previous_response_id` goes on with a response",
    },
    Refused {
        field: "prompt",
        is_harmless: |_| false,
        why: "there are no prompts with names; `input` holds what is said",
    },
    Refused {
        field: "reasoning",
        is_harmless: |value| is_empty(value) || value["effort"] == "none",
        why: "this model writes no thoughts",
    },
    Refused {
        field: "text",
        is_harmless: |value| value.get("format").is_none_or(|format| format["type"] == "text"),
        why: "only plain text is written, wanted {\"format\": {\"type\": \"text\"}}",
    },
    Refused {
        field: "top_logprobs",
        is_harmless: |value| value.as_f64() == Some(0.0),
        why: "probabilities of tokens are not given",
    },
    Refused {
        field: "truncation",
        is_harmless: |value| value == "disabled",
        why: "nothing of a conversation is left out, wanted disabled",
    },
    Refused { field: "include", is_harmless: is_empty, why: "nothing can be added to a response" },
    Refused {
        field: "context_management",
        is_harmless: is_empty,
        why: "nothing of a conversation is left out",
    },
];
