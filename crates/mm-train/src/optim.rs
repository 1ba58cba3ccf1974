//! Optimizers, learning rate, averages, and what is trained: parameter groups and gradient clipping
//! over Burn's optimizers.

mod adamw;
mod ema;
pub(crate) mod freeze;
mod lamb;
mod learning_rate;
pub(crate) mod lora;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdjustLrFn, GradientsParams, ModuleOptimizer, MuonConfig};
use burn::prelude::*;
use mm_kernels::SumOfSquares;

use crate::recipe::{OptimizerConfig, OptimizerKind};

pub use adamw::{AdamWOptimizer, AdamWState};
pub use ema::Ema;
pub use lamb::LambOptimizer;
pub use learning_rate::learning_rate;

/// Makes the optimizer of a recipe. Matrices and convolutions, which modules call `weight`, are
/// decayed, and so are their adapters; norms, biases and embeddings never are.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::GradientsParams;
/// use burn::prelude::*;
///
/// let text = include_str!("../../mm-cli/recipes/glyphs.toml");
/// let recipe = mm_train::Recipe::from_toml(text).unwrap();
/// let device = Device::flex().autodiff();
/// let net = LinearConfig::new(2, 1).init(&device);
/// let loss = net.forward(Tensor::<2>::ones([4, 2], &device)).square().mean();
/// let grads = GradientsParams::from_grads(loss.backward(), &net);
/// let net = mm_train::optimizer(&recipe.optimizer).step(recipe.optimizer.lr, net, grads);
/// # let _ = net;
/// ```
pub fn optimizer(config: &OptimizerConfig) -> ModuleOptimizer {
    let adam = |weight_decay| AdamWOptimizer { betas: config.betas, weight_decay };
    // Burn's own embeddings have a `weight` too, below a field that says what it is.
    let decayed = ParamGroup::from_predicate("weight").exclude(ParamGroup::from_predicate("embed"));
    let base =
        ModuleOptimizer::from(adam(0.0)).with_group(decayed, adam(config.weight_decay), None);
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
            let matrices = ParamGroup::from_predicates(vec!["blocks", "weight"]);
            base.with_group(matrices, muon.build(), None)
        }
    }
}

/// Shortens gradients so that their norm over all parameters is at most `most`. Returns them and
/// the norm before that.
pub(crate) fn clip<M: Module>(
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
