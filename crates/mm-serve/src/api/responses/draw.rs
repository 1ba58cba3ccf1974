//! A response whose tool is forced: what the user said last is drawn, as `/v1/images` would.

use super::super::images::{ImageRequest, Sent, Settings, edit, generation};
use super::super::talk::{Said, last_words};
use super::items::{last_images, newest_image};
use super::request::{Item, MaskInput, ResponsesRequest};
use super::tool::{Action, ImageTool};
use crate::Job;
use crate::error::ApiError;
use crate::state::AppState;

/// What is drawn from.
pub(super) struct Source<'a> {
    pub request: &'a ResponsesRequest,
    pub tool: &'a ImageTool,
    pub items: &'a [Item],
    /// Everything that was said, these items included.
    pub history: &'a [Said],
}

/// The drawing of a request.
pub(super) struct Drawn {
    pub job: Job,
    pub is_edit: bool,
    pub prompt: String,
}

/// Makes the job of drawing what the user said last.
pub(super) fn draw(state: &AppState, model: usize, source: &Source<'_>) -> Result<Drawn, ApiError> {
    let tool = source.tool;
    let prompt = last_words(source.history);
    let settings = Settings::of(image_request(source, prompt.clone()), state)
        .map_err(|why| renamed(why, &tool.param))?;
    let mask = tool.fields.input_image_mask.as_ref();
    let mask = mask.map(|mask| mask_of(mask, &tool.param)).transpose()?;
    let images = images_of(source, mask.is_some())?;
    let is_edit = !images.is_empty();
    let task = if is_edit {
        edit(&settings, state, &images, mask.as_ref())
    } else {
        generation(&settings, &state.options.limits)
    };
    let task = task.map_err(|why| renamed(why, &tool.param))?;
    let job = Job { model, task, options: settings.options, previews: tool.previews };
    Ok(Drawn { job, is_edit, prompt })
}

/// Returns the same request as `/v1/images` would get.
fn image_request(source: &Source<'_>, prompt: String) -> ImageRequest {
    let (request, tool) = (source.request, source.tool);
    ImageRequest {
        model: request.model.clone(),
        prompt: Some(prompt),
        size: tool.fields.size.clone(),
        seed: request.seed.map(i64::cast_unsigned),
        steps: request.steps,
        guidance: request.guidance,
        sampler: request.sampler.clone(),
        negative_prompt: request.negative_prompt.clone(),
        strength: tool.fields.strength,
        ..ImageRequest::default()
    }
}

/// Returns the images that are edited: those of the user's last message, or the newest of the
/// conversation where the tool is told to edit or has a mask.
fn images_of(source: &Source<'_>, has_mask: bool) -> Result<Vec<Sent>, ApiError> {
    let Source { tool, items, history, .. } = source;
    if tool.action == Action::Generate {
        if has_mask {
            let why = "a mask says what an edit may change, and `action` is generate";
            return Err(ApiError::invalid(format!("{}.input_image_mask", tool.param), why));
        }
        return Ok(vec![]);
    }
    let mut images = vec![];
    for sent in last_images(items) {
        let bytes = AppState::bytes_of_uri(sent.uri, &sent.param)?;
        images.push(Sent { param: sent.param, bytes });
    }
    if images.is_empty() && (has_mask || tool.action == Action::Edit) {
        let Some(newest) = newest_image(history) else {
            let why =
                "there is no image to edit, wanted one in the input or in the response before";
            return Err(ApiError::invalid("input", why));
        };
        images.push(Sent { param: "input".to_owned(), bytes: newest.encode_png() });
    }
    Ok(images)
}

fn mask_of(mask: &MaskInput, tool: &str) -> Result<Sent, ApiError> {
    let param = format!("{tool}.input_image_mask.image_url");
    if mask.file_id.is_some() {
        let why = "files are not kept, wanted the mask itself as a data URI in `image_url`";
        return Err(ApiError::unsupported(format!("{tool}.input_image_mask.file_id"), why));
    }
    let Some(uri) = &mask.image_url else {
        return Err(ApiError::invalid(&param, format!("`{param}` is missing")));
    };
    let bytes = AppState::bytes_of_uri(uri, &param)?;
    Ok(Sent { param, bytes })
}

/// Names a field of `/v1/images` as it stands in a request for a response.
fn renamed(mut why: ApiError, tool: &str) -> ApiError {
    let Some(param) = why.error.param.take() else { return why };
    why.error.param = Some(match param.as_str() {
        "size" | "strength" | "output_format" | "output_compression" => format!("{tool}.{param}"),
        "mask" => format!("{tool}.input_image_mask"),
        "prompt" | "image" => "input".to_owned(),
        _ => param,
    });
    why
}
