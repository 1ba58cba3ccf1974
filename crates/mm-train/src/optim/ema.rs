//! The exponential moving average of the weights, which draws the samples.
//!
//! `average ← d average + (1 - d) weight`; [`EmaStart`] says which `d` the first updates have.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;
use burn::tensor::container::TensorContainer;
use mm_kernels::Gate;

use crate::recipe::{EmaStart, OptimizerConfig};

/// A running average of every weight.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::prelude::*;
/// use mm_train::Ema;
/// use mm_train::recipe::EmaStart;
///
/// let zeros = burn::nn::Initializer::Zeros;
/// let config = LinearConfig::new(1, 1).with_bias(false).with_initializer(zeros);
/// let mut net = config.init(&Device::flex());
/// let mut ema = Ema::with_decay(0.05, EmaStart::Short, &net);
/// net.weight = net.weight.map(|weight| weight + 1.0);
/// ema.update(&net, 0);
/// let average = ema.model(&net).weight.val().into_scalar::<f32>();
/// assert!((average - 0.95).abs() < 1e-6);
/// ```
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    start: EmaStart,
    averages: TensorContainer<ParamId>,
}

impl Ema {
    /// Starts the first average of a recipe at the weights of `model`.
    pub fn new<M: Module>(config: &OptimizerConfig, model: &M) -> Self {
        Self::with_decay(config.ema, config.ema_start, model)
    }

    /// Starts an average of any decay at the weights of `model`.
    pub fn with_decay<M: Module>(decay: f64, start: EmaStart, model: &M) -> Self {
        let mut ema = Self { decay, start, averages: TensorContainer::new() };
        model.visit(&mut Update { averages: &mut ema.averages, keep: 0.0 });
        ema
    }

    /// Returns the decay.
    pub fn decay(&self) -> f64 {
        self.decay
    }

    /// Moves towards the weights of `model`; `updates` counts the earlier ones.
    pub fn update<M: Module>(&mut self, model: &M, updates: u64) {
        let keep = self.start.keep(self.decay, updates);
        model.visit(&mut Update { averages: &mut self.averages, keep });
    }

    /// Moves towards the weights of `model` if the gate is open; `updates` counts the earlier ones
    /// if all of them were taken.
    pub(crate) fn update_if<M: Module>(&mut self, model: &M, updates: u64, gate: &Gate) {
        let (start, decay) = (self.start, self.decay);
        let keep = &|updates| start.keep(decay, updates);
        model.visit(&mut UpdateIf { averages: &mut self.averages, keep, updates, gate });
    }

    /// Returns a copy, which shares its numbers; `model` has the parameters that are averaged.
    pub(crate) fn copied<M: Module>(&self, model: &M) -> Self {
        Self::with_decay(self.decay, self.start, &self.model(model))
    }

    /// Returns a copy of `model`, without autodiff, that holds the averages.
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

struct UpdateIf<'a> {
    averages: &'a mut TensorContainer<ParamId>,
    keep: &'a dyn Fn(u64) -> f64,
    updates: u64,
    gate: &'a Gate,
}

impl ModuleVisitor for UpdateIf<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let weight = param.val().without_autodiff();
        let average = self.averages.remove::<Tensor<D>>(&param.id);
        let average = average.expect("an average of every weight since the start");
        let (updates, keep, gate) = (self.updates, self.keep, self.gate);
        let average = mm_kernels::moving_average_if(average, &weight, updates, keep, gate);
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
