//! What a model tells of while it works.

use mm_patch::Image;

/// Something that a model has just made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Made {
    /// A denoising step of an image.
    Step {
        /// Calls of the network that were made.
        done: usize,
        /// Calls of the network in all.
        of: usize,
        /// What the image would be if it were finished now; none where that is not known.
        estimate: Option<Image>,
    },
    /// A finished image.
    Image {
        /// The pixels.
        pixels: Image,
        /// The file, with what tells of the drawing.
        png: Vec<u8>,
    },
    /// A piece of text, whole characters.
    Text(String),
}

/// Hears of what is made.
pub type Told<'a> = &'a mut dyn FnMut(Made);
