//! Documents to token sequences: ids, patches, positions, who may attend whom, and where the loss falls.
//!
//! ```text
//! [BEGIN] r e d [ROWS=2] [COLS=2] [IMG] p p p p [/IMG] [END]
//! ```
//!
//! An image's size and `[IMG]` stand before its patches, so that the model can choose to draw and how large. Every token
//! is predicted from the place before it; `[/IMG]` is never predicted, since it always follows the last patch.

use mm_backbone::{PositionScheme, Positions};
use mm_patch::{Grid, Image, image_to_patches};
use mm_text::{MAX_SIDE, Special, Tokenizer};

use crate::{Document, DocumentError, Segment};

/// One document as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// A token id for every place; at patch places it is padding and ignored.
    pub ids: Vec<u32>,
    /// Where each place stands on the plane, `[row, column]`.
    pub positions: Vec<[f64; 2]>,
    /// The places each place may attend, `start..end`.
    pub ranges: Vec<[u32; 2]>,
    /// The images, in order.
    pub images: Vec<ImageSpan>,
    /// Learnt next tokens: (place that predicts, id that follows).
    pub targets: Vec<(usize, u32)>,
    /// The state from which further tokens are placed.
    pub next: Positions,
}

/// An image inside a [`Sequence`].
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSpan {
    /// Place of the first patch.
    pub start: usize,
    /// Rows, columns and patch.
    pub grid: Grid,
    /// Whether it is noised and learnt.
    pub learn: bool,
    /// Clean pixels in [-1, 1], `[rows * cols, numbers]` in reading order.
    pub patches: Vec<f32>,
}

/// Turns documents into sequences for one tokenizer, patch size and position scheme.
#[derive(Debug, Clone, Copy)]
pub struct Sequencer<'a> {
    /// The words' tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Side of a patch, pixels.
    pub patch: usize,
    /// How positions are assigned.
    pub positions: PositionScheme,
}

impl Sequencer<'_> {
    /// A whole document, with its end, for training.
    pub fn complete(&self, document: &Document) -> Result<Sequence, DocumentError> {
        let mut sequence = self.prompt(document)?;
        let learn = match document.segments.last() {
            Some(Segment::Text { learn, .. } | Segment::Image { learn, .. }) => *learn,
            None => true,
        };
        sequence.push_token(self.special().end, learn);
        Ok(sequence)
    }

    /// The start of a document that the model is to go on with.
    pub fn prompt(&self, document: &Document) -> Result<Sequence, DocumentError> {
        let mut sequence = Sequence::empty(self.positions);
        sequence.push_token(self.special().begin, false);
        let mut index = 0;
        for segment in &document.segments {
            match segment {
                Segment::Text { text, learn } => {
                    for id in self.tokenizer.encode(text) {
                        sequence.push_token(id, *learn);
                    }
                }
                Segment::Image { image, learn } => {
                    index += 1;
                    self.push_image(&mut sequence, image, *learn, index)?;
                }
            }
        }
        Ok(sequence)
    }

    /// A prompt that ends in `[IMG]`, so that an image of `grid` comes next.
    pub fn drawing_prompt(
        &self,
        document: &Document,
        grid: Grid,
    ) -> Result<Sequence, DocumentError> {
        let mut sequence = self.prompt(document)?;
        let index = sequence.images.len() + 1;
        self.push_opening(&mut sequence, grid, false, index)?;
        Ok(sequence)
    }

    fn special(&self) -> &Special {
        self.tokenizer.special()
    }

    fn push_opening(
        &self,
        sequence: &mut Sequence,
        grid: Grid,
        learn: bool,
        index: usize,
    ) -> Result<(), DocumentError> {
        let special = self.special();
        let too_large =
            DocumentError::TooLarge { index, rows: grid.rows, cols: grid.cols, most: MAX_SIDE };
        let (Some(rows), Some(cols)) = (special.rows(grid.rows), special.cols(grid.cols)) else {
            return Err(too_large);
        };
        for id in [rows, cols, special.image] {
            sequence.push_token(id, learn);
        }
        Ok(())
    }

    fn push_image(
        &self,
        sequence: &mut Sequence,
        image: &Image,
        learn: bool,
        index: usize,
    ) -> Result<(), DocumentError> {
        let wrong = |source| DocumentError::Image { index, source };
        let grid = Grid::of_size(image.width(), image.height(), self.patch).map_err(wrong)?;
        self.push_opening(sequence, grid, learn, index)?;
        let patches = image_to_patches(image, grid).map_err(wrong)?;
        sequence.push_patches(grid, patches, learn, self.special().pad);
        sequence.push_token(self.special().image_end, false);
        Ok(())
    }
}

impl Sequence {
    /// A sequence of no places.
    pub fn empty(scheme: PositionScheme) -> Self {
        Self {
            ids: vec![],
            positions: vec![],
            ranges: vec![],
            images: vec![],
            targets: vec![],
            next: Positions::new(scheme),
        }
    }

    /// Number of places.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Appends a token; with `learn`, the place before it is trained to predict it.
    pub fn push_token(&mut self, id: u32, learn: bool) {
        let place = self.len();
        if learn && place > 0 {
            self.targets.push((place - 1, id));
        }
        self.ids.push(id);
        self.positions.push(self.next.text());
        self.ranges.push([0, place as u32 + 1]);
    }

    /// Appends an image's patches, `[rows * cols, numbers]`, which all see each other.
    pub fn push_patches(&mut self, grid: Grid, patches: Vec<f32>, learn: bool, pad: u32) {
        let start = self.len();
        let end = start + grid.tokens();
        self.ids.resize(end, pad);
        self.positions.extend(self.next.image(grid.rows, grid.cols));
        self.ranges.resize(end, [0, end as u32]);
        self.images.push(ImageSpan { start, grid, learn, patches });
    }
}
