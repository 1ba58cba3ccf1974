//! Documents of Fuyu (Adept 2023): an image is rows of patches with a newline token behind each,
//! and every place sees those before it and no other.
//!
//! ```text
//! p p p |NEWLINE| p p p |NEWLINE| <s> w h a t ? <0x04> a n s w e r |ENDOFTEXT|
//! ```
//!
//! `<s>` stands before the first text, behind the images in front of it, and `<0x04>` behind a
//! question about an image, as the processor of Fuyu in `transformers` 5.24 lays them out. Without
//! an image there is no `<0x04>`. Each row of patches is an [`ImageSpan`] of its own.

use mm_patch::{Grid, Image, image_to_patches};
use mm_text::Rows;

use super::{ImageSpan, Sequence, Sequencer};
use crate::{Document, DocumentError, Segment};

/// Which of the tokens that stand once in a document are there.
#[derive(Debug, Default)]
struct Placed {
    begin: bool,
    image: bool,
    answer: bool,
}

impl Sequencer<'_> {
    /// The start of a document that the model is to go on with.
    pub(super) fn prompt_by_rows(
        &self,
        document: &Document,
        rows: Rows,
    ) -> Result<Sequence, DocumentError> {
        let (mut sequence, mut placed) = self.begun_by_rows(document, rows)?;
        self.open_answer(&mut sequence, &mut placed, rows);
        Ok(sequence)
    }

    /// A whole document, with its end, for training. The first text that is a target is the answer.
    pub(super) fn complete_by_rows(
        &self,
        document: &Document,
        rows: Rows,
    ) -> Result<Sequence, DocumentError> {
        let (mut sequence, _) = self.begun_by_rows(document, rows)?;
        let target = match document.segments.last() {
            Some(Segment::Text { target, .. } | Segment::Image { target, .. }) => *target,
            None => true,
        };
        sequence.push_token(self.special().end, target);
        Ok(sequence)
    }

    fn begun_by_rows(
        &self,
        document: &Document,
        rows: Rows,
    ) -> Result<(Sequence, Placed), DocumentError> {
        let mut sequence = Sequence::empty(self.positions);
        let mut placed = Placed::default();
        let mut index = 0;
        for segment in &document.segments {
            match segment {
                Segment::Text { text, target: true } => {
                    self.open_answer(&mut sequence, &mut placed, rows);
                    self.push_text(&mut sequence, text, true);
                }
                Segment::Text { text, target: false } => {
                    self.open_text(&mut sequence, &mut placed);
                    self.push_text(&mut sequence, text, false);
                }
                Segment::Image { image, target } => {
                    index += 1;
                    if *target {
                        return Err(DocumentError::OnlyReads { index });
                    }
                    placed.image = true;
                    self.push_rows(&mut sequence, image, index, rows)?;
                }
            }
        }
        Ok((sequence, placed))
    }

    fn push_text(&self, sequence: &mut Sequence, text: &str, target: bool) {
        for id in self.tokenizer.encode(text) {
            sequence.push_token(id, target);
        }
    }

    /// Puts `<s>` before the first text.
    fn open_text(&self, sequence: &mut Sequence, placed: &mut Placed) {
        if !placed.begin {
            sequence.push_token(self.special().begin, false);
            placed.begin = true;
        }
    }

    /// Puts `<0x04>` before the answer to a question about an image.
    fn open_answer(&self, sequence: &mut Sequence, placed: &mut Placed, rows: Rows) {
        self.open_text(sequence, placed);
        if placed.image && !placed.answer {
            sequence.push_token(rows.answer, false);
            placed.answer = true;
        }
    }

    /// Appends the rows of an image.
    fn push_rows(
        &self,
        sequence: &mut Sequence,
        image: &Image,
        index: usize,
        rows: Rows,
    ) -> Result<(), DocumentError> {
        let wrong = |source| DocumentError::Image { index, source };
        let grid = Grid::of_size(image.width(), image.height(), self.patch).map_err(wrong)?;
        let patches = image_to_patches(image, grid).map_err(wrong)?;
        for row in patches.chunks_exact(grid.cols * grid.patch_dim()) {
            let grid = Grid { rows: 1, ..grid };
            let start = sequence.len();
            for _ in 0..grid.cols {
                sequence.push_token(self.special().image, false);
            }
            let (patches, layout) = (row.to_vec(), self.layout);
            let (target, masked) = (false, vec![]);
            sequence.images.push(ImageSpan { start, grid, layout, target, patches, masked });
            sequence.push_token(rows.newline, false);
        }
        Ok(())
    }
}
