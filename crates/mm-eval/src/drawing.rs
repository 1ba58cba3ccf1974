//! Drawing: glyphs drawn after captions, judged by the glyph classifier.

use mm_data::Combination;
use mm_model::{Document, GenerateOptions, LoadedModel};
use mm_patch::Grid;
use serde::Serialize;

use crate::classifier::GlyphClassifier;
use crate::{EvalError, TOGETHER};

/// How many drawn glyphs the judge found as asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrawScore {
    /// Pictures asked for.
    pub of: usize,
    /// Ink colour and background both right.
    pub colours: usize,
    /// Background right.
    pub background: usize,
    /// Character right.
    pub character: usize,
    /// Everything right.
    pub all: usize,
}

/// Draws every glyph asked for and asks the judge what the pictures show.
pub fn draw_score(
    model: &LoadedModel,
    judge: &GlyphClassifier,
    asked: &[Combination],
    grid: Grid,
    options: &GenerateOptions,
) -> Result<DrawScore, EvalError> {
    let mut score = DrawScore { of: asked.len(), colours: 0, background: 0, character: 0, all: 0 };
    for (batch, chunk) in asked.chunks(TOGETHER).enumerate() {
        let prompts: Vec<Document> =
            chunk.iter().map(|asked| Document::of_text(&asked.to_string())).collect();
        let options = GenerateOptions { seed: options.seed + batch as u64, ..options.clone() };
        for (asked, image) in chunk.iter().zip(model.draw(&prompts, grid, &options)?) {
            let verdict = judge.judge(&image);
            let background = verdict.background == asked.background();
            let colours = background && verdict.ink == asked.ink();
            score.background += usize::from(background);
            score.colours += usize::from(colours);
            score.character += usize::from(asked.text().starts_with(verdict.character));
            score.all += usize::from(verdict.agrees(asked));
        }
    }
    Ok(score)
}
