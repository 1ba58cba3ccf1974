//! Conversations as documents: how the turns of a user and the answers of a model follow each
//! other in one sequence. Training data, the command line and the server lay them out here alone.

use crate::document::{Document, Segment};

/// Stands behind what a user asks, and between an answer and the next turn.
pub const TURN_END: &str = "\n";

/// What a user asked, and what was answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Turn {
    /// The texts and images of the user.
    pub asked: Vec<Segment>,
    /// The texts and images of the answer; none where the model shall answer.
    pub answer: Vec<Segment>,
}

impl Document {
    /// Lays turns out one behind another. The last answer stands at the end, so a document whose
    /// last turn has none is a prompt for it.
    ///
    /// ```
    /// use mm_model::{Document, Segment, Turn};
    ///
    /// let asked = vec![Segment::context_text("draw red K on white")];
    /// let prompt = Document::of_turns(vec![Turn { asked, answer: vec![] }]);
    /// let wanted = ["draw red K on white", "\n"].map(Segment::context_text);
    /// assert_eq!(prompt.segments, wanted);
    /// ```
    pub fn of_turns(turns: Vec<Turn>) -> Self {
        let mut segments = vec![];
        for (index, turn) in turns.into_iter().enumerate() {
            if index > 0 {
                segments.push(Segment::context_text(TURN_END));
            }
            segments.extend(turn.asked);
            segments.push(Segment::context_text(TURN_END));
            segments.extend(turn.answer);
        }
        Self { segments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_follows_an_answer_is_parted_from_it() {
        let turn = |asked: &str, answer: Vec<Segment>| Turn {
            asked: vec![Segment::context_text(asked)],
            answer,
        };
        let answer = Segment::target_text("red K");
        let found = Document::of_turns(vec![turn("a", vec![answer.clone()]), turn("b", vec![])]);
        let [a, b, end] = ["a", "b", TURN_END].map(Segment::context_text);
        assert_eq!(found.segments, [a, end.clone(), answer, end.clone(), b, end]);
    }
}
