//! Parameter groups and gradient clipping over Burn's optimizers.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdjustLrFn, GradientsParams, ModuleOptimizer, MuonConfig};
use burn::prelude::*;
use mm_kernels::SumOfSquares;

use crate::adamw::AdamWOptimizer;
use crate::lamb::LambOptimizer;
use crate::recipe::{OptimizerConfig, OptimizerKind};

/// The optimizer of a recipe: norms, biases and embeddings are never decayed.
pub fn optimizer(config: &OptimizerConfig) -> ModuleOptimizer {
    let adam = |weight_decay| AdamWOptimizer { betas: config.betas, weight_decay };
    let undecayed =
        ParamGroup::from_any_predicates(vec!["norm", "gamma", "beta", "bias", "tokens"]);
    let base =
        ModuleOptimizer::from(adam(config.weight_decay)).with_group(undecayed, adam(0.0), None);
    match config.kind {
        OptimizerKind::Adamw => base,
        OptimizerKind::Lamb => {
            let lamb = |adapt| LambOptimizer { betas: config.betas, epsilon: 1e-6, adapt };
            let biases = ParamGroup::from_any_predicates(vec!["bias"]);
            ModuleOptimizer::from(lamb(true)).with_group(biases, lamb(false), None)
        }
        OptimizerKind::Muon => {
            let muon = MuonConfig::new()
                .with_weight_decay(Some(WeightDecayConfig::new(config.weight_decay as f32)))
                .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW);
            base.with_group(
                ParamGroup::from_predicates(vec!["blocks", "weight"]),
                muon.build(),
                None,
            )
        }
    }
}

/// Shortens gradients so that their norm over all parameters is at most `most`; returns them and the norm before that.
pub fn clip<M: Module>(
    module: &M,
    mut grads: GradientsParams,
    most: f64,
) -> (GradientsParams, f64) {
    let mut squares = SumSquares { grads: &grads, sum: SumOfSquares::default() };
    module.visit(&mut squares);
    let norm = squares.sum.read().sqrt();
    if norm.is_finite() && norm > most {
        module.visit(&mut Scale { grads: &mut grads, factor: most / norm });
    }
    (grads, norm)
}

struct SumSquares<'a> {
    grads: &'a GradientsParams,
    sum: SumOfSquares,
}

impl ModuleVisitor for SumSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.sum.add(&grad);
        }
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register::<D>(param.id, grad * self.factor);
        }
    }
}
