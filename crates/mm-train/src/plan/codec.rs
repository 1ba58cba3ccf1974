//! What a codec costs before it is trained, from its sizes alone.

use mm_codec::{CellGrid, CodecWork};
use serde::Serialize;

use crate::TrainError;
use crate::recipe::{OptimizerKind, Recipe};

/// The costs of the recipe of a codec.
///
/// ```
/// use mm_train::{CodecPlan, Recipe};
///
/// let recipe = Recipe::from_toml(include_str!("../../../mm-cli/recipes/codec-fsq.toml")).unwrap();
/// let plan = CodecPlan::of(&recipe).unwrap();
/// assert_eq!((plan.rows, plan.cols, plan.codes), (8, 8, Some(1000)));
/// assert!((plan.bits_per_image - 64.0 * 1000f64.log2()).abs() < 1e-9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CodecPlan {
    /// The number of parameters.
    pub parameters: usize,
    /// Rows of cells of an image.
    pub rows: usize,
    /// Columns of cells of an image.
    pub cols: usize,
    /// The count of numbers of a cell.
    pub channels: usize,
    /// The number of codes of a cell, where it has them.
    pub codes: Option<usize>,
    /// How many bits say what an image is encoded to; 32 for every number of a latent.
    pub bits_per_image: f64,
    /// The floating point operations of the convolutions and products of a step.
    pub flops: f64,
    /// The bytes of weights, gradients, what the optimizer remembers, and averages.
    pub held_bytes: f64,
    /// The bytes of what a forward pass keeps for the backward pass, an estimate: temporary
    /// arrays are not counted.
    pub activation_bytes: f64,
}

impl CodecPlan {
    /// Plans the recipe of a codec; another one is refused.
    pub fn of(recipe: &Recipe) -> Result<Self, TrainError> {
        recipe.validate()?;
        let Some(codec) = recipe.model.network.codec() else {
            let wanted = "a codec: a transformer has a plan of its own";
            return Err(recipe.refused("model", wanted).into());
        };
        let (height, width) = (recipe.image.height, recipe.image.width);
        let grid = codec.grid(height, width).map_err(mm_model::GenerateError::from)?;
        let work = codec.work(height, width).map_err(mm_model::GenerateError::from)?;
        let CellGrid { rows, cols, channels, codes } = grid;
        let CodecWork { flops, kept, .. } = work;
        let bits = codes.map_or(32.0 * channels as f64, |codes| (codes as f64).log2());
        let batch = recipe.run.batch as f64;
        let at_once = (batch / recipe.run.grad_accum_steps as f64).max(1.0);
        let parameters = codec.parameters();
        let moments = match recipe.optimizer.kind {
            OptimizerKind::Adamw | OptimizerKind::Lamb => 2.0,
            _ => 1.0,
        };
        let averages = 1.0 + recipe.optimizer.emas.len() as f64;
        // Weights of the step before and after it, and gradients of every part that is computed
        // beside the others.
        let copies = 2.0 + recipe.run.micro_batches as f64 + moments + averages;
        Ok(Self {
            parameters,
            rows,
            cols,
            channels,
            codes,
            bits_per_image: bits * grid.cells() as f64,
            flops: 3.0 * flops * batch,
            held_bytes: 4.0 * copies * parameters as f64,
            activation_bytes: 4.0 * kept * at_once,
        })
    }
}
