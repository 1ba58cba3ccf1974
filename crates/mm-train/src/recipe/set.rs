//! Replaces values of a recipe by their dotted names, as `--set` does.

use super::{Recipe, renamed};
use crate::RecipeError;

impl Recipe {
    /// Returns the recipe with one value replaced. `key` is a dotted path such as `optimizer.lr`,
    /// and `value` is TOML or a bare word.
    pub fn with(&self, key: &str, value: &str) -> Result<Self, RecipeError> {
        self.with_all(&[(key, value)])
    }

    /// Returns the recipe with several values replaced, one after another. A key that is not there
    /// and a value of the wrong type are named. The recipe is checked after the last, so that two
    /// values that require each other may come in either order.
    pub fn with_all(&self, settings: &[(&str, &str)]) -> Result<Self, RecipeError> {
        let mut recipe = self.clone();
        for (key, value) in settings {
            recipe = recipe.replaced(key, value)?;
        }
        recipe.validate()?;
        Ok(recipe)
    }

    /// Returns the recipe with one value replaced, not yet checked.
    fn replaced(&self, key: &str, value: &str) -> Result<Self, RecipeError> {
        renamed::check_key(key)?;
        let missing = || RecipeError::NoKey { key: key.to_owned() };
        let mut tree = self.tree()?;
        let (parents, last) =
            key.rsplit_once('.').map_or((None, key), |(parents, last)| (Some(parents), last));
        let mut at = &mut tree;
        for part in parents.into_iter().flat_map(|parents| parents.split('.')) {
            at = at.get_mut(part).ok_or_else(missing)?;
        }
        let fields = at.as_table_mut().ok_or_else(missing)?;
        let mut new = toml::from_str::<toml::Table>(&format!("v = {value}"))
            .ok()
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
            words if !known && words.contains("unknown field") => missing(),
            words => RecipeError::Value { key: key.to_owned(), why: words.to_owned() },
        })?;
        if !known && recipe.value_at(key)?.is_none() {
            // No field took it; one that is left out where it is empty, such as `data.cache`, does.
            return Err(missing());
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
