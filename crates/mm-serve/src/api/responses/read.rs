//! Reads a request for a response: what is said, after what, and what is made of it.

use mm_model::{Document, Segment};

use super::super::chat::words_of;
use super::super::settings::Settings;
use super::super::talk::{Reader, Role, Said, check_text, last_words, prompt_of, turns_of};
use super::draw::{Drawn, Source, draw};
use super::items::{items_of, read};
use super::object::{ResponseObject, TextSettings};
use super::request::{ResponsesRequest, ToolChoice};
use super::store::Store;
use super::tool::{Drawing, ImageFormat, ImageTool};
use super::unknown;
use crate::encode::texts_of;
use crate::error::ApiError;
use crate::id::{new_id, now};
use crate::state::AppState;
use crate::{Job, Task};

/// A request that is ready to run.
pub(super) struct Ready {
    pub job: Job,
    /// The response without its output.
    pub response: ResponseObject,
    /// What was said before the response, for the next request.
    pub history: Vec<Said>,
    pub format: ImageFormat,
    /// The texts of the prompt, for a log that may hold them.
    pub words: String,
}

/// Checks a request and reads what it says.
pub(super) fn prepare(
    state: &AppState,
    store: &Store,
    model: usize,
    request: ResponsesRequest,
) -> Result<Ready, ApiError> {
    let served = &state.engine.models()[model];
    let tool =
        ImageTool::of(request.tools.as_deref().unwrap_or_default(), request.tool_choice.as_ref())?;
    let mut history = match &request.previous_response_id {
        None => vec![],
        Some(id) => {
            let kept = store.get(id);
            kept.ok_or_else(|| unknown(id, "previous_response_id"))?.history.clone()
        }
    };
    let mut reader = Reader { state, model: &served.model, images: 0 };
    let items = items_of(request.input.as_ref());
    for (at, item) in items.iter().enumerate() {
        history.extend(read(&mut reader, item, &format!("input[{at}]"))?);
    }
    if history.iter().all(|said| said.segments.is_empty()) {
        return Err(ApiError::invalid("input", "`input` is empty, wanted text or an image"));
    }
    let (job, is_edit, words) = if tool.drawing == Drawing::Forced {
        let source = Source { request: &request, tool: &tool, items: &items, history: &history };
        let Drawn { job, is_edit, prompt } = draw(state, model, &source)?;
        (job, is_edit, prompt)
    } else {
        check_text(&served.name, &served.model)?;
        let prompt = conversation(&request, &history, &reader)?;
        let mut options = settings_of(&request).options(&served.model, &state.options.limits)?;
        if tool.drawing == Drawing::Off {
            options.max_images = 0;
        }
        let words = words_of(&prompt);
        let task = Task::Generate { prompt };
        (Job { model, task, options, previews: tool.previews }, false, words)
    };
    let texts = texts_of(&last_words(&history), &served.name, &job.options);
    let format = tool.format(is_edit, texts);
    let response = response_of(request, &served.name, job.options.seed);
    Ok(Ready { job, response, history, format, words })
}

/// Lays out instructions and what was said.
fn conversation(
    request: &ResponsesRequest,
    history: &[Said],
    reader: &Reader<'_>,
) -> Result<Document, ApiError> {
    let instructions = request.instructions.as_deref().filter(|text| !text.is_empty());
    let system = instructions
        .map(|text| Said { role: Role::System, segments: vec![Segment::context_text(text)] });
    let said = system.into_iter().chain(history.iter().cloned()).collect();
    prompt_of(turns_of(said), reader, "input")
}

fn settings_of(request: &ResponsesRequest) -> Settings {
    Settings {
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
        max_tokens: request.max_output_tokens,
        max_tokens_field: "max_output_tokens",
    }
}

/// Makes the response without its output.
fn response_of(request: ResponsesRequest, model: &str, seed: u64) -> ResponseObject {
    ResponseObject {
        id: new_id("resp"),
        object: "response",
        created_at: now(),
        completed_at: None,
        status: "in_progress",
        background: false,
        error: None,
        incomplete_details: None,
        instructions: request.instructions,
        max_output_tokens: request.max_output_tokens,
        model: model.to_owned(),
        output: vec![],
        parallel_tool_calls: true,
        previous_response_id: request.previous_response_id,
        store: request.store.unwrap_or(true),
        temperature: request.temperature.unwrap_or(0.0),
        top_p: request.top_p.unwrap_or(1.0),
        text: TextSettings::default(),
        tool_choice: Some(
            request.tool_choice.unwrap_or_else(|| ToolChoice::Mode("auto".to_owned())),
        ),
        tools: request.tools.unwrap_or_default(),
        truncation: "disabled",
        usage: None,
        user: request.user,
        metadata: request.metadata.unwrap_or_default(),
        seed,
    }
}
