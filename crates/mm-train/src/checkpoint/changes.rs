//! What was changed in the recipe of a run since a checkpoint was made.
//!
//! A recipe may be edited between two parts of a run: its length, its learning rate, even its data.
//! What the numbers of a checkpoint mean may not be, because the run would go on with noise and
//! call it training.

use std::collections::BTreeSet;
use std::path::Path;

use toml::Value;

use crate::recipe::Recipe;
use crate::{RecipeError, TrainError};

/// The keys that the numbers of a checkpoint depend on.
const FIXED: [&str; 6] =
    ["vocab", "image", "model", "optimizer.kind", "optimizer.emas", "optimizer.lora"];
/// The one of these that no checkpoint depends on any more: the law of the first weights.
const PAST: &str = "model.init";
/// The keys that say what the others of their table are.
const KINDS: [&str; 2] = ["kind", "source"];
/// The number of characters of a value that are shown.
const SHOWN: usize = 60;

/// A value that is different now.
struct Change {
    field: String,
    was: String,
    is: String,
}

/// Returns a sentence for each change of `recipe`, which is in `file`, since the checkpoint of
/// `step` was made; fails for one that the checkpoint does not survive. A checkpoint without a
/// recipe is not asked.
pub(super) fn since(
    step: u64,
    checkpoint: &Path,
    recipe: &Recipe,
    file: &Path,
) -> Result<Vec<String>, TrainError> {
    let path = checkpoint.join("recipe.toml");
    if !path.exists() {
        return Ok(vec![]);
    }
    let made = Recipe::parse(&fs_err::read_to_string(&path)?).map_err(|why| {
        let why = match why {
            RecipeError::Toml(why) => why.message().to_owned(),
            other => other.to_string(),
        };
        TrainError::State { path, why }
    })?;
    let changes = changes(&made, recipe);
    let adapts = [&made, recipe].iter().any(|of| of.optimizer.lora.rank > 0);
    let matters = |field: &str| is_fixed(field) && (adapts || field != "optimizer.lora.alpha");
    match changes.iter().find(|change| matters(&change.field)) {
        Some(Change { field, was, is }) => Err(TrainError::Changed {
            path: file.to_owned(),
            field: field.clone(),
            found: is.clone(),
            wanted: was.clone(),
            step,
        }),
        None => Ok(changes.iter().map(sentence).collect()),
    }
}

fn sentence(change: &Change) -> String {
    let Change { field, was, is } = change;
    format!("the recipe was changed: `{field}` is {is}, was {was}")
}

fn is_fixed(field: &str) -> bool {
    field != PAST
        && FIXED.into_iter().any(|fixed| {
            field.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
}

/// Lists all differences, by path.
fn changes(made: &Recipe, now: &Recipe) -> Vec<Change> {
    let tree = |recipe: &Recipe| Value::try_from(recipe).expect("a recipe is plain data");
    let mut found = vec![];
    compare("", Some(&tree(made)), Some(&tree(now)), &mut found);
    found
}

/// Adds the differences of two values to those found. Tables are compared key by key, or only by
/// their kind if that differs.
fn compare(path: &str, was: Option<&Value>, is: Option<&Value>, found: &mut Vec<Change>) {
    if was == is {
        return;
    }
    let (Some(Value::Table(before)), Some(Value::Table(after))) = (was, is) else {
        found.push(Change { field: path.to_owned(), was: words(was), is: words(is) });
        return;
    };
    let differs = |kind: &&str| before.get(*kind) != after.get(*kind);
    let names: BTreeSet<&str> = match KINDS.into_iter().find(differs) {
        Some(kind) => [kind].into(),
        None => before.keys().chain(after.keys()).map(String::as_str).collect(),
    };
    for name in names {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        compare(&path, before.get(name), after.get(name), found);
    }
}

/// Writes a value as a recipe has it, and only the beginning of a long one.
fn words(value: Option<&Value>) -> String {
    let Some(value) = value else { return "absent".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glyphs() -> Recipe {
        Recipe::from_toml(include_str!("../../../mm-cli/recipes/glyphs.toml")).unwrap()
    }

    /// Returns what is said of edits of a recipe since step 4.
    fn said(edits: &[(&str, &str)]) -> String {
        let made = glyphs();
        let folder = tempfile::tempdir().unwrap();
        let text = toml::to_string(&made).unwrap();
        fs_err::write(folder.path().join("recipe.toml"), text).unwrap();
        let edit = |recipe: Recipe, (key, value): &(&str, &str)| recipe.with(key, value).unwrap();
        let now = edits.iter().fold(made, edit);
        match since(4, folder.path(), &now, Path::new("RUN/recipe.toml")) {
            Ok(notes) => notes.join("\n"),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn a_change_that_a_checkpoint_survives_is_said_by_name() {
        assert_eq!(said(&[]), "");
        let edits = [("run.steps", "7"), ("optimizer.lr", "1e-3"), ("seed", "1")];
        let wanted = "the recipe was changed: `optimizer.lr` is 0.001, was 0.002
the recipe was changed: `run.steps` is 7, was 8000
the recipe was changed: `seed` is 1, was 0";
        assert_eq!(said(&edits), wanted);
        let data = "{ source = 'folder', path = 'mine' }";
        let wanted = "the recipe was changed: `data.source` is \"folder\", was \"glyphs\"";
        assert_eq!(said(&[("data", data)]), wanted);
        let long = format!("['{}']", "x".repeat(99));
        let cut = said(&[("optimizer.freeze", long.as_str())]);
        assert!(cut.ends_with("xxx ..., was []"), "{cut}");
        // The law of the first weights, and adapters that are not there.
        let edits = [("model.init", "glorot"), ("optimizer.lora.alpha", "3.0")];
        assert_eq!(said(&edits).matches("the recipe was changed: ").count(), 2);
    }

    #[test]
    fn a_change_that_a_checkpoint_does_not_survive_is_refused_by_file_and_field() {
        let wanted = "`RUN/recipe.toml`: `model.prediction` is \"velocity\", wanted \"clean\" as in the \
                      checkpoint of step 4";
        assert_eq!(said(&[("model.prediction", "velocity"), ("run.steps", "7")]), wanted);
        let gau = "{ kind = 'gau', expansion = 2, key_size = 16, bias = false }";
        for (key, value, field, found) in [
            ("vocab", "600", "vocab", "600"),
            ("image.patch", "4", "image.patch", "4"),
            ("image.width", "64", "image.width", "64"),
            ("model.backbone.width", "64", "model.backbone.width", "64"),
            ("model.backbone.block", gau, "model.backbone.block.kind", "\"gau\""),
            ("optimizer.kind", "muon", "optimizer.kind", "\"muon\""),
            ("optimizer.emas", "[0.5]", "optimizer.emas", "[0.5]"),
            ("optimizer.lora.rank", "2", "optimizer.lora.rank", "2"),
        ] {
            let said = said(&[(key, value)]);
            assert!(said.contains(&format!("`{field}` is {found}, wanted ")), "{key}: {said}");
        }
    }

    #[test]
    fn a_checkpoint_without_a_recipe_is_not_asked_and_one_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = glyphs();
        let since = || since(4, folder.path(), &recipe, Path::new("RUN/recipe.toml"));
        assert!(since().unwrap().is_empty());
        fs_err::write(folder.path().join("recipe.toml"), "sed = 1").unwrap();
        let said = since().unwrap_err().to_string();
        assert!(said.contains("`sed` is unknown, did you mean `seed`?"), "{said}");
    }
}
