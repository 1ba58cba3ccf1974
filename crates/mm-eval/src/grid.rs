//! This module makes sheets of images: samples beside real images, with a text of what was asked
//! for, what was read, and how the model continues texts.

use mm_data::{DataSet, EmojiSet, Example, Record, Split};
use mm_model::{
    Document, GenerateError, GenerateOptions, LoadedModel, SamplingMethod, SamplingPlan, Segment,
};
use mm_patch::Image;

use crate::reading::read_score;
use crate::records::{examples, records};
use crate::{EvalError, TOGETHER};

/// Counts the text documents that are continued.
const CONTINUATIONS: usize = 8;
/// Limits the bytes of the beginning of a text document.
const BEGINNING_BYTES: usize = 64;
/// Limits the tokens of a continuation.
const CONTINUATION_TOKENS: usize = 48;

/// Returns a grid of images drawn for held-out captions, each over the real image of its caption,
/// and a text of what was asked for and what was read. A model that draws numbers that are not
/// finite gets a black image and a text that says so, because a sample must not end a run.
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
    let split = if data.len(Split::HeldOut) == Some(0) || data.downcast_ref::<EmojiSet>().is_some()
    {
        Split::Train
    } else {
        Split::HeldOut
    };
    let options = model.options(seed);
    let shown = examples(data, split, count, seed)?;
    let grid = model.grid()?;
    let words = model.model.knows_text();
    let mut drawn = vec![];
    for chunk in shown.chunks(TOGETHER) {
        let prompt =
            |example: &Example| Document::of_text(if words { &example.caption } else { "" });
        let prompts: Vec<Document> = chunk.iter().map(prompt).collect();
        drawn.extend(model.draw(&prompts, grid, &options)?);
    }
    let mut text = String::from("drawn without words\n");
    if words {
        let read = read_score(model, data, split, count, &options)?;
        text = String::from("asked for, from left to right and top to bottom:\n");
        text.extend(shown.iter().map(|example| format!("  {}\n", example.caption)));
        text += &format!("\nread {} of {} right (truth -> read):\n", read.right, read.of);
        text.extend(read.captions.iter().map(|(truth, read)| format!("  {truth} -> {read}\n")));
        text += &continuations(model, data, split, &options)?;
    }
    let real: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
    Ok((contact_sheet(&drawn, &real), text))
}

/// Draws a grid of `count` images as the model's generation settings say, about as wide as high.
fn image_only_grid(model: &LoadedModel, count: usize, seed: u64) -> Result<Image, EvalError> {
    let levels = model
        .config
        .schedule
        .sampling_levels(model.generation.steps)
        .map_err(mm_model::GenerateError::from)?;
    let walk =
        SamplingPlan { levels: &levels, method: SamplingMethod::Plain(model.generation.sampler) };
    let drawn = model.sample(model.grid()?, 0..count as u64, walk, seed)?;
    Ok(image_table(&drawn, square_cols(drawn.len())))
}

/// Returns the beginnings of a few documents that begin with text, and how the model continues
/// them. The text is empty if there are none.
fn continuations(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    options: &GenerateOptions,
) -> Result<String, EvalError> {
    let options =
        GenerateOptions { max_tokens: CONTINUATION_TOKENS, max_images: 0, ..options.clone() };
    let mut text = String::new();
    for record in records(data, split, CONTINUATIONS, options.seed)? {
        let Some(beginning) = beginning(&record) else { continue };
        let written = model.generate(&Document::of_text(beginning), &options, &mut |_| {})?;
        let heading = if text.is_empty() { "\nbeginning -> how the model goes on:\n" } else { "" };
        text += &format!("{heading}  {beginning:?} -> {:?}\n", words_of(&written));
    }
    Ok(text)
}

/// Returns the first half of the text that a whole document begins with.
fn beginning(record: &Record) -> Option<&str> {
    let Record::Whole(document) = record else { return None };
    let Some(Segment::Text { text, .. }) = document.segments.first() else { return None };
    Some(&text[..text.floor_char_boundary((text.len() / 2).min(BEGINNING_BYTES))])
}

fn words_of(document: &Document) -> String {
    let text = |segment: &Segment| match segment {
        Segment::Text { text, .. } => text.clone(),
        Segment::Image { .. } => String::new(),
    };
    document.segments.iter().map(text).collect()
}

/// Returns a sheet of images in rows of at most twelve. Every row of `drawn` stands over the row of
/// its `real` counterparts. Images are magnified to at least 64 pixels. Where sizes differ, the
/// largest sets the distance.
pub fn contact_sheet(drawn: &[Image], real: &[Image]) -> Image {
    let [width, height] = largest(drawn, real);
    contact_sheet_at(drawn, real, (64 / width.max(height)).max(1))
}

/// Returns a [`contact_sheet`] of images that are magnified by `zoom`.
pub fn contact_sheet_at(drawn: &[Image], real: &[Image], zoom: usize) -> Image {
    if drawn.is_empty() {
        return Image::filled(1, 1, [255; 3]);
    }
    let [width, height] = largest(drawn, real).map(|side| side * zoom + 4);
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

/// Returns the largest width and the largest height of images; 1 where there is none.
fn largest(drawn: &[Image], real: &[Image]) -> [usize; 2] {
    let most = |side: fn(&Image) -> usize| drawn.iter().chain(real).map(side).max().unwrap_or(1);
    [most(Image::width), most(Image::height)]
}

/// Returns images of one size edge to edge in rows of `cols`. The rest of the last row is white.
pub fn image_table(images: &[Image], cols: usize) -> Image {
    let Some(first) = images.first() else { return Image::filled(1, 1, [255; 3]) };
    let (width, height) = (first.width(), first.height());
    let cols = cols.clamp(1, images.len());
    let mut sheet = Image::filled(cols * width, images.len().div_ceil(cols) * height, [255; 3]);
    for (at, image) in images.iter().enumerate() {
        sheet.paste(image, at % cols * width, at / cols * height);
    }
    sheet
}

/// Returns the number of columns that makes a table of `count` images about as wide as high.
pub fn square_cols(count: usize) -> usize {
    (count as f64).sqrt().ceil().max(1.0) as usize
}

/// Returns an image in which every pixel is `zoom` times as wide and high, without smoothing.
pub fn magnified(image: &Image, zoom: usize) -> Image {
    let mut large = Image::filled(image.width() * zoom, image.height() * zoom, [0; 3]);
    for y in 0..large.height() {
        for x in 0..large.width() {
            large.set_pixel(x, y, image.pixel(x / zoom, y / zoom));
        }
    }
    large
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_filled_row_by_row_and_ends_in_white() {
        let images: Vec<Image> =
            (0..5).map(|gray| Image::filled(2, 2, [gray as u8 * 10; 3])).collect();
        let sheet = image_table(&images, square_cols(5));
        assert_eq!((sheet.width(), sheet.height()), (6, 4));
        assert_eq!(sheet.pixel(4, 0), [20; 3]);
        assert_eq!(sheet.pixel(0, 3), [30; 3]);
        assert_eq!(sheet.pixel(5, 3), [255; 3]);
    }
}
