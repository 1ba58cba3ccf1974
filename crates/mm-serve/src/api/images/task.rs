//! What a request lets the engine do: draw freely, inpaint, start from an image, or follow an
//! instruction.

use mm_model::{
    Constrain, Document, EditError, ImageToImage, Inpaint, Mask, MaskedArea, Segment, SoftMask,
    Turn,
};
use mm_patch::{Grid, Image};
use mm_text::MAX_SIDE;

use super::fields::Sent;
use super::request::{Settings, Size, fits, grid_of};
use crate::Task;
use crate::error::ApiError;
use crate::state::{AppState, Limits, unreadable};

/// The strength of variations that are asked for without one.
const VARIATION: f64 = 0.75;

/// The pixels around a mask that are drawn with it where an image is too large to be drawn whole.
const PADDING: usize = 8;

/// Makes the task of drawing after a prompt.
pub(in crate::api) fn generation(settings: &Settings, limits: &Limits) -> Result<Task, ApiError> {
    if settings.strength.is_some() {
        let message = "`strength` needs an image to start from, as edits and variations have";
        return Err(ApiError::invalid("strength", message));
    }
    if settings.prompt.trim().is_empty() && settings.reads() {
        return Err(ApiError::invalid("prompt", "`prompt` is empty, wanted text"));
    }
    let prompt = Document::of_text(&settings.prompt);
    settings.check_prompt(&prompt, limits)?;
    let grid = settings.grid(limits)?;
    Ok(Task::Draw { prompt, grid, count: settings.count, constraint: None })
}

/// Makes the task of an edit: of what a mask frees, from an image by strength, or by instruction.
pub(in crate::api) fn edit(
    settings: &Settings,
    state: &AppState,
    images: &[Sent],
    mask: Option<&Sent>,
) -> Result<Task, ApiError> {
    let limits = &state.options.limits;
    if settings.prompt.trim().is_empty() && settings.reads() {
        return Err(ApiError::invalid("prompt", "`prompt` is empty, wanted text"));
    }
    let images = decoded(images, settings, state)?;
    let [first, others @ ..] = images.as_slice() else {
        return Err(ApiError::invalid("image", "`image` is missing, wanted at least one image"));
    };
    match (mask, settings.strength) {
        (Some(mask), _) => {
            let mask = read_mask(mask, state)?;
            let prompt = shown_before(others, settings, limits)?;
            let masked = masked(settings, first.clone(), mask, limits)?;
            draw(settings, prompt, masked)
        }
        (None, Some(strength)) => {
            let prompt = shown_before(others, settings, limits)?;
            let from = from_image(settings, first.clone(), strength, limits)?;
            draw(settings, prompt, from)
        }
        (None, None) => instructed(settings, &images, limits),
    }
}

/// Makes the task of drawing variations of an image.
pub(super) fn variation(
    settings: &Settings,
    state: &AppState,
    images: &[Sent],
) -> Result<Task, ApiError> {
    let limits = &state.options.limits;
    let images = decoded(images, settings, state)?;
    let [image] = images.as_slice() else {
        let message = format!("the request has {} images, wanted one", images.len());
        return Err(ApiError::invalid("image", message));
    };
    let prompt = Document::of_text(&settings.prompt);
    settings.check_prompt(&prompt, limits)?;
    let strength = settings.strength.unwrap_or(VARIATION);
    let from = from_image(settings, image.clone(), strength, limits)?;
    draw(settings, prompt, from)
}

/// What an edit keeps, and the patches that are drawn for it.
struct Kept {
    grid: Grid,
    constraint: Box<dyn Constrain + Send>,
}

fn draw(settings: &Settings, prompt: Document, kept: Kept) -> Result<Task, ApiError> {
    let Kept { grid, constraint } = kept;
    Ok(Task::Draw { prompt, grid, count: settings.count, constraint: Some(constraint) })
}

/// Decodes images, whose drawings together may have no more pixels than one that is sent.
fn decoded(images: &[Sent], settings: &Settings, state: &AppState) -> Result<Vec<Image>, ApiError> {
    let limits = &state.options.limits;
    if images.len() > limits.images {
        let message = format!("the request has {} images, at most {}", images.len(), limits.images);
        return Err(ApiError::invalid("image", message));
    }
    let mut found = vec![];
    let mut pixels = 0;
    for Sent { param, bytes } in images {
        let image = state.decode(bytes, param)?;
        pixels += image.width() as u64 * image.height() as u64;
        if pixels.saturating_mul(settings.count as u64) > limits.image_pixels {
            let message = format!(
                "the images have {pixels} pixels together, of which at most {} may be answered {} \
                 times",
                limits.image_pixels, settings.count
            );
            return Err(ApiError::invalid(param.clone(), message));
        }
        found.push(image);
    }
    Ok(found)
}

/// Reads a mask file within the limits of images.
fn read_mask(sent: &Sent, state: &AppState) -> Result<Mask, ApiError> {
    let mask = Mask::decode(&sent.bytes, &state.decode_options());
    mask.map_err(|why| unreadable(&why, &sent.param))
}

/// Returns the prompt of an edit of one image: the other images stand before the text.
fn shown_before(
    others: &[Image],
    settings: &Settings,
    limits: &Limits,
) -> Result<Document, ApiError> {
    let prompt = if others.is_empty() {
        Document::of_text(&settings.prompt)
    } else {
        let images = others.iter().map(|image| fitted(image, settings, limits));
        let images = images.collect::<Result<Vec<_>, _>>()?;
        turn(images, &settings.prompt)
    };
    settings.check_prompt(&prompt, limits)?;
    Ok(prompt)
}

/// Lays images and an instruction out as the turn of a user whose answer is drawn.
fn turn(images: Vec<Image>, instruction: &str) -> Document {
    let images = images.into_iter().map(Segment::context_image);
    let asked = images.chain([Segment::context_text(instruction)]).collect();
    Document::of_turns(vec![Turn { asked, answer: vec![] }])
}

/// Makes the task of an edit by instruction. The drawing has the size that was asked for, or that
/// of the first image as the model sees it.
fn instructed(settings: &Settings, images: &[Image], limits: &Limits) -> Result<Task, ApiError> {
    if !settings.reads() {
        let message = format!(
            "the model `{}` reads no images, wanted `mask` or `strength` beside the image",
            settings.served.name
        );
        return Err(ApiError::invalid("image", message));
    }
    let images = images.iter().map(|image| fitted(image, settings, limits));
    let images = images.collect::<Result<Vec<_>, _>>()?;
    let size = settings.size.unwrap_or_else(|| size_of(&images[0]));
    let grid = grid_of(size, &settings.served, limits)?;
    let prompt = turn(images, &settings.prompt);
    settings.check_prompt(&prompt, limits)?;
    Ok(Task::Draw { prompt, grid, count: settings.count, constraint: None })
}

/// Returns an image as the model is shown it: unchanged if it has a whole number of patches and not
/// too many, and else shrunk to about as many as the model was trained on.
fn fitted(image: &Image, settings: &Settings, limits: &Limits) -> Result<Image, ApiError> {
    if fits(size_of(image), &settings.served, limits) {
        return Ok(image.clone());
    }
    let max_patches = settings.own_grid()?.tokens();
    let patch = settings.served.model.config.patch;
    let grid = Grid::nearest(image.width(), image.height(), patch, max_patches)
        .map_err(|why| ApiError::invalid("image", why.to_string()))?;
    // A strip may have the patches of an image, but no more on a side than a model counts.
    let side = |patches: usize| patches.min(MAX_SIDE) * patch;
    Ok(image.resize(side(grid.cols), side(grid.rows)))
}

/// Prepares the edit of what a mask frees: of the whole image where it can be drawn whole, and else
/// of a region around the mask at the model's own size.
fn masked(
    settings: &Settings,
    image: Image,
    mask: Mask,
    limits: &Limits,
) -> Result<Kept, ApiError> {
    let own = size_of(&image);
    if settings.size.is_some_and(|size| size != own) {
        let message = format!(
            "an edit with a mask keeps the size of its image, {}x{}",
            own.width, own.height
        );
        return Err(ApiError::invalid("size", message));
    }
    let strength = settings.strength.unwrap_or(1.0);
    if fits(own, &settings.served, limits) {
        let inpaint = Inpaint::new(image, mask, settings.served.model.config.patch);
        let inpaint = inpaint.and_then(|inpaint| inpaint.strength(strength)).map_err(wrong)?;
        return Ok(Kept { grid: inpaint.grid(), constraint: Box::new(inpaint) });
    }
    let grid = settings.own_grid()?;
    let area = MaskedArea::new(image, mask, PADDING, SoftMask::Blend, grid);
    let area = area.and_then(|area| area.strength(strength)).map_err(wrong)?;
    Ok(Kept { grid, constraint: Box::new(area) })
}

/// Prepares drawings that start from an image, which is resized where another size is asked for.
fn from_image(
    settings: &Settings,
    image: Image,
    strength: f64,
    limits: &Limits,
) -> Result<Kept, ApiError> {
    let own = size_of(&image);
    let size = settings.size.unwrap_or(own);
    let grid = grid_of(size, &settings.served, limits).map_err(|mut why| {
        if settings.size.is_none() {
            let found = format!("`image` has {}x{} pixels", own.width, own.height);
            let was = format!("`size` is {}x{}", own.width, own.height);
            why.error.message = why.error.message.replace(&was, &found);
            why.error.message.push_str(", and `size` resizes the image");
            why.error.param = Some("image".to_owned());
        }
        why
    })?;
    let image = if size == own { image } else { image.resize(size.width, size.height) };
    let edit = ImageToImage::new(image, strength, grid.patch).map_err(wrong)?;
    Ok(Kept { grid, constraint: Box::new(edit) })
}

fn size_of(image: &Image) -> Size {
    Size { width: image.width(), height: image.height() }
}

/// Names the field that is wrong with an edit.
fn wrong(why: EditError) -> ApiError {
    let param = match &why {
        EditError::Size { .. } | EditError::EmptyMask => "mask",
        EditError::Setting { name, .. } => *name,
        _ => "image",
    };
    ApiError::invalid(param, why.to_string())
}
