//! How many numbers a recipe's model has, how many of them get gradients, and how many are trained: counted over the parameters of the
//! model itself, of which nothing but the shapes is made.

use burn::prelude::*;
use mm_backbone::Init;
use mm_model::parameters::shapes_of;
use mm_model::{Model, ModelConfig};

use crate::RecipeError;
use crate::freeze::{check_paths, is_frozen};
use crate::lora::{factors, is_of_matrix};
use crate::recipe::Recipe;

/// Counts of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Numbers {
    /// Of the model as it is written.
    pub model: f64,
    /// Of the factors of adapters, beside it.
    pub adapters: f64,
    /// Of the matrices that have adapters: every part of a batch has the sum anew, and its gradient.
    pub adapted: f64,
    /// That get gradients; those of frozen ones are taken away behind the backward pass.
    pub gradients: f64,
    /// That change.
    pub trained: f64,
    /// Of these, those of the blocks' matrices.
    pub matrices: f64,
}

impl Numbers {
    /// Of a model that was checked; names that freeze nothing, or all, are refused.
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
                for (path, size) in factors(&path, [inputs, outputs], rank) {
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

    /// All that a process holds.
    pub(super) fn held(&self) -> f64 {
        self.model + self.adapters
    }
}
