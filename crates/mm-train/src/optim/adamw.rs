//! AdamW as one of Burn's optimizers, so that it takes part in groups and records.

use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::prelude::*;
use mm_kernels::{AdamW, Gate};

use super::clock::Clock;

/// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) with all settings but the learning rate and
/// the time.
#[derive(Debug, Clone, Copy)]
pub struct AdamWOptimizer {
    /// The decays of the two moments.
    pub betas: [f64; 2],
    /// The decay of the weight.
    pub weight_decay: f64,
}

/// The moments of one parameter.
#[derive(Debug, Clone)]
pub struct AdamWState<const D: usize> {
    /// The number of steps, with those that the device refused since `clock` was looked at.
    pub(crate) time: usize,
    /// Counts the steps that turned out to be refused.
    pub(crate) clock: Clock,
    /// The averages of the gradient and of its square, in the shape of the parameter: `[…]`.
    pub(crate) moments: [Tensor<D>; 2],
}

impl<const D: usize> AdamWState<D> {
    /// Returns the state as it is before the first step of `weight`: `[…]`.
    fn new(weight: &Tensor<D>) -> Self {
        let zeros = || Tensor::zeros(weight.dims(), &weight.device());
        Self { time: 0, clock: Clock::default(), moments: [zeros(), zeros()] }
    }

    /// Returns the state with the number of the next step, which begins at 1; `weight`: `[…]`.
    pub(crate) fn next(state: Option<Self>, weight: &Tensor<D>) -> Self {
        let state = state.unwrap_or_else(|| Self::new(weight));
        Self { time: state.time + 1, ..state }
    }

    /// Returns the number of steps taken, of those that are read.
    pub(crate) fn taken(&self) -> usize {
        self.time.saturating_sub(self.clock.refused())
    }
}

impl<const D: usize> RecordState for AdamWState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, "time", self.taken().into());
        out.push_tensor(prefix, "moment_1", self.moments[0].to_data());
        out.push_tensor(prefix, "moment_2", self.moments[1].to_data());
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let time = source.take_scalar(prefix, "time")?.try_into().ok()?;
        let mut moment = |name| {
            let data = source.take_tensor(prefix, name)?;
            let dtype = data.dtype();
            Some(Tensor::from_data(data, (device, dtype)))
        };
        let moments = [moment("moment_1")?, moment("moment_2")?];
        Some(Self { time, clock: Clock::default(), moments })
    }
}

impl AdamWOptimizer {
    /// Returns the equations of a step.
    fn at(&self, lr: LearningRate, time: usize) -> AdamW {
        let Self { betas, weight_decay } = *self;
        AdamW { betas, epsilon: 1e-8, weight_decay, lr, time: time as u64 }
    }

    /// Takes the step, if the gate is open where there is one; `weight` and `grad`: `[…]`.
    pub(crate) fn step_if<const D: usize>(
        &self,
        lr: LearningRate,
        weight: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
        gate: Option<&Gate>,
    ) -> (Tensor<D>, AdamWState<D>) {
        let AdamWState { time, clock, moments } = AdamWState::next(state, &weight);
        let rule = self.at(lr, time);
        let (weight, moments) = match gate {
            Some(gate) => rule.step_if(weight, grad, moments, gate),
            None => rule.step(weight, grad, moments),
        };
        (weight, AdamWState { time, clock, moments })
    }
}

impl Optimizer for AdamWOptimizer {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        weight: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let (weight, state) = self.step_if(lr, weight, grad, state, None);
        (weight, Some(state))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        AdamWState { moments: state.moments.map(|moment| moment.to_device(device)), ..state }
    }
}
