//! Old keys of recipes, each with the key that took its place, so that a recipe of an earlier
//! version is refused with a hint instead of "unknown field".

use toml::{Table, Value};

use crate::RecipeError;

/// Dotted paths that are gone, and the paths that took their place.
pub(crate) const KEYS: &[(&str, &str)] = &[
    ("model.patch_places", "model.patch_pos_embed"),
    ("loss.times", "loss.timesteps"),
    ("optimizer.rate", "optimizer.lr"),
    ("optimizer.final_rate", "optimizer.final_lr"),
    ("optimizer.warm_up", "optimizer.warmup_steps"),
    ("run.shards", "run.micro_batches"),
    ("run.row_tokens", "run.pack_len"),
    ("run.accumulate", "run.grad_accum_steps"),
    ("run.recompute", "run.activation_checkpointing"),
];

/// A word that is gone, by the path where it stood, with what took its place.
pub(crate) struct RenamedValue {
    /// The dotted path of the value.
    pub path: &'static str,
    /// The word that is gone.
    pub was: &'static str,
    /// What took its place, as it is written in a recipe.
    pub is: &'static str,
}

/// Words that are gone.
pub(crate) const VALUES: &[RenamedValue] = &[
    RenamedValue {
        path: "model.schedule.kind",
        was: "seed",
        is: "model.schedule.kind = \"su2024\"",
    },
    RenamedValue {
        path: "model.backbone.block.kind",
        was: "transformer",
        is: "model.backbone.block.kind = \"multi-head\"",
    },
    RenamedValue {
        path: "model.backbone.block.kind",
        was: "uvit",
        is: "model.backbone.block.kind = \"multi-head\"` with `variant = \"uvit\"",
    },
    RenamedValue {
        path: "model.backbone.block.kind",
        was: "dit",
        is: "model.backbone.block.kind = \"multi-head\"` with `variant = \"dit\"",
    },
    RenamedValue { path: "data.fit", was: "centre-crop", is: "data.fit = \"center-crop\"" },
];

/// An old key or word of a recipe.
pub(super) struct Found {
    /// The dotted path of the key.
    pub path: &'static str,
    /// The error that names what took its place.
    pub why: RecipeError,
    /// The dotted path that takes the value; nothing if the value is a word that is gone.
    pub is: Option<&'static str>,
}

/// Returns every old key and word of a recipe.
pub(super) fn find(tree: &Table) -> Vec<Found> {
    let at = |path: &str| {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        rest.split('.')
            .filter(|part| !part.is_empty())
            .try_fold(tree.get(first)?, |at, part| at.get(part))
    };
    let mut found = vec![];
    for (was, is) in KEYS {
        if at(was).is_some() {
            let why = RecipeError::Renamed { key: (*was).to_owned(), is: (*is).to_owned() };
            found.push(Found { path: was, why, is: Some(is) });
        }
    }
    for RenamedValue { path, was, is } in VALUES {
        if at(path).and_then(Value::as_str) == Some(*was) {
            let key = format!("{path} = \"{was}\"");
            let why = RecipeError::Renamed { key, is: (*is).to_owned() };
            found.push(Found { path, why, is: None });
        }
    }
    found
}

/// Fails if `key`, a dotted path as `--set` takes it, is an old key or lies below one.
pub(super) fn check_key(key: &str) -> Result<(), RecipeError> {
    for (was, is) in KEYS {
        let below = key.strip_prefix(was);
        if let Some(rest) = below.filter(|rest| rest.is_empty() || rest.starts_with('.')) {
            return Err(RecipeError::Renamed { key: key.to_owned(), is: format!("{is}{rest}") });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipe;

    const GLYPHS: &str = include_str!("../../../mm-cli/recipes/glyphs.toml");

    /// The recipe with the last part of a path renamed in its table, or added to it.
    fn with_old_key(was: &str, is: &str) -> String {
        let mut tree: Value = toml::from_str(GLYPHS).unwrap();
        let (table, new) = is.rsplit_once('.').unwrap();
        let old = was.rsplit_once('.').unwrap().1;
        let table = tree.get_mut(table).unwrap().as_table_mut().unwrap();
        let value = table.remove(new).unwrap_or(Value::Integer(1));
        table.insert(old.to_owned(), value);
        toml::to_string(&tree).unwrap()
    }

    #[test]
    fn every_old_key_of_a_file_is_refused_with_its_new_name() {
        for (was, is) in KEYS {
            let said = Recipe::from_toml(&with_old_key(was, is)).unwrap_err().to_string();
            assert_eq!(said, format!("`{was}` is now `{is}`"));
        }
    }

    #[test]
    fn every_old_key_of_a_setting_is_refused_with_its_new_name() {
        let recipe = Recipe::from_toml(GLYPHS).unwrap();
        for (was, is) in KEYS {
            let said = recipe.with(was, "1").unwrap_err().to_string();
            assert_eq!(said, format!("`{was}` is now `{is}`"));
        }
        let said = recipe.with("loss.times.kind", "uniform").unwrap_err().to_string();
        assert_eq!(said, "`loss.times.kind` is now `loss.timesteps.kind`");
    }

    #[test]
    fn every_old_word_is_refused_with_its_new_one() {
        for RenamedValue { path, was, is } in VALUES {
            let mut tree: Value = toml::from_str(GLYPHS).unwrap();
            let (table, key) = path.rsplit_once('.').unwrap();
            let table = table.split('.').fold(&mut tree, |at, part| &mut at[part]);
            table.as_table_mut().unwrap().insert(key.to_owned(), Value::String((*was).to_owned()));
            let said = Recipe::from_toml(&toml::to_string(&tree).unwrap()).unwrap_err();
            assert_eq!(said.to_string(), format!("`{path} = \"{was}\"` is now `{is}`"));
        }
    }

    #[test]
    fn no_new_key_is_an_old_one() {
        for (_, is) in KEYS {
            assert!(check_key(is).is_ok(), "{is}");
        }
    }
}
