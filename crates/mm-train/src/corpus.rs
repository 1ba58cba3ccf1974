//! The tokenizer of a run, and the text that it learns from.

use mm_data::DataSet;
use mm_text::Tokenizer;

use crate::TrainError;
use crate::recipe::Recipe;

/// Trains the tokenizer of a recipe; images alone need none, and get one without words.
pub(crate) fn tokenizer(recipe: &Recipe, data: &DataSet) -> Result<Tokenizer, TrainError> {
    match recipe.vocab {
        0 => Ok(mm_model::image_only::tokenizer()),
        vocab => Ok(Tokenizer::train(corpus(recipe, data).into_iter(), vocab)?),
    }
}

/// Returns the text that the tokenizer learns from: captions, and the words of two-image documents.
fn corpus(recipe: &Recipe, data: &DataSet) -> Vec<String> {
    let mut corpus = data.captions();
    if recipe.mix.same_or_different > 0.0 {
        corpus.extend(["same", "different"].map(str::to_owned));
    }
    if recipe.mix.which_one > 0.0 {
        corpus.extend(["first", "second"].map(str::to_owned));
        corpus.extend(mm_data::Ink::ALL.iter().map(|ink| mm_data::which_question(*ink)));
    }
    corpus
}
