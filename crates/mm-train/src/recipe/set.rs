//! Replaces values of a recipe by their dotted names, as `--set` does.

use mm_model::plain_words;

use super::{Recipe, renamed};
use crate::RecipeError;
use crate::similar::{UnknownName, closest};

impl Recipe {
    /// Returns the recipe with one value replaced. `key` is a dotted path such as `optimizer.lr`,
    /// and `value` is TOML or a bare word.
    pub fn with(&self, key: &str, value: &str) -> Result<Self, RecipeError> {
        self.with_all(&[(key, value)])
    }

    /// Returns the recipe with several values replaced, one after another. All keys that are not
    /// there and all values of the wrong type are named. The recipe is checked after the last, so
    /// that two values that require each other may come in either order.
    pub fn with_all(&self, settings: &[(&str, &str)]) -> Result<Self, RecipeError> {
        let (mut recipe, mut errors) = (self.clone(), vec![]);
        for (key, value) in settings {
            match recipe.replaced(key, value) {
                Ok(replaced) => recipe = replaced,
                Err(why) => errors.push(why),
            }
        }
        match RecipeError::of(errors) {
            Some(why) => return Err(why),
            None => recipe.validate()?,
        }
        Ok(recipe)
    }

    /// Returns the recipe with one value replaced, not yet checked.
    fn replaced(&self, key: &str, value: &str) -> Result<Self, RecipeError> {
        renamed::check_key(key)?;
        let mut tree = self.tree()?;
        let (parents, last) =
            key.rsplit_once('.').map_or((None, key), |(parents, last)| (Some(parents), last));
        let missing = |guess: String| RecipeError::NoKey { key: key.to_owned(), guess };
        let mut at = &mut tree;
        for part in parents.into_iter().flat_map(|parents| parents.split('.')) {
            let guess = guess(key, part, at);
            at = at.get_mut(part).ok_or_else(|| missing(guess))?;
        }
        let guess = guess(key, last, at);
        let fields = at.as_table_mut().ok_or_else(|| missing(String::new()))?;
        let mut new = toml::from_str::<toml::Table>(&format!("v = {value}"))
            .ok()
            .filter(|table| table.len() == 1) // a line break in the value began another key
            .and_then(|mut table| table.remove("v"))
            .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        if let (toml::Value::Integer(number), Some(toml::Value::Float(_))) =
            (&new, fields.get(last))
        {
            // So that `--set optimizer.clip=1` may be written without a point.
            new = toml::Value::Float(*number as f64);
        }
        let known = fields.insert(last.to_owned(), new).is_some();
        let recipe: Self = tree.try_into().map_err(|why: toml::de::Error| match why.message() {
            words if !known && words.contains("unknown field") => missing(guess.clone()),
            words => {
                let guess =
                    UnknownName::in_message(words).map_or(String::new(), |name| name.guess());
                RecipeError::Value {
                    key: key.to_owned(),
                    why: format!("{}{guess}", plain_words(words)),
                }
            }
        })?;
        if !known && recipe.value_at(key)?.is_none() {
            // No field took it; one that is left out where it is empty, such as `data.cache`, does.
            return Err(missing(guess));
        }
        Ok(recipe)
    }

    /// Returns what the recipe holds at a dotted path.
    fn value_at(&self, key: &str) -> Result<Option<toml::Value>, RecipeError> {
        let tree = self.tree()?;
        Ok(key.split('.').try_fold(&tree, |at, part| at.get(part)).cloned())
    }

    /// Returns the recipe as TOML holds it.
    pub(super) fn tree(&self) -> Result<toml::Value, RecipeError> {
        self.validate_integers()?;
        Ok(toml::Value::try_from(self).expect("a recipe is plain data"))
    }
}

/// Returns the end of a message that proposes a key of `table` for the part of `key` that it does
/// not have.
fn guess(key: &str, part: &str, table: &toml::Value) -> String {
    let Some(table) = table.as_table() else { return String::new() };
    let known: Vec<&str> = table.keys().map(String::as_str).collect();
    match closest(part, &known) {
        Some(known) => {
            let whole: Vec<&str> =
                key.split('.').map(|word| if word == part { known } else { word }).collect();
            format!(", did you mean `{}`?", whole.join("."))
        }
        None => String::new(),
    }
}
