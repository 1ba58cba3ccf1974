//! Sheets of images: samples beside the real images, and texts of what was asked and read.

use mm_data::{DataSet, EmojiSet, Example, Split};
use mm_model::{Document, GenerateError, LoadedModel};
use mm_patch::Image;

use crate::continuation::continuations;
use crate::image_only::image_only_grid;
use crate::reading::read_score;
use crate::records::examples;
use crate::{EvalError, TOGETHER};

/// A grid of pictures drawn for held-out captions, each over the real picture of that caption, and a text of what was asked
/// and what was read. A model that draws no finite numbers leaves a black picture and says so: a run is not ended by its grid.
pub fn sample_grid(
    model: &LoadedModel,
    data: &DataSet,
    count: usize,
    seed: u64,
) -> Result<(Image, String), EvalError> {
    match grid_and_text(model, data, count, seed) {
        Err(EvalError::Generate(why @ GenerateError::NotFinite { .. })) => {
            let black = Image::filled(model.generation.width, model.generation.height, [0; 3]);
            Ok((black, format!("{why}\n")))
        }
        made => made,
    }
}

fn grid_and_text(
    model: &LoadedModel,
    data: &DataSet,
    count: usize,
    seed: u64,
) -> Result<(Image, String), EvalError> {
    if !model.config.has_text() {
        return Ok((image_only_grid(model, count, seed)?, String::new()));
    }
    let split = if data.len(Split::HeldOut) == Some(0) || data.downcast_ref::<EmojiSet>().is_some() {
        Split::Train
    } else {
        Split::HeldOut
    };
    let options = model.options(seed);
    let shown = examples(data, split, count, seed)?;
    let grid = model.grid()?;
    let mut drawn = vec![];
    for chunk in shown.chunks(TOGETHER) {
        let words = model.model.knows_text();
        let prompt =
            |example: &Example| Document::of_text(if words { &example.caption } else { "" });
        let prompts: Vec<Document> = chunk.iter().map(prompt).collect();
        drawn.extend(model.draw(&prompts, grid, &options)?);
    }
    if !model.model.knows_text() {
        let real: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
        return Ok((contact_sheet(&drawn, &real), "drawn without words\n".into()));
    }
    let read = read_score(model, data, split, count, &options)?;
    let mut text = String::from("asked for, from left to right and top to bottom:\n");
    text.extend(shown.iter().map(|example| format!("  {}\n", example.caption)));
    text += &format!("\nread {} of {} right (truth -> read):\n", read.right, read.of);
    text.extend(read.captions.iter().map(|(truth, read)| format!("  {truth} -> {read}\n")));
    text += &continuations(model, data, split, &options)?;
    let real: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
    Ok((contact_sheet(&drawn, &real), text))
}

/// Pictures in rows of at most twelve; every row of `drawn` stands over the row of its `real` counterparts, magnified to at
/// least 64 pixels. Where sizes differ, the largest sets the distance.
pub fn contact_sheet(drawn: &[Image], real: &[Image]) -> Image {
    if drawn.is_empty() {
        return Image::filled(1, 1, [255; 3]);
    }
    let most = |side: fn(&Image) -> usize| drawn.iter().chain(real).map(side).max().unwrap_or(1);
    let (width, height) = (most(Image::width), most(Image::height));
    let zoom = (64 / width.max(height)).max(1);
    let (width, height) = (width * zoom + 4, height * zoom + 4);
    let cols = drawn.len().min(12);
    let bands = drawn.len().div_ceil(cols);
    let pair = if real.is_empty() { 1 } else { 2 };
    let mut sheet = Image::filled(cols * width, bands * pair * height, [255; 3]);
    for (kind, images) in [drawn, real].into_iter().enumerate().take(pair) {
        for (at, image) in images.iter().enumerate() {
            let (x, y) = (at % cols * width + 2, (at / cols * pair + kind) * height + 2);
            sheet.paste(&magnified(image, zoom), x, y);
        }
    }
    sheet
}

/// Every pixel `zoom` times as wide and high, without smoothing.
pub fn magnified(image: &Image, zoom: usize) -> Image {
    let mut large = Image::filled(image.width() * zoom, image.height() * zoom, [0; 3]);
    for y in 0..large.height() {
        for x in 0..large.width() {
            large.set_pixel(x, y, image.pixel(x / zoom, y / zoom));
        }
    }
    large
}
