//! Reading: captions written after images, compared word for word.

use mm_data::{DataSet, Split};
use mm_model::{Document, GenerateOptions, LoadedModel};
use serde::Serialize;

use crate::records::examples;
use crate::{EvalError, TOGETHER};

/// Most tokens of a caption that is read.
const CAPTION_TOKENS: usize = 32;

/// How many captions were read word for word.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReadScore {
    /// Captions equal to the truth.
    pub right: usize,
    /// Captions asked for.
    pub of: usize,
    /// (truth, read) of every picture.
    pub captions: Vec<(String, String)>,
}

/// Reads the captions of `count` pictures of a part, greedily.
pub fn read_score(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    count: usize,
    options: &GenerateOptions,
) -> Result<ReadScore, EvalError> {
    let options = GenerateOptions { max_tokens: CAPTION_TOKENS, ..options.clone() };
    let mut captions = vec![];
    for chunk in examples(data, split, count, options.seed)?.chunks(TOGETHER) {
        let prompts: Vec<Document> =
            chunk.iter().map(|example| Document::of_image(example.image.clone())).collect();
        let read = model.read(&prompts, &options)?;
        captions.extend(chunk.iter().map(|example| example.caption.clone()).zip(read));
    }
    let right = captions.iter().filter(|(truth, read)| truth == read).count();
    Ok(ReadScore { right, of: captions.len(), captions })
}
