//! Weights that stay as they are, by name.
//!
//! A name is one or more whole parts of a parameter's path: `blocks.1` holds `backbone.blocks.1.Transformer.joint.weight` and
//! not `backbone.blocks.10`.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use mm_model::Model;
use mm_model::parameters::shapes_of;

use crate::RecipeError;

/// Every name must hold a parameter, and some parameter must be left to train.
pub(crate) fn check(model: &Model, names: &[String]) -> Result<(), RecipeError> {
    let paths: Vec<String> = shapes_of(model).into_keys().collect();
    if let Some(name) = names.iter().find(|name| !paths.iter().any(|path| holds(name, path))) {
        let mut parts: Vec<&str> = paths.iter().filter_map(|path| path.split('.').next()).collect();
        parts.dedup();
        return Err(RecipeError::Value {
            key: "optimizer.freeze".to_owned(),
            why: format!(
                "`{name}` names no parameter, wanted one of {} or a part of such a path as `{}`",
                parts.join(", "),
                paths.iter().find(|path| path.contains("blocks")).unwrap_or(&paths[0])
            ),
        });
    }
    let trained = paths.iter().any(|path| !names.iter().any(|name| holds(name, path)));
    if trained {
        return Ok(());
    }
    Err(RecipeError::Field {
        field: "optimizer.freeze",
        wanted: "shorter: it names every parameter",
    })
}

/// Takes the gradients of the named parameters away, so that nothing changes them and no norm counts them.
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

/// Whether a path holds a name as whole parts.
fn holds(name: &str, path: &str) -> bool {
    !name.is_empty() && format!(".{path}.").contains(&format!(".{name}."))
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
        if self.names.iter().any(|name| holds(name, &path)) {
            self.grads.remove::<D>(param.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_whole_parts_of_a_path() {
        let path = "backbone.blocks.10.Transformer.joint.weight";
        for name in ["backbone", "blocks.10", "joint", "10.Transformer", path] {
            assert!(holds(name, path), "{name}");
        }
        for name in ["blocks.1", "block", "", "weight.joint"] {
            assert!(!holds(name, path), "{name}");
        }
    }
}
