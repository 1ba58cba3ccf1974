//! This module measures the training losses on documents that a model was never trained on.

use mm_data::{DataSet, Example, Record, Split, Task};
use mm_diffusion::ForwardProcess;
use mm_model::{Batch, Collator, Document, HostBatch, IMAGE_LOSS, LoadedModel, Reduction, Segment};
use mm_text::Special;
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
    /// The cross-entropy in bits a byte of that text: of the tokens that stand for text, without
    /// the ends of documents and the sizes of images, over the bytes of the text.
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
            encoder: model.model.encoder(),
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
    fn add(&mut self, sum: f64, count: usize) {
        self.sum += sum;
        self.count += count;
    }

    /// Adds the `loss` of a batch, the mean over so many `values` of its target images.
    fn add_images(&mut self, loss: f64, reduction: Reduction, values: usize, images: usize) {
        let count = reduction.items(values, images);
        self.add(loss * reduction.factor(values, images) * count as f64, count);
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
    let (mut text, mut image) = (Mean::default(), Mean::default());
    let (mut bits, mut bytes) = (0.0, 0);
    let documents = held_out_batches(model, collator, data, split, count, &mut |found| {
        let HeldOutBatch { task, target_bytes, host, tensors } = found;
        if task == Task::Read {
            bytes += target_bytes;
            if let Some(nats) = model.model.surprises(&tensors) {
                let nats = nats.into_data().convert::<f32>();
                let nats = nats.try_to_vec::<f32>().expect("32-bit floats");
                let special = model.tokenizer.special();
                text.add(nats.iter().map(|nats| f64::from(*nats)).sum(), nats.len());
                bits += bits_of_text(&nats, host.target_ids(), special);
            }
            return;
        }
        let losses = model.model.losses(&tensors, model.config.prediction);
        if let Some(loss) = losses.value(IMAGE_LOSS) {
            let loss = f64::from(loss.into_scalar::<f32>());
            image.add_images(loss, reduction, host.target_numbers(), host.target_images());
        }
    })?;
    let bits_per_byte = (bytes > 0).then(|| bits / bytes as f64);
    Ok(HeldOutLosses { text: text.value(), bits_per_byte, image: image.value(), documents })
}

/// A batch of held-out documents of one task.
#[derive(Debug)]
pub struct HeldOutBatch {
    /// What is asked of the records.
    pub task: Task,
    /// The bytes of all target texts.
    pub target_bytes: usize,
    /// The batch before it went to the device.
    pub host: HostBatch,
    /// The batch on the device.
    pub tensors: Batch,
}

/// Shows `measure` the batches on which losses are measured, and returns the number of records:
/// `count` of a split, or all if there are fewer. Images with captions are read and drawn, or only
/// drawn by a model of images alone; whole documents are taken as they are.
pub fn held_out_batches(
    model: &LoadedModel,
    collator: &Collator<'_>,
    data: &DataSet,
    split: Split,
    count: usize,
    measure: &mut dyn FnMut(HeldOutBatch),
) -> Result<usize, EvalError> {
    let shown = records(data, split, count, collator.seed)?;
    let image_only = !model.config.has_prompts();
    let tasks: &[Task] =
        if !model.config.has_text() { &[Task::Draw] } else { &[Task::Read, Task::Draw] };
    for (step, chunk) in (0..).zip(shown.chunks(TOGETHER)) {
        for &task in tasks {
            let documents: Vec<Document> =
                chunk.iter().map(|record| document_of(record, task, image_only)).collect();
            let target_bytes = documents.iter().map(target_bytes).sum();
            let host = collator.batch(documents.into_iter().zip(0..), step)?;
            let tensors = host.to_device(&model.config, &model.model.device());
            measure(HeldOutBatch { task, target_bytes, host, tensors });
        }
    }
    Ok(shown.len())
}

/// Returns the bits of those of the target tokens that stand for text, given the nats of all.
fn bits_of_text(nats: &[f32], ids: &[i32], special: &Special) -> f64 {
    let of_text = |(nats, id): (&f32, &i32)| {
        if special.is_special(*id as u32) { 0.0 } else { f64::from(*nats) }
    };
    nats.iter().zip(ids).map(of_text).sum::<f64>() / std::f64::consts::LN_2
}

/// Returns the document of a record for a task, without words for a model of images only.
fn document_of(record: &Record, task: Task, image_only: bool) -> Document {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_images_and_ends_of_documents_are_no_bits_of_text() {
        let special = Special::default();
        let [rows, cols] = [special.rows(2), special.cols(3)].map(|id| id.unwrap() as i32);
        let text = Special::COUNT as i32;
        let ids = [text, rows, cols, special.image as i32, text + 7, special.end as i32];
        let nats = [1.0, 20.0, 20.0, 20.0, 2.0, 20.0].map(|bits: f32| bits * 2f32.ln());
        assert!((bits_of_text(&nats, &ids, &special) - 3.0).abs() < 1e-6);
    }

    /// A batch of one small image, and one of two large ones of three times as many values.
    #[test]
    fn sums_of_images_of_several_sizes_weigh_by_images_and_means_by_values() {
        let mean_of = |reduction| {
            let mut mean = Mean::default();
            mean.add_images(1.0, reduction, 10, 1);
            mean.add_images(2.0, reduction, 60, 2);
            mean.value().unwrap()
        };
        assert!((mean_of(Reduction::Sum) - (10.0 + 60.0 + 60.0) / 3.0).abs() < 1e-12);
        assert!((mean_of(Reduction::Mean) - (10.0 + 120.0) / 70.0).abs() < 1e-12);
    }
}
