//! This module measures reading: captions written after images are compared word for word.

use mm_data::{DataSet, Split};
use mm_model::{Document, GenerateOptions, LoadedModel};
use serde::Serialize;

use crate::records::examples;
use crate::{EvalError, Evaluator, Score, Share, TOGETHER};

/// Limits the tokens of a caption that is read.
const CAPTION_TOKENS: usize = 32;

/// The captions that were read, and how many are right word for word.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReadScore {
    /// The number of captions that equal the truth.
    pub right: usize,
    /// The number of captions that were asked for.
    pub of: usize,
    /// The true caption of every image and the one that was read.
    pub captions: Vec<(String, String)>,
}

/// Measures the share of captions that a model writes word for word, by [`read_score`].
#[derive(Debug, Clone, Copy)]
pub struct ReadEvaluator;

impl Evaluator for ReadEvaluator {
    fn name(&self) -> &str {
        "read"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let found = read_score(model, data, split, count, &model.options(seed))?;
        Ok(Score::new(found.of).share("right", Share::new(found.right, found.of)))
    }
}

/// Reads the captions of `count` images of a split with the likeliest tokens.
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
