//! This module measures drawing: glyphs are drawn after captions and named by the glyph classifier.

use mm_data::{Combination, DataSet, GlyphSet, Split};
use mm_model::random::part_seed;
use mm_model::{Document, GenerateOptions, LoadedModel};
use mm_patch::Grid;
use serde::Serialize;

use crate::classifier::GlyphClassifier;
use crate::crispness::{Crispness, CrispnessMeter};
use crate::{EvalError, Evaluator, Score, Share, TOGETHER, combinations};

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
    /// How far the images are from real renderings; nothing without images.
    pub crispness: Option<Crispness>,
}

impl DrawScore {
    /// Returns each count as a share of the images, by its name.
    pub fn shares(&self) -> [(&'static str, Share); 4] {
        [
            ("background", self.background),
            ("colors", self.colors),
            ("character", self.character),
            ("all", self.all),
        ]
        .map(|(name, count)| (name, Share::new(count, self.of)))
    }
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
        let options = model.options(seed);
        let found = draw_score(model, glyphs, &classifier, &asked, model.grid()?, &options)?;
        let ratio = found.crispness.map(|crispness| crispness.ratio);
        let score = Score::new(found.of).maybe("crispness", ratio);
        Ok(found.shares().into_iter().fold(score, |score, (name, share)| score.share(name, share)))
    }
}

/// Draws every glyph that is asked for, counts what the classifier finds in the images, and
/// measures how far they are from renderings of the data.
pub fn draw_score(
    model: &LoadedModel,
    glyphs: &GlyphSet,
    classifier: &GlyphClassifier,
    asked: &[Combination],
    grid: Grid,
    options: &GenerateOptions,
) -> Result<DrawScore, EvalError> {
    let mut score = DrawScore { of: asked.len(), ..DrawScore::default() };
    let mut meter = CrispnessMeter::new(glyphs);
    for (batch, chunk) in (0..).zip(asked.chunks(TOGETHER)) {
        let prompts: Vec<Document> =
            chunk.iter().map(|asked| Document::of_text(&asked.to_string())).collect();
        let options = GenerateOptions { seed: part_seed(options.seed, batch), ..options.clone() };
        for (asked, image) in chunk.iter().zip(model.draw(&prompts, grid, &options)?) {
            let found = classifier.classify(&image);
            let background = found.background == asked.background();
            score.background += usize::from(background);
            score.colors += usize::from(background && found.ink == asked.ink());
            score.character += usize::from(asked.text().starts_with(found.character));
            score.all += usize::from(found.agrees(asked));
            meter.add(asked, &image);
        }
    }
    score.crispness = meter.crispness();
    Ok(score)
}
