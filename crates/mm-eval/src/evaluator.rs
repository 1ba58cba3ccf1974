//! This module holds [`Evaluator`], the trait of a measure, and the [`Score`] that it returns.

use std::collections::BTreeMap;
use std::fmt;

use mm_data::{DataSet, Split};
use mm_model::LoadedModel;
use serde::Serialize;

use crate::{EvalError, Share};

/// One measure of a model. It never changes the model, and the same seed repeats it on
/// the same kind of processor.
///
/// ```
/// use mm_data::{DataSet, Split};
/// use mm_eval::{DrawEvaluator, EvalError, Evaluator, ReadEvaluator, Score, examples};
/// use mm_model::LoadedModel;
///
/// /// Measures how long captions are, whatever the model.
/// struct CaptionLength;
///
/// impl Evaluator for CaptionLength {
///     fn name(&self) -> &str {
///         "caption-length"
///     }
///
///     fn evaluate(
///         &self,
///         _model: &LoadedModel,
///         data: &DataSet,
///         split: Split,
///         count: usize,
///         seed: u64,
///     ) -> Result<Score, EvalError> {
///         let shown = examples(data, split, count, seed)?;
///         let bytes: usize = shown.iter().map(|example| example.caption.len()).sum();
///         Ok(Score::new(shown.len()).mean("bytes", bytes as f64))
///     }
/// }
///
/// let all: [&dyn Evaluator; 3] = [&ReadEvaluator, &DrawEvaluator, &CaptionLength];
/// assert_eq!(all.map(|measure| measure.name()), ["read", "draw", "caption-length"]);
/// ```
pub trait Evaluator {
    /// Names the measure, as `mm eval --task` does.
    fn name(&self) -> &str;

    /// Measures a model on at most `count` records of a split. The seed decides which records these
    /// are and every random number that the measure needs.
    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError>;
}

/// Named numbers that were measured on a number of records. As JSON it is one flat object.
///
/// ```
/// use mm_eval::Score;
///
/// let score = Score::new(8).mean("right", 6.0).with("bits", 1.5);
/// assert_eq!(score.to_string(), "bits 1.5000, right 0.7500 over 8");
/// assert_eq!(serde_json::to_string(&score)?, r#"{"count":8,"bits":1.5,"right":0.75}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The number of records that were measured.
    pub count: usize,
    /// The numbers by their names.
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

impl Score {
    /// Starts a score of `count` records without any number.
    pub fn new(count: usize) -> Self {
        Self { count, values: BTreeMap::new() }
    }

    /// Adds a number.
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// Adds the mean over the records of a `sum`, or nothing if there are no records.
    pub fn mean(self, name: &str, sum: f64) -> Self {
        if self.count == 0 {
            return self;
        }
        let mean = sum / self.count as f64;
        self.with(name, mean)
    }

    /// Adds a share, and the ends of its interval as `NAME_low` and `NAME_high`; nothing if there
    /// are no records.
    pub fn share(self, name: &str, share: Share) -> Self {
        if share.of == 0 {
            return self;
        }
        self.with(name, share.value)
            .with(&format!("{name}_low"), share.low)
            .with(&format!("{name}_high"), share.high)
    }

    /// Adds a number if there is one.
    pub fn maybe(self, name: &str, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().map(|(name, value)| format!("{name} {value:.4}"));
        write!(f, "{} over {}", values.collect::<Vec<_>>().join(", "), self.count)
    }
}
