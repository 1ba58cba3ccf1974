//! `POST /v1/chat/completions`: a conversation of texts and images, answered with texts and images.
//!
//! `content` of the answer is its text. Its images stand in `images`, and texts and images
//! together, in the order in which they were made, in `parts`. A client that sends the whole
//! message back gives the model its own images again, to the bit.

mod answer;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use mm_model::{Document, GenerateOptions, Segment};
use mm_patch::PngText;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use self::answer::{ChatAnswer, Header};
use super::json::{JsonBody, Refused, StreamEvent, is_empty};
use super::run::collect;
use super::settings::{Settings, Strings, count};
use super::talk::{Content, Part, Reader, Role, Said, check_text, last_words, prompt_of, turns_of};
use crate::encode::texts_of;
use crate::error::{ApiError, ErrorAnswer, beginning};
use crate::state::AppState;
use crate::tally::Tally;
use crate::{Job, Task, Ticket};

/// A request for a chat completion. Fields that are not known are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ChatRequest {
    /// The name of the model; the first that is served where it is missing.
    model: Option<String>,
    /// What was said so far.
    #[schema(min_items = 1)]
    messages: Vec<Message>,
    /// Whether the answer comes in events as it is made.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// The most tokens of text; the older name of `max_completion_tokens`.
    #[schema(minimum = 1)]
    max_tokens: Option<u64>,
    /// The most tokens of text.
    #[schema(minimum = 1)]
    max_completion_tokens: Option<u64>,
    /// 0 to 2; 0, which is the default, always takes the likeliest token.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// Texts that end the answer, at most four.
    stop: Option<Strings>,
    /// Decides every random choice, so that it repeats an answer.
    seed: Option<i64>,
    /// The number of answers; answer `i` has the seed `seed + i`.
    #[schema(minimum = 1)]
    n: Option<u64>,
    /// `["text"]` for answers without images; `["text", "image"]` is the default.
    modalities: Option<Vec<String>>,
    /// Denoising steps of an image.
    #[schema(minimum = 1)]
    steps: Option<u64>,
    /// The scale of guidance of an image; 1 turns it off.
    #[schema(minimum = 0, maximum = 100)]
    guidance: Option<f64>,
    /// How an image is denoised: ddpm, ddim, dpm++2m, euler, heun.
    sampler: Option<String>,
    /// What images shall not look like.
    negative_prompt: Option<String>,
    /// Chooses among the `top_k` likeliest tokens.
    #[schema(minimum = 1, maximum = 1_000_000)]
    top_k: Option<u64>,
    /// Leaves out tokens whose probability is below this share of the highest.
    #[schema(minimum = 0, maximum = 1)]
    min_p: Option<f64>,
    /// The most images of an answer.
    max_images: Option<u64>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct StreamOptions {
    /// Whether the last event says how many tokens were read and made.
    include_usage: Option<bool>,
}

/// Something that was said.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct Message {
    /// `system`, `developer`, `user` or `assistant`.
    #[schema(pattern = "^(system|developer|user|assistant)$")]
    role: String,
    content: Option<Content>,
    /// Images of an answer.
    images: Option<Vec<Part>>,
    /// Texts and images of an answer in order; counts instead of `content` and `images`.
    parts: Option<Vec<Part>>,
    /// Not supported.
    tool_calls: Option<Value>,
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

const NO_FUNCTIONS: &str = "this model calls no functions";
const NO_LOGITS: &str = "probabilities of tokens are not given or changed";
const NO_PENALTY: &str = "this model has no penalties of repetition, wanted 0";

/// What OpenAI's API has and is not done here.
const REFUSED: &[Refused] = &[
    Refused { field: "tools", is_harmless: is_empty, why: NO_FUNCTIONS },
    Refused { field: "functions", is_harmless: is_empty, why: NO_FUNCTIONS },
    Refused {
        field: "tool_choice",
        is_harmless: |value| value == "none" || value == "auto",
        why: NO_FUNCTIONS,
    },
    Refused {
        field: "function_call",
        is_harmless: |value| value == "none" || value == "auto",
        why: NO_FUNCTIONS,
    },
    Refused {
        field: "response_format",
        is_harmless: |value| value["type"] == "text",
        why: "only plain text is written, wanted {\"type\": \"text\"}",
    },
    Refused { field: "logprobs", is_harmless: |value| *value == false, why: NO_LOGITS },
    Refused { field: "top_logprobs", is_harmless: is_zero, why: NO_LOGITS },
    Refused { field: "logit_bias", is_harmless: is_empty, why: NO_LOGITS },
    Refused { field: "presence_penalty", is_harmless: is_zero, why: NO_PENALTY },
    Refused { field: "frequency_penalty", is_harmless: is_zero, why: NO_PENALTY },
    Refused { field: "audio", is_harmless: |_| false, why: "this model has no sound" },
    Refused { field: "prediction", is_harmless: |_| false, why: "predictions are not used" },
    Refused {
        field: "web_search_options",
        is_harmless: |_| false,
        why: "nothing is fetched from the network",
    },
    Refused {
        field: "reasoning_effort",
        is_harmless: |value| value == "none",
        why: "this model writes no thoughts, wanted none",
    },
    Refused {
        field: "store",
        is_harmless: |value| *value == false,
        why: "chat completions are not kept; `/v1/responses` keeps responses",
    },
];

/// Answers a conversation.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "chat", request_body(
        content = ChatRequest,
        example = json!({ "messages": [{ "role": "user", "content": "draw red K on yellow" }] }),
    ),
    responses(
        (status = 200, description = "The answer; with `stream`, events whose last is `[DONE]`.",
            content((ChatAnswer = "application/json"), (StreamEvent = "text/event-stream"))),
        (status = "4XX", body = ErrorAnswer), (status = "5XX", body = ErrorAnswer),
    )
)]
pub(crate) async fn complete(
    State(state): State<AppState>,
    Extension(tally): Extension<Arc<Tally>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.refuse(REFUSED)?;
    let request: ChatRequest = body.read()?;
    let (model, served) = state.model(request.model.as_deref())?;
    let header = Header::new(&served.name);
    let choices = count("n", request.n.unwrap_or(1), 1, state.options.limits.drawn)?;
    let include_usage = match (&request.stream_options, request.stream) {
        (Some(_), None | Some(false)) => {
            let why = "`stream_options` is given without `stream`";
            return Err(ApiError::invalid("stream_options", why));
        }
        (options, _) => options.as_ref().and_then(|options| options.include_usage).unwrap_or(false),
    };
    let stream = request.stream.unwrap_or(false);
    let ready = {
        let state = state.clone();
        state.clone().blocking(move || prepare(&state, model, &request)).await?
    };
    if state.options.log_prompts {
        tracing::info!(prompt = ?words_of(&ready.prompt), "prompt");
    }
    let (tickets, texts) = submit(&state, model, ready, choices)?;
    if stream {
        return Ok(stream::events(header, tickets, texts, tally, include_usage).into_response());
    }
    let made = try_join_all(tickets.into_iter().map(collect)).await?;
    made.iter().for_each(|made| tally.add(&made.usage));
    let made = made.into_iter().zip(texts).collect();
    Ok(axum::Json(ChatAnswer::of(header, made)).into_response())
}

/// A prompt and how it is answered.
struct Ready {
    prompt: Document,
    options: GenerateOptions,
    /// What the user said last.
    words: String,
}

/// Checks a request and reads its messages.
fn prepare(state: &AppState, model: usize, request: &ChatRequest) -> Result<Ready, ApiError> {
    let served = &state.engine.models()[model];
    check_text(&served.name, &served.model)?;
    let (max_tokens, max_tokens_field) = match (request.max_completion_tokens, request.max_tokens) {
        (Some(tokens), _) => (Some(tokens), "max_completion_tokens"),
        (None, tokens) => (tokens, "max_tokens"),
    };
    let settings = Settings {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        min_p: request.min_p,
        seed: request.seed,
        stop: request.stop.clone(),
        steps: request.steps,
        guidance: request.guidance,
        sampler: request.sampler.clone(),
        negative_prompt: request.negative_prompt.clone(),
        max_images: request.max_images,
        max_tokens,
        max_tokens_field,
    };
    let mut options = settings.options(&served.model, &state.options.limits)?;
    if !draws(request.modalities.as_deref())? {
        options.max_images = 0;
    }
    let mut reader = Reader { state, model: &served.model, images: 0 };
    let mut said = vec![];
    for (at, message) in request.messages.iter().enumerate() {
        said.push(read(&mut reader, message, &format!("messages[{at}]"))?);
    }
    if said.is_empty() {
        return Err(ApiError::invalid("messages", "`messages` is empty, wanted at least one"));
    }
    let words = last_words(&said);
    let prompt = prompt_of(turns_of(said), &reader, "messages")?;
    Ok(Ready { prompt, options, words })
}

/// Returns whether images may be made.
fn draws(modalities: Option<&[String]>) -> Result<bool, ApiError> {
    let Some(modalities) = modalities else { return Ok(true) };
    for found in modalities {
        if !["text", "image"].contains(&found.as_str()) {
            let shown = beginning(found);
            let why = format!("the modality `{shown}` is not made, wanted text or image");
            return Err(ApiError::unsupported("modalities", why));
        }
    }
    if !modalities.iter().any(|found| found == "text") {
        let why = "`modalities` lacks `text`; `/v1/images/generations` draws images alone";
        return Err(ApiError::invalid("modalities", why));
    }
    Ok(modalities.iter().any(|found| found == "image"))
}

/// Reads one message; `param` names it.
fn read(reader: &mut Reader<'_>, message: &Message, param: &str) -> Result<Said, ApiError> {
    let role = Role::of(&message.role, &format!("{param}.role"))?;
    let calls = message.tool_calls.as_ref();
    if calls.is_some_and(|calls| !calls.is_null() && !is_empty(calls)) {
        return Err(ApiError::unsupported(format!("{param}.tool_calls"), NO_FUNCTIONS));
    }
    let at = format!("{param}.content");
    if role != Role::Assistant {
        let content = message.content.as_ref();
        let segments = content.map(|content| reader.content(content, role, &at)).transpose()?;
        let segments = segments.unwrap_or_default();
        if segments.is_empty() {
            return Err(ApiError::invalid(
                &at,
                format!("`{at}` is empty, wanted text or an image"),
            ));
        }
        return Ok(Said { role, segments });
    }
    if let Some(parts) = message.parts.as_ref().filter(|parts| !parts.is_empty()) {
        let parts = Content::Parts(parts.clone());
        let segments = reader.content(&parts, role, &format!("{param}.parts"))?;
        return Ok(Said { role, segments });
    }
    let mut segments: Vec<Segment> = match &message.content {
        Some(content) => reader.content(content, role, &at)?,
        None => vec![],
    };
    if let Some(images) = &message.images {
        let images = Content::Parts(images.clone());
        segments.extend(reader.content(&images, role, &format!("{param}.images"))?);
    }
    Ok(Said { role, segments })
}

/// Puts one job for each choice into the queue: all, or none. Returns them, and for each what a PNG
/// file says of its images.
fn submit(
    state: &AppState,
    model: usize,
    ready: Ready,
    choices: usize,
) -> Result<(Vec<Ticket>, Vec<Vec<PngText>>), ApiError> {
    let Ready { prompt, options, words } = ready;
    let name = &state.engine.models()[model].name;
    let submitted = |choice: usize| {
        let seed = options.seed.wrapping_add(choice as u64);
        let options = GenerateOptions { seed, ..options.clone() };
        let texts = texts_of(&words, name, &options);
        let task = Task::Generate { prompt: prompt.clone() };
        let ticket = state.engine.submit(Job { model, task, options, previews: 0 })?;
        Ok((ticket, texts))
    };
    (0..choices).map(submitted).collect()
}

/// Returns the texts of a prompt, for a log that may hold them.
pub(super) fn words_of(prompt: &Document) -> String {
    let words = prompt.segments.iter().map(|segment| match segment {
        Segment::Text { text, .. } => text.as_str(),
        Segment::Image { .. } => "[image]",
    });
    words.collect()
}
