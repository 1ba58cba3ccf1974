//! Documents: what a person writes and looks at, before any token exists.

use mm_patch::Image;

/// One stretch of a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Segment {
    /// Text. With `target`, the next-token loss falls on it.
    Text {
        /// The words.
        text: String,
        /// Whether the model is trained to write them.
        target: bool,
    },
    /// An image whose sides are multiples of the patch. With `target` it is noised and the model
    /// is trained to denoise it; without, it is shown clean (a prompt, or the image of a
    /// question).
    Image {
        /// The pixels.
        image: Image,
        /// Whether the model is trained to draw them.
        target: bool,
    },
}

impl Segment {
    /// Text the model is trained to write.
    pub fn target_text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), target: true }
    }

    /// Text the model only reads.
    pub fn context_text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), target: false }
    }

    /// An image the model is trained to draw.
    pub fn target_image(image: Image) -> Self {
        Self::Image { image, target: true }
    }

    /// An image the model only looks at.
    pub fn context_image(image: Image) -> Self {
        Self::Image { image, target: false }
    }
}

/// An ordered list of [`Segment`]s, text and images in any order and number.
///
/// ```
/// use mm_model::{Document, Segment};
/// use mm_patch::Image;
///
/// let red = Image::filled(16, 16, [220, 30, 30]);
/// let reading = Document { segments: vec![Segment::context_image(red), Segment::target_text("all red")] };
/// assert_eq!(reading.segments.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// What stands in the document, in order.
    pub segments: Vec<Segment>,
}

impl Document {
    /// Makes a prompt that is one text.
    pub fn of_text(text: &str) -> Self {
        Self { segments: vec![Segment::context_text(text)] }
    }

    /// Makes a prompt that is one image.
    pub fn of_image(image: Image) -> Self {
        Self { segments: vec![Segment::context_image(image)] }
    }
}
