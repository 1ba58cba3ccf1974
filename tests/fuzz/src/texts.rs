//! Files of text: tokenizers and recipes.

use mm_text::Tokenizer;
use mm_train::Recipe;

/// `tokenizer.json`: one that is accepted loses no text, and is the same after one more file.
pub fn tokenizer(bytes: &[u8]) {
    let tokenizer = match Tokenizer::from_json(bytes) {
        Ok(tokenizer) => tokenizer,
        Err(why) => {
            assert!(!why.to_string().is_empty(), "an error without words");
            return;
        }
    };
    let again = Tokenizer::from_json(tokenizer.to_json().as_bytes()).expect("our own file");
    assert_eq!(again.vocab(), tokenizer.vocab());
    for text in ["", "a red cat", " 1234\r\n\t", "[IMG] naïve 猫 \u{1f600}\u{0}\u{feff}"] {
        let ids = tokenizer.encode(text);
        assert!(
            ids.iter().all(|id| (*id as usize) < tokenizer.vocab()),
            "an id past the vocabulary"
        );
        assert_eq!(tokenizer.decode(&ids), text, "a tokenizer that loses text");
        assert_eq!(again.encode(text), ids, "another tokenizer after one more file");
    }
}

/// A recipe: one that is accepted gives a model, and is the same after one more file.
pub fn recipe(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let recipe = match Recipe::from_toml(text) {
        Ok(recipe) => recipe,
        Err(why) => {
            assert!(!why.to_string().is_empty(), "an error without words");
            return;
        }
    };
    let config = recipe.model_config(300);
    config.validate().expect("the model of a valid recipe");
    config.parameters();
    recipe.generation_config();
    let again = toml::to_string(&recipe).expect("a recipe is plain data");
    let again = Recipe::from_toml(&again).expect("our own text");
    assert!(again == recipe, "another recipe after one more file");
    assert!(recipe.with("seed", "5").expect("a seed").seed == 5);
    let _ = recipe.with("run.steps", text);
}
