//! Questions to a trained model, whose right answers are known.

use mm_model::{Document, Segment, Turn};
use rand_chacha::ChaCha8Rng;

use super::{Allowed, DialogueSet, Intent, turn};
use crate::glyphs::Combination;
use crate::split::Split;

/// A prompt, and what a right answer to it contains.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The dialogue up to the answer.
    pub prompt: Document,
    /// The true answer: texts are wanted word for word.
    pub answer: Vec<Segment>,
    /// What the images of the answer show, in their order.
    pub shown: Vec<Combination>,
}

impl DialogueSet {
    /// Asks about a held-out combination, in words of a split. `follows` puts a turn in front that
    /// has drawn the image of which the question speaks.
    pub fn question(
        &self,
        intent: Intent,
        words: Split,
        follows: bool,
        rng: &mut ChaCha8Rng,
    ) -> Question {
        let allowed = Allowed { shown: Split::HeldOut, words };
        if !follows {
            let made = self.turn(intent, allowed, None, rng);
            return question(vec![], made.turn, made.shown);
        }
        let (before, after) = match intent {
            Intent::Ink | Intent::Background | Intent::Character => {
                self.edited(intent, Split::HeldOut, rng)
            }
            _ => {
                let scene = self.scene(Split::HeldOut, rng);
                (scene.clone(), scene)
            }
        };
        let caption = before.shown.to_string();
        let asked = Intent::Draw.ask(Split::Train, &caption, "", rng);
        let first = turn(
            vec![Segment::context_text(asked)],
            vec![Segment::context_image(self.image(&before))],
        );
        let made = match intent {
            Intent::Ink | Intent::Background | Intent::Character => {
                self.edit_to(intent, words, vec![], after, rng)
            }
            _ => self.turn(intent, allowed, Some(before), rng),
        };
        question(vec![first], made.turn, made.shown)
    }
}

fn question(mut turns: Vec<Turn>, last: Turn, shown: Vec<Combination>) -> Question {
    turns.push(turn(last.asked, vec![]));
    Question { prompt: Document::of_turns(turns), answer: last.answer, shown }
}
