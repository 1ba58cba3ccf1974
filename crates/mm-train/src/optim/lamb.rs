//! LAMB (You et al. 2020, arXiv:1904.00962) as Su's scripts train with it (bert4keras's layer
//! adaptation over Adam): Adam's step is made as long as the weight, without decay and without a
//! limit on the ratio.
//!
//! ```text
//! d = m / (1 - β₁ᵗ) / (sqrt(v / (1 - β₂ᵗ)) + ε);   w ← w - η (|w| / |d|) d,   the ratio 1 where a norm is 0
//! ```

use burn::optim::{LearningRate, Optimizer};
use burn::prelude::*;
use mm_kernels::{AdamW, sum_of_squares};

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
        let (time, moments) = AdamWState::next(state, &weight);
        // From zero, at learning rate 1 and without decay, Adam's step is the weight it ends at.
        let Self { betas, epsilon, .. } = *self;
        let adam = AdamW { betas, epsilon, weight_decay: 0.0, lr: 1.0, time: time as u64 };
        let (step, moments) = adam.step(weight.zeros_like(), grad, moments);
        let norms = [&weight, &step].map(|tensor| sum_of_squares(tensor).sqrt());
        let ratio = match norms {
            [weight, step] if self.adapt && weight > 0.0 && step > 0.0 => weight / step,
            _ => 1.0,
        };
        let weight = weight + step * (lr * ratio);
        (weight, Some(AdamWState { time, moments }))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        AdamWOptimizer::to_device(state, device)
    }
}
