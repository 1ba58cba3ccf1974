//! This module measures dialogues: a model answers questions about held-out glyphs, and an answer
//! is right if its words are the wanted ones and its images show what was asked for.

use std::collections::BTreeMap;

use mm_data::{DataSet, DialogueSet, Intent, Question, Split};
use mm_model::random::{Purpose, stream};
use mm_model::{Document, GenerateOptions, LoadedModel, Segment};
use serde::Serialize;

use crate::classifier::GlyphClassifier;
use crate::{EvalError, Evaluator, Score, Share};

/// Limits the tokens of an answer.
const ANSWER_TOKENS: usize = 48;

/// What a question is about: one of the rows of a [`DialogueScore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    intent: Intent,
    /// Whether the question speaks of an image that an earlier turn has drawn.
    follows: bool,
    /// Whether the words of the question never stood together in training.
    words: Split,
}

/// Shares of right answers by what was asked: `read`, `answer` (which of two, same or different),
/// `draw`, `edit` and `draw-more` (two images, or words around an image), each in phrasings of the
/// training split and, with `-new-words` in the name, in held-out ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DialogueScore {
    /// The shares by the names of the groups.
    pub shares: BTreeMap<String, Share>,
    /// Some questions that were answered wrongly: what was asked, wanted and answered.
    pub wrong: Vec<[String; 3]>,
}

/// Measures the shares of right answers, by [`dialogue_score`]. The data must be `dialogue`.
#[derive(Debug, Clone, Copy)]
pub struct DialogueEvaluator;

impl Evaluator for DialogueEvaluator {
    fn name(&self) -> &str {
        "dialogue"
    }

    /// Asks about held-out combinations whatever the split, which no other split could show.
    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        _split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let found = dialogue_score(model, data, count, &model.options(seed))?;
        let score = Score::new(found.shares.values().map(|share| share.of).sum());
        Ok(found.shares.iter().fold(score, |score, (name, share)| score.share(name, *share)))
    }
}

impl Case {
    /// Returns every kind of question.
    fn all() -> Vec<Self> {
        let mut all = vec![];
        for words in Split::ALL {
            for intent in Intent::ALL {
                all.push(Self { intent, follows: false, words });
                let of_last = matches!(
                    intent,
                    Intent::Read | Intent::Ink | Intent::Background | Intent::Character
                );
                if of_last {
                    all.push(Self { intent, follows: true, words });
                }
            }
        }
        all
    }

    fn group(self) -> String {
        let group = match self.intent {
            Intent::Read => "read",
            Intent::Which | Intent::Same => "answer",
            Intent::Draw => "draw",
            Intent::Ink | Intent::Background | Intent::Character => "edit",
            Intent::DrawTwo | Intent::SayAndDraw => "draw-more",
        };
        match self.words {
            Split::Train => group.to_owned(),
            Split::HeldOut => format!("{group}-new-words"),
        }
    }
}

/// Asks `count` questions, each kind about equally often, and counts the right answers. Text is
/// written with the likeliest tokens.
pub fn dialogue_score(
    model: &LoadedModel,
    data: &DataSet,
    count: usize,
    options: &GenerateOptions,
) -> Result<DialogueScore, EvalError> {
    let Some(dialogues) = data.downcast_ref::<DialogueSet>() else {
        return Err(EvalError::NotDialogues);
    };
    let classifier = GlyphClassifier::new(model.generation.width, model.generation.height)?;
    let patches = model.grid()?.tokens();
    let cases = Case::all();
    let mut score = DialogueScore::default();
    for number in 0..count {
        let case = cases[number % cases.len()];
        let mut rng = stream(options.seed, Purpose::Example, u64::MAX, number as u64);
        let question = dialogues.question(case.intent, case.words, case.follows, &mut rng);
        let options = GenerateOptions {
            seed: rand::Rng::next_u64(&mut rng),
            max_tokens: ANSWER_TOKENS,
            max_images: 3,
            max_patches: patches,
            ..options.clone()
        };
        let answer = model.generate(&question.prompt, &options, &mut |_| ())?;
        let right = is_right(&question, &answer, &classifier);
        let share = score.shares.entry(case.group()).or_insert(Share::new(0, 0));
        *share = Share::new(share.right + usize::from(right), share.of + 1);
        if !right {
            let wanted = Document { segments: question.answer.clone() };
            let found = described(&answer, Some(&classifier));
            score.wrong.push([
                described(&question.prompt, None),
                described(&wanted, Some(&classifier)),
                found,
            ]);
        }
    }
    Ok(score)
}

/// Says whether an answer has the wanted words, and images that show what was asked for.
fn is_right(question: &Question, answer: &Document, classifier: &GlyphClassifier) -> bool {
    let mut shown = question.shown.iter();
    let same = |(wanted, found): (&Segment, &Segment)| match (wanted, found) {
        (Segment::Text { text: wanted, .. }, Segment::Text { text: found, .. }) => wanted == found,
        (Segment::Image { image: wanted, .. }, Segment::Image { image: found, .. }) => {
            let size = |image: &mm_patch::Image| [image.width(), image.height()];
            let asked = shown.next();
            size(wanted) == size(found)
                && asked.is_some_and(|asked| classifier.classify(found).agrees(asked))
        }
        _ => false,
    };
    question.answer.len() == answer.segments.len()
        && question.answer.iter().zip(&answer.segments).all(same)
}

/// Spells a document in one line, with what its images show if there is a classifier of their size.
fn described(document: &Document, classifier: Option<&GlyphClassifier>) -> String {
    let one = |segment: &Segment| match (segment, classifier) {
        (Segment::Text { text, .. }, _) => text.replace('\n', " / "),
        (Segment::Image { image, .. }, Some(classifier)) if classifier.fits(image) => {
            let found = classifier.classify(image);
            format!("[{} {} on {}]", found.ink, found.character, found.background)
        }
        (Segment::Image { image, .. }, _) => format!("[{}x{}]", image.width(), image.height()),
    };
    document.segments.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use mm_data::{DataSource, DialogueConfig, ImageSettings};

    use super::*;

    #[test]
    fn the_true_answer_is_right_and_another_image_word_or_number_of_segments_is_not() {
        let image = ImageSettings { width: 32, height: 32, patch: 8 };
        let set = DialogueSet::open(&DialogueConfig::default(), image).unwrap();
        assert_eq!(set.name(), "dialogue");
        let classifier = GlyphClassifier::new(32, 32).unwrap();
        for (number, case) in (0..).zip(Case::all()) {
            let mut rng = stream(1, Purpose::Example, 0, number);
            let question = set.question(case.intent, case.words, case.follows, &mut rng);
            let mut answer = Document { segments: question.answer.clone() };
            assert!(is_right(&question, &answer, &classifier), "{case:?}");
            let small = mm_patch::Image::filled(8, 8, [0; 3]);
            let other = match &answer.segments[0] {
                Segment::Text { text, .. } => Segment::target_text(format!("{text}.")),
                Segment::Image { .. } => Segment::target_image(small),
            };
            let first = std::mem::replace(&mut answer.segments[0], other);
            assert!(!is_right(&question, &answer, &classifier), "{case:?}");
            answer.segments[0] = first;
            answer.segments.push(Segment::target_text("more"));
            assert!(!is_right(&question, &answer, &classifier), "{case:?}");
        }
    }
}
