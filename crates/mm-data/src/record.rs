//! Records: what a source returns for an index.

use mm_model::Document;
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
