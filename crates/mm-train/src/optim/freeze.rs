//! Weights that stay as they are, by name.
//!
//! A name is one or more whole parts of a parameter's path: `blocks.1` holds
//! `backbone.blocks.1.qkv_proj.weight` and not `backbone.blocks.10`.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use mm_model::Model;

use crate::RecipeError;

/// Checks that every name holds a parameter of `model`, adapters included, and that some parameter
/// is left to train.
pub(crate) fn check(model: &Model, names: &[String]) -> Result<(), RecipeError> {
    let mut visitor = Parameters::default();
    model.visit(&mut visitor);
    check_paths(&visitor.found, names)
}

/// Checks the names against paths, each with whether it is trained where it is not frozen.
pub(crate) fn check_paths(
    parameters: &[(String, bool)],
    names: &[String],
) -> Result<(), RecipeError> {
    let paths = || parameters.iter().map(|(path, _)| path.as_str());
    if let Some(name) = names.iter().find(|name| !paths().any(|path| holds(name, path))) {
        let mut parts: Vec<&str> = paths().filter_map(|path| path.split('.').next()).collect();
        parts.dedup();
        let example = paths().find(|path| path.contains("blocks")).or_else(|| paths().next());
        return Err(RecipeError::Value {
            key: "optimizer.freeze".to_owned(),
            why: format!(
                "`{name}` names no parameter, wanted one of {} or a part of such a path as `{}`",
                parts.join(", "),
                example.unwrap_or_default()
            ),
        });
    }
    if parameters.iter().any(|(path, trained)| *trained && !is_frozen(names, path)) {
        return Ok(());
    }
    Err(RecipeError::Field {
        field: "optimizer.freeze",
        found: format!("{names:?}"),
        wanted: "a shorter list: it names every parameter that is trained",
    })
}

/// Says whether one of the names holds the parameter of a path.
pub(crate) fn is_frozen(names: &[String], path: &str) -> bool {
    names.iter().any(|name| holds(name, path))
}

/// Removes the gradients of the named parameters, so that nothing changes them and no norm counts
/// them.
pub(crate) fn without_frozen(
    model: &Model,
    grads: GradientsParams,
    names: &[String],
) -> GradientsParams {
    if names.is_empty() {
        return grads;
    }
    let mut visitor = Frozen { names, path: vec![], grads };
    model.visit(&mut visitor);
    visitor.grads
}

/// Says whether a path holds a name as whole parts.
fn holds(name: &str, path: &str) -> bool {
    !name.is_empty() && format!(".{path}.").contains(&format!(".{name}."))
}

/// The path of every parameter, and whether it is trained.
#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    found: Vec<(String, bool)>,
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push((self.path.join("."), param.is_require_grad()));
    }
}

struct Frozen<'a> {
    names: &'a [String],
    path: Vec<String>,
    grads: GradientsParams,
}

impl ModuleVisitor for Frozen<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if is_frozen(self.names, &path) {
            self.grads.remove::<D>(param.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_adapters_leave_alone_is_not_left_to_train() {
        let parameters = [("norm", false), ("blocks.0.weight", false), ("blocks.0.weight.a", true)];
        let parameters = parameters.map(|(path, trained)| (path.to_owned(), trained));
        let check = |name: &str| check_paths(&parameters, &[name.to_owned()]).is_ok();
        assert!(check("norm") && !check("blocks.0"));
        assert!(check_paths(&parameters, &[]).is_ok() && check_paths(&[], &[]).is_err());
    }

    #[test]
    fn a_name_holds_whole_parts_of_a_path() {
        let path = "backbone.blocks.10.qkv_proj.weight";
        for name in ["backbone", "blocks.10", "qkv_proj", "10.qkv_proj", path] {
            assert!(holds(name, path), "{name}");
        }
        for name in ["blocks.1", "block", "", "weight.qkv_proj"] {
            assert!(!holds(name, path), "{name}");
        }
    }
}
