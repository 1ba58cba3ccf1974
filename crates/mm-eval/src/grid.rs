//! This module makes sheets of images: samples beside real images, with a text of what was asked
//! for, what was read, and how the model continues texts.

use mm_data::{DataError, DataSet, EmojiSet, Example, Record, Split};
use mm_model::{
    Document, GenerateError, GenerateOptions, LoadedModel, SamplingMethod, SamplingPlan, Segment,
};
use mm_patch::Image;

use crate::reading::read_score;
use crate::records::{examples, records};
use crate::{EvalError, TOGETHER};

/// Counts the whole documents that are continued.
const CONTINUATIONS: usize = 12;
/// Limits the bytes of the beginning of a text document.
const BEGINNING_BYTES: usize = 64;
/// Limits the tokens of a continuation.
const CONTINUATION_TOKENS: usize = 48;
/// Limits the images of an answer.
const ANSWER_IMAGES: usize = 3;

/// Returns a grid of images drawn for held-out captions, each over the real image of its caption,
/// and a text of what was asked for and what was read. Where the held-out split has no record that
/// can be read, captions of the training split stand in its place. A model that draws numbers that
/// are not finite gets a black image and a text that says so. Neither may end a run.
pub fn sample_grid(
    model: &LoadedModel,
    data: &DataSet,
    count: usize,
    seed: u64,
) -> Result<(Image, String), EvalError> {
    let split = shown_split(data);
    let made = match grid_and_text(model, data, split, count, seed) {
        Err(EvalError::Data(DataError::AllBroken { .. })) if split == Split::HeldOut => {
            grid_and_text(model, data, Split::Train, count, seed)
        }
        made => made,
    };
    match made {
        Err(EvalError::Generate(why @ GenerateError::NotFinite { .. })) => {
            let black = Image::filled(model.generation.width, model.generation.height, [0; 3]);
            Ok((black, format!("{why}\n")))
        }
        made => made,
    }
}

/// Returns the split whose captions are drawn.
fn shown_split(data: &DataSet) -> Split {
    match data.len(Split::HeldOut) {
        Some(0) => Split::Train,
        _ if data.downcast_ref::<EmojiSet>().is_some() => Split::Train,
        _ => Split::HeldOut,
    }
}

fn grid_and_text(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<(Image, String), EvalError> {
    if model.config.network.codec().is_some() {
        return decoded_grid(model, data, split, count, seed);
    }
    if !model.config.has_text() {
        return Ok((image_only_grid(model, count, seed)?, String::new()));
    }
    let options = model.options(seed);
    let shown = examples(data, split, count, seed)?;
    if !model.config.draws() {
        let seen: Vec<Image> = shown.iter().map(|example| example.image.clone()).collect();
        let text = readings(model, data, split, count, &shown, &options)?;
        return Ok((image_table(&seen, square_cols(seen.len())), text));
    }
    let grid = model.grid()?;
    let words = model.model.knows_text();
    let mut drawn = vec![];
    for chunk in shown.chunks(TOGETHER) {
        let prompt =
            |example: &Example| Document::of_text(if words { &example.caption } else { "" });
        let prompts: Vec<Document> = chunk.iter().map(prompt).collect();
        drawn.extend(model.draw(&prompts, grid, &options)?);
    }
    let mut real: Vec<Image> = shown.iter().map(|example| example.image.clone()).collect();
    if !words {
        return Ok((contact_sheet(&drawn, &real), String::from("drawn without words\n")));
    }
    let text = readings(model, data, split, count, &shown, &options)?;
    let whole = continuations(model, data, split, &options)?;
    drawn.extend(whole.drawn);
    real.extend(whole.real);
    Ok((contact_sheet(&drawn, &real), text + &whole.text))
}

/// Returns what a codec makes of `count` images, each over the image itself.
fn decoded_grid(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    count: usize,
    seed: u64,
) -> Result<(Image, String), EvalError> {
    let shown = examples(data, split, count, seed)?;
    let real: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
    let decoded = model.reconstruct(&real)?;
    Ok((contact_sheet(&decoded, &real), String::from("decoded, each over what was encoded\n")))
}

/// Says which captions were asked for, and how they are read.
fn readings(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    count: usize,
    shown: &[Example],
    options: &GenerateOptions,
) -> Result<String, EvalError> {
    if shown.is_empty() {
        return Ok(String::new());
    }
    let read = read_score(model, data, split, count, options)?;
    let mut text = "asked for, from left to right and top to bottom:\n".to_owned();
    text.extend(shown.iter().map(|example| format!("  {}\n", example.caption)));
    text += &format!("\nread {} of {} right (truth -> read):\n", read.right, read.of);
    text.extend(read.captions.iter().map(|(truth, read)| format!("  {truth} -> {read}\n")));
    Ok(text)
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

/// How a model goes on with whole documents.
#[derive(Default)]
struct Continuations {
    /// One line for each document.
    text: String,
    /// The images of answers that have as many as the true ones.
    drawn: Vec<Image>,
    /// The images of the true answers.
    real: Vec<Image>,
}

/// Goes on with a few whole documents: behind what they do not teach, such as a question, or else
/// behind the beginning of their text.
fn continuations(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    options: &GenerateOptions,
) -> Result<Continuations, EvalError> {
    let mut all = Continuations::default();
    let max_tokens = CONTINUATION_TOKENS;
    for record in records(data, split, CONTINUATIONS, options.seed)? {
        let Record::Whole(mut document) = record else { continue };
        let wanted = document.segments.split_off(taught(&document));
        let (prompt, options) = if document.segments.is_empty() {
            let Some(beginning) = beginning(&wanted) else { continue };
            let options = GenerateOptions { max_tokens, max_images: 0, ..options.clone() };
            (Document::of_text(beginning), options)
        } else {
            let (max_images, max_patches) = (ANSWER_IMAGES, model.grid()?.tokens());
            let options =
                GenerateOptions { max_tokens, max_images, max_patches, ..options.clone() };
            (document, options)
        };
        let written = model.generate(&prompt, &options, &mut |_| {})?;
        let heading =
            if all.text.is_empty() { "\nbeginning -> how the model goes on:\n" } else { "" };
        let line = format!("  {:?} -> {:?}\n", words_of(&prompt), words_of(&written));
        all.text += &(heading.to_owned() + &line);
        let (drawn, real) = (images_of(&written.segments), images_of(&wanted));
        if drawn.len() == real.len() {
            all.drawn.extend(drawn);
            all.real.extend(real);
        }
    }
    Ok(all)
}

/// Returns the first segment of those at the end that a document teaches.
fn taught(document: &Document) -> usize {
    let given = |segment: &Segment| match segment {
        Segment::Text { target, .. } | Segment::Image { target, .. } => !target,
    };
    document.segments.iter().rposition(given).map_or(0, |last| last + 1)
}

fn images_of(segments: &[Segment]) -> Vec<Image> {
    let image = |segment: &Segment| match segment {
        Segment::Image { image, .. } => Some(image.clone()),
        Segment::Text { .. } => None,
    };
    segments.iter().filter_map(image).collect()
}

/// Returns the first half of the text that a whole document begins with.
fn beginning(segments: &[Segment]) -> Option<&str> {
    let Some(Segment::Text { text, .. }) = segments.first() else { return None };
    Some(&text[..text.floor_char_boundary((text.len() / 2).min(BEGINNING_BYTES))])
}

/// Returns the texts of a document, with `[image]` for every image.
fn words_of(document: &Document) -> String {
    let text = |segment: &Segment| match segment {
        Segment::Text { text, .. } => text.clone(),
        Segment::Image { .. } => "[image]".to_owned(),
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
