//! This module measures the character error of a reader, by the height of the letters.

use std::collections::BTreeMap;

use mm_data::{DataSet, Example, Split, WordSet};
use mm_model::random::{Purpose, stream};
use mm_model::{Document, GenerateOptions, LoadedModel};
use mm_patch::Image;
use serde::Serialize;
use strsim::levenshtein;

use crate::{EvalError, Evaluator, Score, Share, TOGETHER};

/// Limits the tokens of a text that is read: three words of eight letters need 26.
const TEXT_TOKENS: usize = 48;

/// How many characters of several texts a reader got wrong: the edit distances (Levenshtein 1966)
/// from what was read to the truth, over the number of true characters.
///
/// The interval takes account of errors that come together in one text: it is Wilson's for as many
/// independent characters as tell equally much, which is the number of characters divided by the
/// design effect (Kish 1965) of the texts, and at most the number itself.
///
/// ```
/// use mm_eval::CharacterErrors;
///
/// let errors = CharacterErrors::of([("HELLO 42", "HELO 47"), ("AB", "AB")].into_iter());
/// assert_eq!((errors.edits, errors.characters, errors.texts), (2, 10, 2));
/// assert_eq!((errors.error_rate, errors.right), (0.2, 1));
/// assert!(errors.low < 0.2 && 0.2 < errors.high);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CharacterErrors {
    /// The number of insertions, deletions and replacements.
    pub edits: usize,
    /// The number of true characters.
    pub characters: usize,
    /// The number of texts.
    pub texts: usize,
    /// The number of texts without any error.
    pub right: usize,
    /// Edits over characters; above 1 where much is read that is not there, and 0 of none.
    pub error_rate: f64,
    /// The lower end of the 95 % interval; 0 of none.
    pub low: f64,
    /// The upper end of the 95 % interval; 1 of none, and at least the rate.
    pub high: f64,
}

impl CharacterErrors {
    /// Compares true texts with those that were read.
    pub fn of<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let counted: Vec<[usize; 2]> =
            texts.map(|(truth, read)| [levenshtein(truth, read), truth.chars().count()]).collect();
        let edits: usize = counted.iter().map(|[edits, _]| edits).sum();
        let characters: usize = counted.iter().map(|[_, characters]| characters).sum();
        let rate = if characters == 0 { 0.0 } else { edits as f64 / characters as f64 };
        let effective = characters as f64 / design_effect(&counted, rate);
        let interval = Share::of_rate(rate.min(1.0), effective);
        Self {
            edits,
            characters,
            texts: counted.len(),
            right: counted.iter().filter(|[edits, _]| *edits == 0).count(),
            error_rate: rate,
            low: interval.low,
            high: interval.high.max(rate),
        }
    }
}

impl std::fmt::Display for CharacterErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [rate, low, high] = [self.error_rate, self.low, self.high].map(|share| 100.0 * share);
        let Self { edits, characters, texts, right, .. } = self;
        write!(
            f,
            "{edits} of {characters} characters ({rate:.1} %, 95 % interval {low:.1} to {high:.1} \
             %), {right} of {texts} texts right"
        )
    }
}

/// Returns by how much the variance of the rate over texts exceeds that of as many independent
/// characters, and 1 where it does not or cannot be told. The variance is that of a ratio
/// (Cochran 1977, section 6.3): Σ (edits - rate · characters)² n / (n - 1) over characters².
fn design_effect(counted: &[[usize; 2]], rate: f64) -> f64 {
    let characters: usize = counted.iter().map(|[_, characters]| characters).sum();
    let texts = counted.len() as f64;
    let independent = rate * (1.0 - rate) * characters as f64;
    if counted.len() < 2 || independent <= 0.0 {
        return 1.0;
    }
    let squares: f64 = counted
        .iter()
        .map(|[edits, characters]| (*edits as f64 - rate * *characters as f64).powi(2))
        .sum();
    (squares * texts / (texts - 1.0) / independent).max(1.0)
}

/// The character errors of a reader by the height of the letters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WordsScore {
    /// The errors at each height of capitals, in pixels.
    pub heights: BTreeMap<usize, CharacterErrors>,
    /// The errors of all heights together.
    pub all: CharacterErrors,
    /// Some texts that were read wrongly: the height, the truth and what was read.
    pub wrong: Vec<WrongText>,
}

/// A text that was read wrongly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrongText {
    /// The height of its capitals, in pixels.
    pub height: usize,
    /// The true text.
    pub truth: String,
    /// What was read.
    pub read: String,
}

/// Measures the character error of reading, by [`words_score`]. The data must be `words`.
#[derive(Debug, Clone, Copy)]
pub struct WordsEvaluator;

impl Evaluator for WordsEvaluator {
    fn name(&self) -> &str {
        "words"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let found = words_score(model, data, split, count, &model.options(seed))?;
        let score = Score::new(found.all.texts).with("error", found.all.error_rate);
        Ok(found.heights.iter().fold(score, |score, (height, errors)| {
            score
                .with(&format!("error_{height}"), errors.error_rate)
                .with(&format!("error_{height}_low"), errors.low)
                .with(&format!("error_{height}_high"), errors.high)
        }))
    }
}

/// Reads `count` images of words of a split, about equally many of each height, with the likeliest
/// tokens.
pub fn words_score(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    count: usize,
    options: &GenerateOptions,
) -> Result<WordsScore, EvalError> {
    words_score_through(model, data, split, count, options, &mut Ok)
}

/// What is done to images before they are read.
pub type See<'a> = &'a mut dyn FnMut(Vec<Image>) -> Result<Vec<Image>, EvalError>;

/// Does what [`words_score`] does with what `see` makes of the images, such as what a codec leaves
/// of them.
pub fn words_score_through(
    model: &LoadedModel,
    data: &DataSet,
    split: Split,
    count: usize,
    options: &GenerateOptions,
    see: See<'_>,
) -> Result<WordsScore, EvalError> {
    let Some(words) = data.downcast_ref::<WordSet>() else {
        return Err(EvalError::NotWords);
    };
    let options = GenerateOptions { max_tokens: TEXT_TOKENS, ..options.clone() };
    let mut read: Vec<WrongText> = vec![];
    let kinds = words.heights().count();
    for (number, height) in words.heights().enumerate() {
        let of = count / kinds + usize::from(number < count % kinds);
        let shown: Vec<Example> = (0..of as u64)
            .map(|at| {
                let mut rng = stream(options.seed, Purpose::Example, height as u64, at);
                words.draw(split, height, &mut rng)
            })
            .collect();
        for chunk in shown.chunks(TOGETHER) {
            let images = chunk.iter().map(|example| example.image.clone()).collect();
            let prompts: Vec<Document> = see(images)?.into_iter().map(Document::of_image).collect();
            for (example, text) in chunk.iter().zip(model.read(&prompts, &options)?) {
                read.push(WrongText { height, truth: example.caption.clone(), read: text });
            }
        }
    }
    let errors = |of: &dyn Fn(&WrongText) -> bool| {
        let texts = read.iter().filter(|one| of(one));
        CharacterErrors::of(texts.map(|one| (one.truth.as_str(), one.read.as_str())))
    };
    let heights = words.heights().map(|height| (height, errors(&|one| one.height == height)));
    let (heights, all) = (heights.collect(), errors(&|_| true));
    let wrong = read.into_iter().filter(|one| one.truth != one.read).collect();
    Ok(WordsScore { heights, all, wrong })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_edit_is_one_letter_added_left_out_or_replaced() {
        for (truth, read, edits) in
            [("", "", 0), ("ABC", "ABC", 0), ("ABC", "", 3), ("ABC", "AXC", 1), ("ABC", "ABCD", 1)]
        {
            let errors = CharacterErrors::of([(truth, read)].into_iter());
            assert_eq!((errors.edits, errors.characters), (edits, truth.len()), "{truth} {read}");
        }
        let much = CharacterErrors::of([("A", "XXXX")].into_iter());
        assert_eq!((much.error_rate, much.high), (4.0, 4.0));
        let none = CharacterErrors::of(std::iter::empty());
        assert_eq!((none.error_rate, none.low, none.high), (0.0, 0.0, 1.0));
    }

    #[test]
    fn an_interval_is_wilsons_for_scattered_errors_and_wider_for_errors_that_come_together() {
        let even = vec![("ABCDEFGHIJ", "ABCDEFGHIX"); 40];
        let scattered = CharacterErrors::of(even.into_iter());
        let share = Share::new(40, 400);
        assert!((scattered.low - share.low).abs() < 1e-12);
        assert!((scattered.high - share.high).abs() < 1e-12);
        let mut lumped = vec![("ABCDEFGHIJ", ""); 4];
        lumped.extend(vec![("ABCDEFGHIJ", "ABCDEFGHIJ"); 36]);
        let together = CharacterErrors::of(lumped.into_iter());
        assert_eq!((together.edits, together.right), (40, 36));
        assert!(together.high - together.low > 2.5 * (share.high - share.low));
    }

    /// Texts are wholly wrong with probability 0.2, so their characters are one trial.
    #[test]
    fn intervals_cover_the_true_rate_when_texts_fail_as_a_whole() {
        use rand::RngExt;
        let mut rng = stream(0, Purpose::Example, 0, 0);
        let mut covered = 0;
        for _ in 0..500 {
            let texts: Vec<(&str, &str)> = (0..100)
                .map(|_| if rng.random::<f64>() < 0.2 { ("ABCDE", "") } else { ("ABCDE", "ABCDE") })
                .collect();
            let errors = CharacterErrors::of(texts.into_iter());
            covered += usize::from(errors.low <= 0.2 && 0.2 <= errors.high);
        }
        assert!((455..=495).contains(&covered), "{covered} of 500");
    }
}
