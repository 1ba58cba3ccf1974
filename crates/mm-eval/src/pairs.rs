//! This module measures what a model sees of details: it is asked whether two images are the same,
//! or which of them has a stroke, a block or a letter that the other has not.

use std::collections::BTreeMap;

use mm_data::{Asked, DataSet, PairSet, Split};
use mm_model::random::{Purpose, stream};
use mm_model::{Document, GenerateOptions, LoadedModel, Segment};
use serde::Serialize;

use crate::{EvalError, Evaluator, Score, Share, TOGETHER};

/// Limits the tokens of an answer, which is one word.
const ANSWER_TOKENS: usize = 16;

/// Shares of right answers by what was asked, such as `same` or `which-letter`, and of all answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairsScore {
    /// The shares by the names of [`Asked`].
    pub shares: BTreeMap<String, Share>,
    /// The share of all right answers.
    pub all: Share,
}

/// Measures the shares of right answers about pairs, by [`pairs_score`]. The data must be `pairs`.
#[derive(Debug, Clone, Copy)]
pub struct PairsEvaluator;

impl Evaluator for PairsEvaluator {
    fn name(&self) -> &str {
        "pairs"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let found = pairs_score(model, data, split, count, &model.options(seed))?;
        let score = Score::new(found.all.of).share("all", found.all);
        Ok(found.shares.iter().fold(score, |score, (name, share)| score.share(name, *share)))
    }
}

/// Asks `count` questions about pairs of a split, each kind about equally often, and counts the
/// answers that are the wanted word.
pub fn pairs_score(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    count: usize,
    options: &GenerateOptions,
) -> Result<PairsScore, EvalError> {
    let Some(pairs) = data.downcast_ref::<PairSet>() else {
        return Err(EvalError::NotPairs);
    };
    let options = GenerateOptions { max_tokens: ANSWER_TOKENS, ..options.clone() };
    let kinds: Vec<Asked> = Asked::all().collect();
    let mut right = BTreeMap::<String, Vec<bool>>::new();
    for (number, &asked) in kinds.iter().enumerate() {
        let of = count / kinds.len() + usize::from(number < count % kinds.len());
        for first in (0..of).step_by(TOGETHER) {
            let (mut prompts, mut wanted) = (vec![], vec![]);
            for at in first..of.min(first + TOGETHER) {
                let mut rng = stream(options.seed, Purpose::Example, number as u64, at as u64);
                let (prompt, answer) = question_of(pairs.ask(asked, split, &mut rng));
                prompts.push(prompt);
                wanted.push(answer);
            }
            let answers = model.read(&prompts, &options)?;
            let found = answers.iter().zip(&wanted).map(|(answer, wanted)| answer == wanted);
            right.entry(asked.name()).or_default().extend(found);
        }
    }
    let share = |of: &[bool]| Share::new(of.iter().filter(|right| **right).count(), of.len());
    let all: Vec<bool> = right.values().flatten().copied().collect();
    let shares = right.iter().map(|(name, of)| (name.clone(), share(of))).collect();
    Ok(PairsScore { shares, all: share(&all) })
}

/// Parts a document into what is asked and the word that answers.
fn question_of(mut document: Document) -> (Document, String) {
    match document.segments.pop() {
        Some(Segment::Text { text, .. }) => (document, text),
        _ => (document, String::new()),
    }
}
