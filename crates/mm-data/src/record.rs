//! What sources return, before it is a document.

use mm_model::{Document, Segment};
use mm_patch::Image;

/// An image and what it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The pixels, in exactly the wanted size unless the source keeps the aspect.
    pub image: Image,
    /// The words, which may be none.
    pub caption: String,
}

/// What a source returns for an index.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// An image with a caption, of which documents of several tasks can be made.
    Captioned(Example),
    /// A document that is taken as it is.
    Whole(Document),
}

impl Record {
    /// Returns the words of a record, with a line break for each image of a whole document.
    pub(crate) fn text(&self) -> String {
        let text = |segment: &Segment| match segment {
            Segment::Text { text, .. } => text.clone(),
            Segment::Image { .. } => "\n".to_owned(),
        };
        match self {
            Self::Captioned(example) => example.caption.clone(),
            Self::Whole(document) => document.segments.iter().map(text).collect(),
        }
    }
}
