//! Documents to token sequences: ids, patches, positions, who may attend whom, and where the loss
//! falls.
//!
//! ```text
//! [BEGIN] r e d [ROWS=2] [COLS=2] [IMG] p p p p [/IMG] [END]
//! ```
//!
//! An image's size and `[IMG]` stand before its patches, so that the model can choose to draw and
//! how large. Every token is predicted from the place before it; `[/IMG]` is never predicted, since
//! it always follows the last patch.
//!
//! A tokenizer of Fuyu lays documents out in its own way: see `sequence/by_rows.rs`.

mod by_rows;

use std::ops::Range;

use mm_backbone::{PositionScheme, Positions};
use mm_codec::KlAutoencoder;
use mm_patch::{Grid, Image, image_to_patches};
use mm_text::{MAX_SIDE, Special, Tokenizer};

use crate::latents::latent_patches;
use crate::{Document, DocumentError, ImageLayout, Segment};

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
    /// Next tokens that are targets: (place that predicts, id that follows).
    pub targets: Vec<(usize, u32)>,
    /// The state from which further tokens are placed.
    pub next: Positions,
    /// The class of the images, for networks that know classes.
    pub class: Option<u32>,
}

/// An image inside a [`Sequence`].
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSpan {
    /// Place of the first patch.
    pub start: usize,
    /// Rows, columns and patch.
    pub grid: Grid,
    /// Which places the patches take.
    pub layout: ImageLayout,
    /// Whether it is noised and a target.
    pub target: bool,
    /// Clean pixels in [-1, 1], or latents, `[rows * cols, numbers]` in reading order.
    pub patches: Vec<f32>,
    /// Which of its places are masked, where codes are; empty if none is.
    pub masked: Vec<bool>,
}

impl ImageSpan {
    /// Returns the places that the image takes.
    pub fn places(&self) -> Range<usize> {
        self.start..self.start + self.layout.places(self.grid)
    }
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
    /// Which places the patches of an image take.
    pub layout: ImageLayout,
    /// What encodes images, where the network knows latents and no pixels.
    pub encoder: Option<&'a KlAutoencoder>,
}

impl<'a> Sequencer<'a> {
    /// Returns the rules of a network that sees the pixels of whole patches, in reading order.
    pub fn of_patches(tokenizer: &'a Tokenizer, patch: usize, positions: PositionScheme) -> Self {
        Self { tokenizer, patch, positions, layout: ImageLayout::default(), encoder: None }
    }
}

impl Sequencer<'_> {
    /// A whole document, with its end, for training.
    pub fn complete(&self, document: &Document) -> Result<Sequence, DocumentError> {
        if let Some(rows) = self.special().by_rows {
            return self.complete_by_rows(document, rows);
        }
        let mut sequence = self.prompt(document)?;
        let target = match document.segments.last() {
            Some(Segment::Text { target, .. } | Segment::Image { target, .. }) => *target,
            None => true,
        };
        sequence.push_token(self.special().end, target);
        Ok(sequence)
    }

    /// The start of a document that the model is to go on with.
    pub fn prompt(&self, document: &Document) -> Result<Sequence, DocumentError> {
        if let Some(rows) = self.special().by_rows {
            return self.prompt_by_rows(document, rows);
        }
        let mut sequence = Sequence::empty(self.positions);
        sequence.push_token(self.special().begin, false);
        let mut index = 0;
        for segment in &document.segments {
            match segment {
                Segment::Text { text, target } => {
                    for id in self.tokenizer.encode(text) {
                        sequence.push_token(id, *target);
                    }
                }
                Segment::Image { image, target } => {
                    index += 1;
                    self.push_image(&mut sequence, image, *target, index)?;
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
        target: bool,
        index: usize,
    ) -> Result<(), DocumentError> {
        let special = self.special();
        let too_large =
            DocumentError::TooLarge { index, rows: grid.rows, cols: grid.cols, most: MAX_SIDE };
        let (Some(rows), Some(cols)) = (special.rows(grid.rows), special.cols(grid.cols)) else {
            return Err(too_large);
        };
        for id in [rows, cols, special.image] {
            sequence.push_token(id, target);
        }
        Ok(())
    }

    fn push_image(
        &self,
        sequence: &mut Sequence,
        image: &Image,
        target: bool,
        index: usize,
    ) -> Result<(), DocumentError> {
        let wrong = |source| DocumentError::Image { index, source };
        let grid = Grid::of_size(image.width(), image.height(), self.patch).map_err(wrong)?;
        self.push_opening(sequence, grid, target, index)?;
        let patches = image_to_patches(image, grid).map_err(wrong)?;
        let pad = self.special().pad;
        match self.encoder {
            Some(encoder) => {
                let (patches, grid) = latent_patches(encoder, patches, grid);
                sequence.push_patches(grid, patches, target, pad);
            }
            None => sequence.push_image(grid, self.layout, patches, target, pad),
        }
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
            class: None,
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

    /// Appends a token; with `target`, the place before it is trained to predict it.
    pub fn push_token(&mut self, id: u32, target: bool) {
        let place = self.len();
        if target && place > 0 {
            self.targets.push((place - 1, id));
        }
        self.ids.push(id);
        self.positions.push(self.next.text());
        self.ranges.push([0, place as u32 + 1]);
    }

    /// Appends an image's patches, `[rows * cols, numbers]`, which all see each other.
    pub fn push_patches(&mut self, grid: Grid, patches: Vec<f32>, target: bool, pad: u32) {
        self.push_image(grid, ImageLayout::default(), patches, target, pad);
    }

    /// Appends an image's patches, `[rows * cols, numbers]` in reading order, at the places that
    /// `layout` gives them. They all see each other, unless the network is causal.
    pub fn push_image(
        &mut self,
        grid: Grid,
        layout: ImageLayout,
        patches: Vec<f32>,
        target: bool,
        pad: u32,
    ) {
        let start = self.len();
        let end = start + layout.places(grid);
        self.ids.resize(end, pad);
        self.positions.extend(layout.positions(&mut self.next, grid));
        self.ranges.resize(end, [0, end as u32]);
        let masked = vec![];
        self.images.push(ImageSpan { start, grid, layout, target, patches, masked });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(["ab"].map(str::to_owned).into_iter(), 389).unwrap()
    }

    /// One line a place: what stands there, where on the plane, whom it may attend, what it is
    /// trained to predict.
    fn check(document: &Document, expected: Expect) {
        let tokenizer = tokenizer();
        let sequencer = Sequencer::of_patches(&tokenizer, 8, PositionScheme::RopeTv);
        let sequence = sequencer.complete(document).unwrap();
        let name = |id: u32| {
            let special = tokenizer.special();
            special.name(id).unwrap_or_else(|| tokenizer.decode(&[id]))
        };
        let mut text = String::new();
        for place in 0..sequence.len() {
            let patch = sequence.images.iter().any(|image| image.places().contains(&place));
            let what = if patch { "patch".to_owned() } else { name(sequence.ids[place]) };
            let ([row, col], [start, end]) = (sequence.positions[place], sequence.ranges[place]);
            let target = sequence.targets.iter().find(|(at, _)| *at == place);
            let target = target.map_or(String::new(), |(_, id)| format!(" -> {}", name(*id)));
            text += &format!("{what} at ({row}, {col}) sees {start}..{end}{target}\n");
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn a_drawn_image_is_opened_by_its_targets_size_and_closed_by_a_token_nobody_predicts() {
        let image = Image::filled(16, 8, [0; 3]);
        let document =
            Document { segments: vec![Segment::context_text("a"), Segment::target_image(image)] };
        check(
            &document,
            expect![[r#"
                [BEGIN] at (0, 0) sees 0..1
                a at (1, 1) sees 0..2 -> [ROWS=1]
                [ROWS=1] at (2, 2) sees 0..3 -> [COLS=2]
                [COLS=2] at (3, 3) sees 0..4 -> [IMG]
                [IMG] at (4, 4) sees 0..5
                patch at (5.5, 5) sees 0..7
                patch at (5.5, 6) sees 0..7
                [/IMG] at (7, 7) sees 0..8 -> [END]
                [END] at (8, 8) sees 0..9
            "#]],
        );
    }

    #[test]
    fn after_a_given_image_the_caption_and_the_end_are_targets() {
        let image = Image::filled(8, 8, [0; 3]);
        let document =
            Document { segments: vec![Segment::context_image(image), Segment::target_text("b")] };
        check(
            &document,
            expect![[r#"
                [BEGIN] at (0, 0) sees 0..1
                [ROWS=1] at (1, 1) sees 0..2
                [COLS=1] at (2, 2) sees 0..3
                [IMG] at (3, 3) sees 0..4
                patch at (4, 4) sees 0..5
                [/IMG] at (5, 5) sees 0..6 -> b
                b at (6, 6) sees 0..7 -> [END]
                [END] at (7, 7) sees 0..8
            "#]],
        );
    }

    #[test]
    fn an_image_larger_than_the_size_tokens_is_refused_with_its_number() {
        let tokenizer = tokenizer();
        let sequencer = Sequencer::of_patches(&tokenizer, 1, PositionScheme::RopeTv);
        let wide =
            Document { segments: vec![Segment::context_image(Image::filled(65, 2, [0; 3]))] };
        let error = sequencer.prompt(&wide).unwrap_err().to_string();
        assert_eq!(error, "image 1 of the document has 2 x 65 patches, wanted at most 64 x 64");
    }
}
