//! This module measures drawing: glyphs are drawn after captions and named by the glyph classifier.

use mm_data::{Combination, DataSet, GlyphSet, Split};
use mm_model::{Document, GenerateOptions, LoadedModel};
use mm_patch::Grid;
use serde::Serialize;

use crate::classifier::GlyphClassifier;
use crate::{EvalError, Evaluator, Score, TOGETHER, combinations};

/// Counts of the drawn glyphs that the classifier found as they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DrawScore {
    /// The number of images that were asked for.
    pub of: usize,
    /// The number of images with the right ink color and the right background.
    pub colors: usize,
    /// The number of images with the right background.
    pub background: usize,
    /// The number of images with the right character.
    pub character: usize,
    /// The number of images that are right in everything.
    pub all: usize,
}

/// Measures the shares of drawn glyphs that show what was asked for, by [`draw_score`]. The data
/// must be `glyphs`.
#[derive(Debug, Clone, Copy)]
pub struct DrawEvaluator;

impl Evaluator for DrawEvaluator {
    fn name(&self) -> &str {
        "draw"
    }

    fn evaluate(
        &self,
        model: &LoadedModel,
        data: &DataSet,
        split: Split,
        count: usize,
        seed: u64,
    ) -> Result<Score, EvalError> {
        let Some(glyphs) = data.downcast_ref::<GlyphSet>() else {
            return Err(EvalError::NotGlyphs);
        };
        let classifier = GlyphClassifier::new(model.generation.width, model.generation.height)?;
        let asked = combinations(glyphs, split, count, seed);
        let found = draw_score(model, &classifier, &asked, model.grid()?, &model.options(seed))?;
        Ok(Score::new(found.of)
            .mean("background", found.background as f64)
            .mean("colors", found.colors as f64)
            .mean("character", found.character as f64)
            .mean("all", found.all as f64))
    }
}

/// Draws every glyph that is asked for and counts what the classifier finds in the images.
pub fn draw_score(
    model: &LoadedModel,
    classifier: &GlyphClassifier,
    asked: &[Combination],
    grid: Grid,
    options: &GenerateOptions,
) -> Result<DrawScore, EvalError> {
    let mut score = DrawScore { of: asked.len(), ..DrawScore::default() };
    for (batch, chunk) in asked.chunks(TOGETHER).enumerate() {
        let prompts: Vec<Document> =
            chunk.iter().map(|asked| Document::of_text(&asked.to_string())).collect();
        let options = GenerateOptions { seed: options.seed + batch as u64, ..options.clone() };
        for (asked, image) in chunk.iter().zip(model.draw(&prompts, grid, &options)?) {
            let found = classifier.classify(&image);
            let background = found.background == asked.background();
            score.background += usize::from(background);
            score.colors += usize::from(background && found.ink == asked.ink());
            score.character += usize::from(asked.text().starts_with(found.character));
            score.all += usize::from(found.agrees(asked));
        }
    }
    Ok(score)
}
