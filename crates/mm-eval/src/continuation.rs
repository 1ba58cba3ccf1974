//! How a model goes on with the beginnings of text documents: the counterpart of a grid of pictures for data of words.

use mm_model::{Document, GenerateOptions, LoadedModel, Segment};

use crate::EvalError;
use crate::records::records;
use mm_data::{DataSet, Record, Split};

/// Documents that are gone on with.
const COUNT: usize = 8;
/// Most bytes of a beginning.
const BEGINNING_BYTES: usize = 64;
/// Most tokens that are written.
const TOKENS: usize = 48;

/// The beginnings of a few documents that begin with text, and how the model goes on; nothing if there are none.
pub(crate) fn continuations(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    options: &GenerateOptions,
) -> Result<String, EvalError> {
    let options = GenerateOptions { max_tokens: TOKENS, max_images: 0, ..options.clone() };
    let mut text = String::new();
    for record in records(data, split, COUNT, options.seed)? {
        let Some(beginning) = beginning(&record) else { continue };
        let written = model.generate(&Document::of_text(beginning), &options, &mut |_| {})?;
        let heading = if text.is_empty() { "\nbeginning -> how the model goes on:\n" } else { "" };
        text += &format!("{heading}  {beginning:?} -> {:?}\n", words(&written));
    }
    Ok(text)
}

/// The first half of the text that a whole document begins with.
fn beginning(record: &Record) -> Option<&str> {
    let Record::Whole(document) = record else { return None };
    let Some(Segment::Text { text, .. }) = document.segments.first() else { return None };
    Some(&text[..text.floor_char_boundary((text.len() / 2).min(BEGINNING_BYTES))])
}

fn words(document: &Document) -> String {
    let text = |segment: &Segment| match segment {
        Segment::Text { text, .. } => text.clone(),
        Segment::Image { .. } => String::new(),
    };
    document.segments.iter().map(text).collect()
}
