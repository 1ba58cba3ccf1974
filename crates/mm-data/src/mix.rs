//! The tasks that a model is trained on, and the share of the documents that each of them gets.

use mm_model::Document;
use mm_model::random::{Purpose, stream};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::Example;
use crate::document::{draw, finished, read};

/// What a document teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// The caption is context and the image is the target.
    Draw,
    /// The image is context and the caption is the target.
    Read,
    /// The caption and the clean image are context, and the end of the document is the target.
    Finished,
    /// Two images are context, and `same` or `different` is the target.
    SameOrDifferent,
    /// A question and two images are context, and `first` or `second` is the target.
    WhichOne,
}

impl Task {
    /// Makes the one-image document of this task; tasks with two images fall back to drawing.
    pub fn document(self, example: Example) -> Document {
        match self {
            Self::Read => read(example),
            Self::Finished => finished(example),
            Self::Draw | Self::SameOrDifferent | Self::WhichOne => draw(example),
        }
    }
}

/// The shares of the tasks; they need not add up to one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixConfig {
    /// Caption, then image: the share at the first and at the last step, which changes linearly.
    pub draw: [f64; 2],
    /// Image, then caption: the share at the first and at the last step.
    pub read: [f64; 2],
    /// Caption, then the clean image, then the end: teaches that nothing follows a finished image.
    #[serde(default)]
    pub finished: f64,
    /// Two images, then `same` or `different` (glyphs only).
    #[serde(default)]
    pub same_or_different: f64,
    /// A question, two images, then `first` or `second` (glyphs only).
    #[serde(default)]
    pub which_one: f64,
    /// The share of drawn documents whose caption is left out, which classifier-free guidance needs.
    pub caption_drop: f64,
}

impl MixConfig {
    /// Returns the task of each of `batch` documents of a step. The shares at this step are rounded
    /// so that their sum over the steps stays exact.
    pub fn tasks(&self, seed: u64, step: u64, steps: u64, batch: usize) -> Vec<Task> {
        let progress = step as f64 / steps.max(1) as f64;
        let at = |ends: [f64; 2]| ends[0] + (ends[1] - ends[0]) * progress.min(1.0);
        let shares = [
            (Task::Draw, at(self.draw)),
            (Task::Read, at(self.read)),
            (Task::Finished, self.finished),
            (Task::SameOrDifferent, self.same_or_different),
            (Task::WhichOne, self.which_one),
        ];
        let total: f64 = shares.iter().map(|(_, share)| share).sum();
        // One random offset a step, then equal spacing: each task gets its share to within one document.
        let offset = stream(seed, Purpose::Order, step, u64::MAX).random::<f64>();
        (0..batch)
            .map(|index| {
                let mut left = (index as f64 + offset) / batch as f64 * total;
                for (task, share) in shares {
                    if left < share {
                        return task;
                    }
                    left -= share;
                }
                Task::Draw
            })
            .collect()
    }
}
