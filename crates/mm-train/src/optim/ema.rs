//! The exponential moving average of the weights: what samples are drawn with.
//!
//! `average ← d average + (1 - d) weight`; [`EmaStart`] says which `d` the first updates have.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;
use burn::tensor::container::TensorContainer;

use crate::recipe::{EmaStart, OptimizerConfig};

/// A running average of every weight.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    start: EmaStart,
    averages: TensorContainer<ParamId>,
}

impl Ema {
    /// Starts at the weights of `model`.
    pub fn new<M: Module>(config: &OptimizerConfig, model: &M) -> Self {
        Self::with_decay(config.ema, config.ema_start, model)
    }

    /// The same with another decay than the recipe's first.
    pub fn with_decay<M: Module>(decay: f64, start: EmaStart, model: &M) -> Self {
        let mut ema = Self { decay, start, averages: TensorContainer::new() };
        model.visit(&mut Update { averages: &mut ema.averages, keep: 0.0 });
        ema
    }

    /// Its decay.
    pub fn decay(&self) -> f64 {
        self.decay
    }

    /// Moves towards the weights of `model`; `updates` counts the earlier ones.
    pub fn update<M: Module>(&mut self, model: &M, updates: u64) {
        let keep = self.start.keep(self.decay, updates);
        model.visit(&mut Update { averages: &mut self.averages, keep });
    }

    /// A copy of `model`, without autodiff, that holds the averages.
    pub fn model<M: Module>(&self, model: &M) -> M {
        model.valid().map(&mut Apply(&self.averages))
    }
}

struct Update<'a> {
    averages: &'a mut TensorContainer<ParamId>,
    keep: f64,
}

impl ModuleVisitor for Update<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let weight = param.val().without_autodiff();
        let average = match self.averages.remove::<Tensor<D>>(&param.id) {
            Some(average) => mm_kernels::moving_average(average, &weight, self.keep),
            None => weight,
        };
        self.averages.register(param.id, average);
    }
}

struct Apply<'a>(&'a TensorContainer<ParamId>);

impl ModuleMapper for Apply<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.get::<Tensor<D>>(&param.id) {
            Some(average) => param.map(|_| average),
            None => param,
        }
    }
}
