//! Steps of optimizers that the device may refuse, and what the host learns of it later.
//!
//! Burn calls an optimizer for one parameter at a time and hands nothing through. So the optimizers
//! of a run share a cell that holds the gate of the present step, if the device decides about it,
//! and counts the steps that turned out to be refused, because these were counted as steps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use burn::optim::{LearningRate, Optimizer};
use burn::prelude::*;
use mm_kernels::Gate;

use super::adamw::{AdamWOptimizer, AdamWState};
use super::clock::Clock;
use super::lamb::LambOptimizer;

/// What the optimizers of a run share.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepGate {
    gate: Arc<Mutex<Option<Gate>>>,
    refused: Arc<AtomicUsize>,
}

impl StepGate {
    /// Does `work`, in which every step of the optimizers is taken if `gate` is open.
    pub fn within<T>(&self, gate: &Gate, work: impl FnOnce() -> T) -> T {
        self.put(Some(gate.clone()));
        let done = work();
        self.put(None);
        done
    }

    /// Notes that so many steps, which were counted, were not taken.
    pub fn was_refused(&self, steps: usize) {
        self.refused.fetch_add(steps, Ordering::Relaxed);
    }

    fn put(&self, gate: Option<Gate>) {
        *self.gate.lock().expect("no holder panics") = gate;
    }

    fn gate(&self) -> Option<Gate> {
        self.gate.lock().expect("no holder panics").clone()
    }

    fn clock(&self) -> Clock {
        Clock::at(&self.refused)
    }
}

/// An optimizer that asks the gate before each step.
#[derive(Debug, Clone)]
pub(crate) struct Gated {
    pub rule: Rule,
    pub gate: StepGate,
}

/// The optimizers that can be asked to refuse.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    AdamW(AdamWOptimizer),
    Lamb(LambOptimizer),
}

impl Optimizer for Gated {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        weight: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let clock = self.gate.clock();
        let state = state.map(|state| AdamWState { time: state.taken(), ..state });
        let gate = self.gate.gate();
        let (weight, state) = match self.rule {
            Rule::AdamW(adamw) => adamw.step_if(lr, weight, grad, state, gate.as_ref()),
            Rule::Lamb(lamb) => lamb.step_if(lr, weight, grad, state, gate.as_ref()),
        };
        (weight, Some(AdamWState { clock, ..state }))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        AdamWOptimizer::to_device(state, device)
    }
}
