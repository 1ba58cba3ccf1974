//! Starting from a model instead of fresh weights.

use std::sync::Arc;

use burn::prelude::*;
use mm_model::parameters::{weights_of, with_weights};
use mm_model::{LoadedModel, Model};
use serde_json::Value;

use crate::recipe::Recipe;
use crate::step::Training;
use crate::{RecipeError, TrainError};
use mm_data::DataSet;

impl Training {
    /// A run that starts at the weights of `model` and speaks with its tokenizer. Network, patches and noise must be those of
    /// the recipe; data, loss, optimizer and everything else may differ.
    pub fn from_model(
        recipe: Recipe,
        model: &LoadedModel,
        device: &Device,
    ) -> Result<Self, TrainError> {
        recipe.validate()?;
        let wanted = recipe.model_config(model.tokenizer.vocab());
        let tree = |config| serde_json::to_value(config).expect("a configuration is plain data");
        let (found, wanted_tree) = (tree(&model.config), tree(&wanted));
        if let Some((field, found, wanted)) = first_difference("", &found, &wanted_tree) {
            return Err(TrainError::Misfit { field, found, wanted });
        }
        let fresh = Model::new(&wanted, recipe.seed, &device.clone().autodiff())
            .map_err(RecipeError::from)?;
        let start = with_weights(fresh, &weights_of(&model.model));
        let data = Arc::new(DataSet::open(&recipe.data, recipe.image)?);
        Self::of_parts(recipe, (model.tokenizer.clone(), data), start, device)
    }
}

/// Path, found and wanted value of the first place where two configurations differ.
fn first_difference(path: &str, found: &Value, wanted: &Value) -> Option<(String, String, String)> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            let names: std::collections::BTreeSet<&String> =
                found.keys().chain(wanted.keys()).collect();
            let none = Value::Null;
            names.into_iter().find_map(|name| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let at =
                    |tree: &serde_json::Map<String, Value>| tree.get(name).unwrap_or(&none).clone();
                first_difference(&path, &at(found), &at(wanted))
            })
        }
        _ if found == wanted => None,
        _ => Some((path.to_owned(), found.to_string(), wanted.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let read = |text| serde_json::from_str::<Value>(text).unwrap();
        let one = read(r#"{"patch": 8, "backbone": {"depth": 2, "block": {"kind": "gau"}}}"#);
        let other =
            read(r#"{"patch": 8, "backbone": {"depth": 2, "block": {"kind": "transformer"}}}"#);
        assert_eq!(first_difference("", &one, &one), None);
        let (path, found, wanted) = first_difference("", &one, &other).unwrap();
        assert_eq!(
            (&*path, &*found, &*wanted),
            ("backbone.block.kind", "\"gau\"", "\"transformer\"")
        );
    }
}
