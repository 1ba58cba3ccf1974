//! What is wrong with a job, in the model's own words, before it is taken.

use mm_model::{Document, GenerateError, LoadedModel, Segment};
use mm_patch::Grid;

use super::{Job, ServedModel, Task, Usage};

/// Checks a job; returns what its prompt counts.
pub(super) fn check(models: &[ServedModel], job: &Job) -> Result<Usage, String> {
    let Some(served) = models.get(job.model) else {
        return Err(format!("model {} was asked for, wanted 0 to {}", job.model, models.len() - 1));
    };
    let model = &*served.model;
    if model.config.network.latent().is_some() {
        return Err("a model of latents is not served yet, wanted one of patches or codes".into());
    }
    if let Task::Draw { constraint: Some(_), .. } = &job.task {
        model.check_edits().map_err(|why| why.to_string())?;
    }
    let found = match &job.task {
        Task::Generate { prompt } => generation(model, prompt, job),
        Task::Draw { count: 0, .. } => return Err("`count` is 0, wanted at least 1".into()),
        Task::Draw { grid, .. } if grid.patch != model.config.patch => {
            let (found, wanted) = (grid.patch, model.config.patch);
            return Err(format!("the image has patches of {found} pixels, wanted {wanted}"));
        }
        Task::Draw { prompt, grid, .. } => drawing(model, prompt, *grid, job),
    };
    found.map_err(|why| why.to_string())
}

fn generation(model: &LoadedModel, prompt: &Document, job: &Job) -> Result<Usage, GenerateError> {
    model.check_writing(&job.options)?;
    if job.options.max_images > 0 {
        model.config.schedule.sampling_levels(job.options.steps)?;
    }
    let sequence = model.sequencer().prompt(prompt)?;
    Ok(counted(model, prompt, sequence.len()))
}

fn drawing(
    model: &LoadedModel,
    prompt: &Document,
    grid: Grid,
    job: &Job,
) -> Result<Usage, GenerateError> {
    model.check_drawing(std::slice::from_ref(prompt), &job.options)?;
    model.config.schedule.sampling_levels(job.options.steps)?;
    let sequence = model.drawing_prompt(prompt, grid)?;
    let opening = if model.config.has_text() { 3 } else { 0 };
    Ok(counted(model, prompt, sequence.len() - opening))
}

/// Tells the tokens of a prompt's images from those of its text.
fn counted(model: &LoadedModel, prompt: &Document, tokens: usize) -> Usage {
    let images = prompt.segments.iter().map(|segment| match segment {
        Segment::Image { image, .. } => {
            let patch = model.config.patch;
            image_tokens(model, (image.width() / patch) * (image.height() / patch))
        }
        Segment::Text { .. } => 0,
    });
    let images = images.sum();
    Usage { prompt_text: tokens - images, prompt_images: images, text: 0, images: 0 }
}

/// Returns the tokens of an image of so many patches: its rows and columns, its start and end.
pub(super) fn image_tokens(model: &LoadedModel, patches: usize) -> usize {
    let marks = if model.config.has_text() { 4 } else { 0 };
    patches + marks
}
