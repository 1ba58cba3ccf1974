//! The tasks that a model is trained on, the documents they make of an example, and the share of
//! the documents that each of them gets.

use mm_model::random::{Purpose, stream};
use mm_model::{Document, Segment};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::record::Example;

/// What a document asks of the model.
///
/// ```
/// use mm_data::{Example, Task};
/// use mm_model::Segment;
/// use mm_patch::Image;
///
/// let image = Image::filled(8, 8, [255; 3]);
/// let example = Example { image: image.clone(), caption: "all white".into() };
/// let document = Task::Draw.document(example);
/// let wanted = [Segment::context_text("all white"), Segment::target_image(image)];
/// assert_eq!(document.segments, wanted);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// Either [`Self::Draw`] or [`Self::Read`], by a fair coin for each document.
    Both,
}

impl Task {
    /// Makes the document of this task about one image; tasks of two images fall back to drawing,
    /// and so does [`Self::Both`], whose coin [`Self::settled`] tosses.
    pub fn document(self, Example { image, caption }: Example) -> Document {
        let segments = match self {
            Self::Draw | Self::SameOrDifferent | Self::WhichOne | Self::Both => {
                vec![Segment::context_text(caption), Segment::target_image(image)]
            }
            Self::Read => vec![Segment::context_image(image), Segment::target_text(caption)],
            Self::Finished => vec![
                Segment::context_text(caption),
                Segment::context_image(image),
                Segment::target_text(""),
            ],
        };
        Document { segments }
    }

    /// Returns the task itself, and one of two for [`Self::Both`], which alone touches `rng`.
    pub fn settled(self, rng: &mut ChaCha8Rng) -> Self {
        match self {
            Self::Both if rng.random_bool(0.5) => Self::Draw,
            Self::Both => Self::Read,
            one => one,
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
    /// The share of drawn documents whose caption is left out, which classifier-free guidance
    /// needs.
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
        // One random offset a step, then equal spacing: each task gets its share to within one
        // document.
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

#[cfg(test)]
mod tests {
    use mm_patch::Image;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn what_is_asked_is_context_and_the_answer_is_the_target() {
        let image = Image::filled(8, 8, [1, 2, 3]);
        let segments = |task: Task| {
            let caption = "red K on white".into();
            task.document(Example { image: image.clone(), caption }).segments
        };
        let caption = Segment::context_text("red K on white");
        let drawing = Segment::target_image(image.clone());
        let context = Segment::context_image(image.clone());
        assert_eq!(segments(Task::Draw), [caption.clone(), drawing]);
        assert_eq!(segments(Task::Read), [context.clone(), Segment::target_text("red K on white")]);
        assert_eq!(segments(Task::Finished), [caption, context, Segment::target_text("")]);
    }

    #[test]
    fn both_tasks_are_taken_about_equally() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let drawn = (0..400).filter(|_| Task::Both.settled(&mut rng) == Task::Draw).count();
        assert!((160..240).contains(&drawn));
        assert_eq!(Task::Finished.settled(&mut rng), Task::Finished);
    }
}
