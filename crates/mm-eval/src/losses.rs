//! The training losses on documents that a model was never trained on.

use mm_data::{DataSet, Example, Record, Split, Task};
use mm_model::{Collator, Document, IMAGE_LOSS, LoadedModel, Reduction, Segment, TEXT_LOSS};
use serde::Serialize;

use crate::records::records;
use crate::{EvalError, TOGETHER};

/// Losses on documents of a part; a number that there was nothing to take from is absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeldOutLosses {
    /// Cross-entropy of captions after their pictures and of the learnt text of whole documents, nats a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<f64>,
    /// The same in bits a byte of that text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Weighted squared error of pictures after their captions and of the learnt pictures of whole documents, at the recipe's
    /// noise levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<f64>,
    /// Records.
    pub documents: usize,
}

/// Losses on `count` records of a part: pictures with captions are read and drawn, whole documents taken as they are. Noise is
/// a pure function of the recipe's seed.
pub fn held_out_losses(
    model: &LoadedModel,
    collator: &Collator<'_>,
    reduction: Reduction,
    data: &DataSet,
    split: Split,
    count: usize,
) -> Result<HeldOutLosses, EvalError> {
    let shown = records(data, split, count, collator.seed)?;
    let documents = shown.len();
    let image_only = !model.config.has_text();
    let (mut sums, mut counts, mut bytes) = ([0.0; 2], [0; 2], 0);
    for (step, chunk) in (0..).zip(shown.chunks(TOGETHER)) {
        for (which, task) in [Task::Read, Task::Draw].into_iter().enumerate() {
            if task == Task::Read && image_only {
                continue; // images alone
            }
            let made: Vec<Document> =
                chunk.iter().map(|record| made(record, task, image_only)).collect();
            if task == Task::Read {
                bytes += made.iter().map(target_bytes).sum::<usize>();
            }
            let batch = collator.batch(made.into_iter().zip(0..), step)?;
            let device = model.model.device();
            let tensors = batch.to_device(&model.config, &device);
            let losses = model.model.losses(&tensors, model.config.prediction);
            let scale = reduction.factor(batch.target_numbers(), batch.target_images());
            let loss = match task {
                Task::Read => losses.value(TEXT_LOSS),
                _ => losses.value(IMAGE_LOSS).map(|loss| loss * scale),
            };
            if let Some(loss) = loss {
                let learnt = batch.target_counts()[which];
                sums[which] += f64::from(loss.into_scalar::<f32>()) * learnt as f64;
                counts[which] += learnt;
            }
        }
    }
    let mean = |which: usize| (counts[which] > 0).then(|| sums[which] / counts[which] as f64);
    let bits_per_byte = (bytes > 0).then(|| sums[0] / std::f64::consts::LN_2 / bytes as f64);
    Ok(HeldOutLosses { text: mean(0), bits_per_byte, image: mean(1), documents })
}

/// A record's document of a kind; without words where there are images alone.
fn made(record: &Record, task: Task, image_only: bool) -> Document {
    match record {
        Record::Captioned(example) if image_only => {
            task.document(Example { image: example.image.clone(), caption: String::new() })
        }
        Record::Captioned(example) => task.document(example.clone()),
        Record::Whole(document) => document.clone(),
    }
}

/// Bytes of the text that a document teaches to write.
fn target_bytes(document: &Document) -> usize {
    let bytes = |segment: &Segment| match segment {
        Segment::Text { text, target: true } => text.len(),
        _ => 0,
    };
    document.segments.iter().map(bytes).sum()
}
