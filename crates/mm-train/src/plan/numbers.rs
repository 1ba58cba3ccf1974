//! How many parameters the model of a recipe has, how many of them get gradients, and how many are
//! trained. They are counted in the model itself, of which only the shapes are made.

use burn::prelude::*;
use mm_backbone::Init;
use mm_model::parameters::shapes_of;
use mm_model::{Model, ModelConfig};

use crate::RecipeError;
use crate::optim::freeze::{check_paths, is_frozen};
use crate::optim::lora::{factors, is_of_matrix};
use crate::recipe::Recipe;

/// The counts of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Numbers {
    /// The parameters of the model as it is written.
    pub model: f64,
    /// The parameters of the factors of adapters.
    pub adapters: f64,
    /// The parameters of the matrices that have adapters: every micro-batch computes the sum and
    /// its gradient.
    pub adapted: f64,
    /// The parameters that get gradients; those of frozen ones are removed after the backward pass.
    pub gradients: f64,
    /// The parameters that change.
    pub trained: f64,
    /// The parameters that change in the matrices of the blocks.
    pub matrices: f64,
}

impl Numbers {
    /// Counts the parameters of a checked model; names that freeze nothing, or all, are refused.
    pub(super) fn of(recipe: &Recipe, config: &ModelConfig) -> Result<Self, RecipeError> {
        let model = Model::drawn(config, &mut Init::shapes(&Device::default()))?;
        let (rank, names) = (recipe.optimizer.lora.rank, &recipe.optimizer.freeze);
        let mut numbers = Self::default();
        let (mut paths, mut sizes) = (vec![], vec![]);
        for (path, shape) in shapes_of(&model) {
            let size = shape.iter().map(|side| *side as f64).product::<f64>();
            numbers.model += size;
            if let (true, true, &[inputs, outputs]) = (rank > 0, is_of_matrix(&path), &shape[..]) {
                numbers.adapted += size;
                for (path, size) in factors(&path, inputs, outputs, rank) {
                    numbers.adapters += size as f64;
                    paths.push((path, true));
                    sizes.push(size as f64);
                }
            }
            paths.push((path, rank == 0));
            sizes.push(size);
        }
        check_paths(&paths, names)?;
        for ((path, _), size) in paths.iter().zip(sizes).filter(|((_, trained), _)| *trained) {
            numbers.gradients += size;
            if is_frozen(names, path) {
                continue;
            }
            numbers.trained += size;
            if is_of_matrix(path) {
                numbers.matrices += size;
            }
        }
        Ok(numbers)
    }

    /// Returns all that a process holds.
    pub(super) fn held(&self) -> f64 {
        self.model + self.adapters
    }
}
