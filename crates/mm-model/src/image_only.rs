//! Images alone: models without a text side (`vocab` 0), such as Su's. A document is the
//! patches of one image, which all see each other, and no token stands before or after them.

use mm_backbone::PositionScheme;
use mm_patch::{Grid, image_to_patches};
use mm_text::{Special, Tokenizer};

use crate::{
    Document, DocumentError, GenerateError, LoadedModel, ModelConfig, NetworkConfig, Segment,
    Sequence, VitConfig,
};

/// The smallest tokenizer, special tokens and bytes: a model folder always holds one, a model of
/// images alone never asks it.
pub fn tokenizer() -> Tokenizer {
    Tokenizer::train(std::iter::empty(), Special::COUNT + 256).expect("the smallest vocabulary")
}

impl Sequence {
    /// The sequence of a document that is one image; empty texts beside it are passed over.
    pub fn image_only(
        document: &Document,
        patch: usize,
        positions: PositionScheme,
    ) -> Result<Self, DocumentError> {
        no_text(document)?;
        let mut images = document.segments.iter().filter_map(|segment| match segment {
            Segment::Image { image, target } => Some((image, *target)),
            Segment::Text { .. } => None,
        });
        let (Some((image, target)), None) = (images.next(), images.next()) else {
            let found = format!("{} segments", document.segments.len());
            return Err(DocumentError::NotImageOnly { found, wanted: "one image" });
        };
        let wrong = |source| DocumentError::Image { index: 1, source };
        let grid = Grid::of_size(image.width(), image.height(), patch).map_err(wrong)?;
        let patches = image_to_patches(image, grid).map_err(wrong)?;
        let mut sequence = Self::empty(positions);
        sequence.push_patches(grid, patches, target, Special::default().pad);
        Ok(sequence)
    }
}

impl LoadedModel {
    /// What stands before an image of `grid` that is drawn after `prompt`; nothing at all in a
    /// model of images alone.
    pub fn drawing_prompt(&self, prompt: &Document, grid: Grid) -> Result<Sequence, GenerateError> {
        if self.config.has_text() {
            return Ok(self.sequencer().drawing_prompt(prompt, grid)?);
        }
        let class = match &self.config.network {
            NetworkConfig::Vit(vit) => {
                check_size(vit, grid)?;
                vit.classes().of(prompt)?
            }
            _ => {
                no_text(prompt)?;
                None
            }
        };
        match prompt.segments.iter().find(|segment| matches!(segment, Segment::Image { .. })) {
            Some(_) => {
                let found = "an image to go on from".to_owned();
                Err(DocumentError::NotImageOnly { found, wanted: "nothing" }.into())
            }
            None => Ok(Sequence { class, ..Sequence::empty(self.config.network.positions()) }),
        }
    }
}

impl ModelConfig {
    /// The sequence of a document that is one image, with its class where the network knows
    /// classes. A document without a class stays one in training, which guidance needs. The
    /// patches are of pixels, also where the network draws latents.
    pub fn image_sequence(&self, document: &Document) -> Result<Sequence, DocumentError> {
        let positions = self.network.positions();
        let Some(vit) = self.network.vit() else {
            return Sequence::image_only(document, self.patch, positions);
        };
        let patch = self.patch_pixels();
        let class = vit.classes().of(document)?;
        let is_image = |segment: &&Segment| matches!(segment, Segment::Image { .. });
        let segments = document.segments.iter().filter(is_image).cloned().collect();
        let sequence = Sequence::image_only(&Document { segments }, patch, positions)?;
        if vit.factor() == 1 {
            check_size(vit, sequence.images[0].grid)?;
        }
        Ok(Sequence { class, ..sequence })
    }
}

/// Fails unless the network knows where the patches of such an image stand.
fn check_size(vit: &VitConfig, grid: Grid) -> Result<(), DocumentError> {
    let (found, wanted) = (grid.channels, vit.channels());
    if found != wanted {
        return Err(DocumentError::Channels { found, wanted });
    }
    let found = [grid.rows, grid.cols];
    match vit.only_size() {
        Some(only) if only != found => {
            let [found, wanted] = [found, only].map(|[rows, cols]| format!("{rows} x {cols}"));
            Err(DocumentError::OnlySize { found, wanted })
        }
        _ => Ok(()),
    }
}

fn no_text(document: &Document) -> Result<(), DocumentError> {
    let text = document.segments.iter().find_map(|segment| match segment {
        Segment::Text { text, .. } if !text.is_empty() => Some(text),
        _ => None,
    });
    match text {
        Some(text) => {
            let found = format!("the text `{text}`");
            Err(DocumentError::NotImageOnly { found, wanted: "no text" })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use mm_patch::Image;

    use super::*;

    #[test]
    fn a_document_alone_is_patches_that_all_see_each_other_and_no_token() {
        let image = || Segment::target_image(Image::filled(16, 8, [9; 3]));
        let document = Document { segments: vec![Segment::context_text(""), image()] };
        let sequence = Sequence::image_only(&document, 8, PositionScheme::Halves).unwrap();
        assert_eq!(sequence.positions, [[0.0, 0.0], [0.0, 1.0]]);
        assert_eq!(sequence.ranges, [[0, 2], [0, 2]]);
        assert!(sequence.targets.is_empty() && sequence.images[0].target);
        let refused = |segments: Vec<Segment>| {
            let document = Document { segments };
            Sequence::image_only(&document, 8, PositionScheme::Halves).unwrap_err().to_string()
        };
        assert!(
            refused(vec![Segment::context_text("a"), image()]).contains("the text `a`, wanted no")
        );
        assert!(refused(vec![image(), image()]).contains("2 segments, wanted one image"));
        assert!(refused(vec![]).contains("0 segments"));
    }
}
