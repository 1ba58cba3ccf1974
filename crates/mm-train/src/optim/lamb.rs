//! LAMB (You et al. 2020, arXiv:1904.00962) as Su's scripts train with it (bert4keras's layer
//! adaptation over Adam): Adam's step is made as long as the weight, without decay and without a
//! limit on the ratio.
//!
//! ```text
//! d = m / (1 - β₁ᵗ) / (sqrt(v / (1 - β₂ᵗ)) + ε);   w ← w - η (|w| / |d|) d,   the ratio 1 where a norm is 0
//! ```

use burn::optim::{LearningRate, Optimizer};
use burn::prelude::*;
use mm_kernels::{AdamW, Gate, SumOfSquares};

use super::Squares;
use super::adamw::{AdamWOptimizer, AdamWState};

/// LAMB with all settings but the learning rate and the time.
#[derive(Debug, Clone, Copy)]
pub struct LambOptimizer {
    /// The decays of the two moments.
    pub betas: [f64; 2],
    /// ε, which keeps the quotient finite.
    pub epsilon: f64,
    /// Whether steps are made as long as their weight; otherwise this is Adam.
    pub adapt: bool,
}

impl Optimizer for LambOptimizer {
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
        AdamWOptimizer::to_device(state, device)
    }
}

impl LambOptimizer {
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
        // From zero, at learning rate 1 and without decay, Adam's step is the weight it ends at. A
        // step that is not taken stays at zero.
        let (rule, zero) = (self.adam(time), weight.zeros_like());
        let (step, moments) = match gate {
            Some(gate) => rule.step_if(zero, grad, moments, gate),
            None => rule.step(zero, grad, moments),
        };
        let weight = match gate {
            Some(gate) => gate.choose(weight.clone(), self.moved(lr, weight, step)),
            None => self.moved(lr, weight, step),
        };
        (weight, AdamWState { time, clock, moments })
    }

    /// Returns the equations of Adam's step, from zero.
    fn adam(&self, time: usize) -> AdamW {
        let Self { betas, epsilon, .. } = *self;
        AdamW { betas, epsilon, weight_decay: 0.0, lr: 1.0, time: time as u64 }
    }

    /// Moves a weight by Adam's step, which is made as long as the weight, both `[…]`.
    fn moved<const D: usize>(&self, lr: f64, weight: Tensor<D>, step: Tensor<D>) -> Tensor<D> {
        if !self.adapt {
            return weight + step * lr;
        }
        match [squares(&weight), squares(&step)] {
            [Squares::Host(of_weight), Squares::Host(of_step)] => {
                let [of_weight, of_step] = [of_weight.sqrt(), of_step.sqrt()];
                let some = of_weight > 0.0 && of_step > 0.0;
                let ratio = if some { of_weight / of_step } else { 1.0 };
                weight + step * (lr * ratio)
            }
            [of_weight, of_step] => {
                let on_device = |squares: Squares| squares.on(&weight.device());
                let [of_weight, of_step] = [of_weight, of_step].map(on_device);
                let none = of_weight.clone().equal_elem(0).bool_or(of_step.clone().equal_elem(0));
                let ratio = (of_weight.sqrt() / of_step.sqrt()).mask_fill(none, 1.0);
                weight + step * (ratio * lr).unsqueeze()
            }
        }
    }
}

/// Computes `Σ x²` of `[…]` and reads nothing back.
fn squares<const D: usize>(x: &Tensor<D>) -> Squares {
    let mut sum = SumOfSquares::default();
    sum.add(x);
    Squares::of(sum)
}
