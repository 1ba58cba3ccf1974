//! This module measures the training losses on documents that a model was never trained on.

use mm_data::{DataSet, Example, Record, Split, Task};
use mm_diffusion::ForwardProcess;
use mm_model::{Collator, Document, IMAGE_LOSS, LoadedModel, Reduction, Segment, TEXT_LOSS};
use serde::Serialize;

use crate::records::records;
use crate::{EvalError, Evaluator, Score, TOGETHER};

/// Losses on documents of a split. A number that there was nothing to take from is absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeldOutLosses {
    /// The cross-entropy of captions after their images, and of the target text of whole documents,
    /// in nats a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<f64>,
    /// The cross-entropy in bits a byte of that text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// The weighted squared error of images after their captions, and of the target images of whole
    /// documents, at the recipe's noise levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<f64>,
    /// The number of records.
    pub documents: usize,
}

/// Measures the losses of a model as a recipe defines them, by [`held_out_losses`].
///
/// ```
/// use mm_diffusion::{ForwardProcess, LossWeight, Schedule, TimestepSampling};
/// use mm_eval::{Evaluator, LossEvaluator};
/// use mm_model::Reduction;
///
/// let process = ForwardProcess {
///     schedule: Schedule::Linear,
///     timesteps: TimestepSampling::Uniform,
///     weight: LossWeight::One,
/// };
/// let losses = LossEvaluator { process, pack_len: 0, reduction: Reduction::Mean };
/// assert_eq!(losses.name(), "loss");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LossEvaluator {
    /// The noise levels and the weights of the squared error.
    pub process: ForwardProcess,
    /// The number of tokens in a packed row; 0 means one document a row.
    pub pack_len: usize,
    /// The numbers over which the squared error is a mean.
    pub reduction: Reduction,
}

impl Evaluator for LossEvaluator {
    fn name(&self) -> &str {
        "loss"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let collator = Collator {
            tokenizer: &model.tokenizer,
            config: &model.config,
            process: self.process,
            pack_len: self.pack_len,
            seed,
        };
        let found = held_out_losses(model, &collator, self.reduction, data, split, count)?;
        Ok(Score::new(found.documents)
            .maybe("text", found.text)
            .maybe("bits_per_byte", found.bits_per_byte)
            .maybe("image", found.image))
    }
}

/// A mean of which parts are known with their counts.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, mean: f64, count: usize) {
        self.sum += mean * count as f64;
        self.count += count;
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// Returns the losses on `count` records of a split. Images with captions are read and drawn; whole
/// documents are taken as they are. The noise is a pure function of the collator's seed.
pub fn held_out_losses(
    model: &LoadedModel,
    collator: &Collator<'_>,
    reduction: Reduction,
    data: &DataSet,
    split: Split,
    count: usize,
) -> Result<HeldOutLosses, EvalError> {
    let shown = records(data, split, count, collator.seed)?;
    let image_only = !model.config.has_text();
    let tasks: &[Task] = if image_only { &[Task::Draw] } else { &[Task::Read, Task::Draw] };
    let (mut text, mut image, mut bytes) = (Mean::default(), Mean::default(), 0);
    for (step, chunk) in (0..).zip(shown.chunks(TOGETHER)) {
        for &task in tasks {
            let made: Vec<Document> =
                chunk.iter().map(|record| document_of(record, task, image_only)).collect();
            if task == Task::Read {
                bytes += made.iter().map(target_bytes).sum::<usize>();
            }
            let batch = collator.batch(made.into_iter().zip(0..), step)?;
            let tensors = batch.to_device(&model.config, &model.model.device());
            let losses = model.model.losses(&tensors, model.config.prediction);
            let [tokens, numbers] = batch.target_counts();
            let scale = reduction.factor(batch.target_numbers(), batch.target_images());
            let (mean, loss, count) = match task {
                Task::Read => (&mut text, losses.value(TEXT_LOSS), tokens),
                _ => (&mut image, losses.value(IMAGE_LOSS).map(|loss| loss * scale), numbers),
            };
            if let Some(loss) = loss {
                mean.add(f64::from(loss.into_scalar::<f32>()), count);
            }
        }
    }
    let bits_per_byte = (bytes > 0).then(|| text.sum / std::f64::consts::LN_2 / bytes as f64);
    let documents = shown.len();
    Ok(HeldOutLosses { text: text.value(), bits_per_byte, image: image.value(), documents })
}

/// Returns the document of a record for a task, without words for a model of images only.
pub fn document_of(record: &Record, task: Task, image_only: bool) -> Document {
    match record {
        Record::Captioned(example) if image_only => {
            task.document(Example { image: example.image.clone(), caption: String::new() })
        }
        Record::Captioned(example) => task.document(example.clone()),
        Record::Whole(document) => document.clone(),
    }
}

/// Counts the bytes of the text that is a target in a document.
fn target_bytes(document: &Document) -> usize {
    let bytes = |segment: &Segment| match segment {
        Segment::Text { text, target: true } => text.len(),
        _ => 0,
    };
    document.segments.iter().map(bytes).sum()
}
