//! Words and pairs: what the program measures of them.

use serde_json::Value;
use tempfile::tempdir;

use crate::{done, model, refused};

const WORDS: &str = "source = \"words\"\nletters = [1, 2]\nheights = [8, 9]";
const PAIRS: &str = "source = \"pairs\"\nletters = [2, 2]\nheights = [8, 9]";

/// The default recipe with another table of data.
fn recipe(data: &str) -> String {
    let text = done(&["data", "recipes", "glyphs"]);
    let (before, rest) = text.split_once("[data]").unwrap();
    let (_, after) = rest.split_once("[image]").unwrap();
    format!("{before}[data]\n{data}\n\n[image]{after}")
}

#[test]
fn errors_are_told_by_height_and_answers_by_what_was_asked() {
    let folder = tempdir().unwrap();
    let file = |name: &str, data: &str| {
        let path = folder.path().join(name);
        fs_err::write(&path, recipe(data)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (words, pairs) = (file("words.toml", WORDS), file("pairs.toml", PAIRS));
    let measured = |task: &str, recipe: &str| -> Value {
        let args =
            ["eval", &model(), "--task", task, "--recipe", recipe, "--count", "14", "--json"];
        serde_json::from_str(&done(&args)).unwrap()
    };
    let found = measured("words", &words);
    assert_eq!(found["all"]["texts"], 14);
    for height in ["8", "9"] {
        assert_eq!(found["heights"][height]["texts"], 7, "{found}");
        let rate = found["heights"][height]["error_rate"].as_f64().unwrap();
        let low = found["heights"][height]["low"].as_f64().unwrap();
        assert!(low <= rate, "{found}");
    }
    let found = measured("pairs", &pairs);
    assert_eq!(
        (&found["all"]["of"], &found["shares"]["which-block"]["of"]),
        (&14.into(), &2.into())
    );
    let wrong = ["eval", &model(), "--task", "words", "--recipe", &pairs];
    let said = refused(1, &wrong);
    assert!(said.contains("the data set is not `words`"), "{said}");
}
