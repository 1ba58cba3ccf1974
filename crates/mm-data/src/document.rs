//! Examples into documents: the tasks the model is trained on.

use mm_model::{Document, Segment};
use mm_patch::Image;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Example, Ink};

/// Which way an example is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The caption is given, the picture is learnt.
    Draw,
    /// The picture is given, the caption is learnt.
    Read,
    /// Either, by a fair coin for each example.
    Both,
}

impl Direction {
    /// The document of an example; `rng` is touched by [`Direction::Both`] alone.
    pub fn document(self, example: Example, rng: &mut ChaCha8Rng) -> Document {
        match self {
            Self::Draw => draw(example),
            Self::Read => read(example),
            Self::Both if rng.random_bool(0.5) => draw(example),
            Self::Both => read(example),
        }
    }
}

/// Whether two pictures show the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Likeness {
    /// The same characters in the same colours, whatever their place, size and typeface.
    Same,
    /// Something other: the characters, the ink or the background.
    Different,
}

impl Likeness {
    /// The word that answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
        }
    }
}

/// One of two pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The one shown first.
    First,
    /// The one shown second.
    Second,
}

impl Place {
    /// The word that answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// Given the caption, draw the picture.
///
/// ```
/// use mm_model::Segment;
/// use mm_patch::Image;
/// use mm_data::{Example, draw};
///
/// let picture = Image::filled(8, 8, [255; 3]);
/// let document = draw(Example { image: picture.clone(), caption: "all white".into() });
/// assert_eq!(document.segments, vec![Segment::context_text("all white"), Segment::target_image(picture)]);
/// ```
pub fn draw(example: Example) -> Document {
    Document {
        segments: vec![
            Segment::context_text(example.caption),
            Segment::target_image(example.image),
        ],
    }
}

/// Given the picture, write the caption.
pub fn read(example: Example) -> Document {
    Document {
        segments: vec![
            Segment::context_image(example.image),
            Segment::target_text(example.caption),
        ],
    }
}

/// Given the caption and its finished picture, write nothing more: what ends a document after a drawing.
pub fn finished(example: Example) -> Document {
    Document {
        segments: vec![
            Segment::context_text(example.caption),
            Segment::context_image(example.image),
            Segment::target_text(""),
        ],
    }
}

/// Given two pictures, say whether they show the same.
pub fn same_or_different(first: Image, second: Image, answer: Likeness) -> Document {
    Document {
        segments: vec![
            Segment::context_image(first),
            Segment::context_image(second),
            Segment::target_text(answer.word()),
        ],
    }
}

/// Given the question and two pictures, say which of them is drawn in `ink`.
pub fn which_one_is(ink: Ink, first: Image, second: Image, answer: Place) -> Document {
    Document {
        segments: vec![
            Segment::context_text(which_question(ink)),
            Segment::context_image(first),
            Segment::context_image(second),
            Segment::target_text(answer.word()),
        ],
    }
}

/// The question of [`which_one_is`].
pub fn which_question(ink: Ink) -> String {
    format!("which one is {ink}?")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Text and images with a mark on what is learnt.
    fn shape(document: &Document) -> String {
        let segments: Vec<String> = document
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Text { text, target } => {
                    format!("{}{text}", if *target { "*" } else { "" })
                }
                Segment::Image { target, .. } => {
                    format!("{}[image]", if *target { "*" } else { "" })
                }
            })
            .collect();
        segments.join(" ")
    }

    #[test]
    fn questions_are_given_and_answers_are_learnt() {
        let picture = || Image::filled(8, 8, [1, 2, 3]);
        let example = || Example { image: picture(), caption: "red K on white".into() };
        assert_eq!(shape(&draw(example())), "red K on white *[image]");
        assert_eq!(shape(&read(example())), "[image] *red K on white");
        assert_eq!(shape(&finished(example())), "red K on white [image] *");
        assert_eq!(
            shape(&same_or_different(picture(), picture(), Likeness::Same)),
            "[image] [image] *same"
        );
        let which = which_one_is(Ink::Red, picture(), picture(), Place::Second);
        assert_eq!(shape(&which), "which one is red? [image] [image] *second");
    }

    #[test]
    fn both_directions_are_taken_about_equally() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let example = || Example { image: Image::filled(8, 8, [0; 3]), caption: "x".into() };
        let drawn = (0..400).filter(|_| {
            let document = Direction::Both.document(example(), &mut rng);
            matches!(document.segments[0], Segment::Text { .. })
        });
        assert!((160..240).contains(&drawn.count()));
    }
}
