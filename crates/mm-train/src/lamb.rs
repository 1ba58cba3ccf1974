//! LAMB (You et al. 2020, arXiv:1904.00962) as the seed trains with it (bert4keras's layer adaptation over Adam): Adam's step,
//! made as long as the weight is, without decay and without a limit on the ratio.
//!
//! ```text
//! d = m / (1 - β₁ᵗ) / (sqrt(v / (1 - β₂ᵗ)) + ε);   w ← w - η (|w| / |d|) d,   the ratio 1 where a norm is 0
//! ```

use burn::optim::{LearningRate, Optimizer};
use burn::prelude::*;
use mm_backbone::sum_of_squares;

use crate::adamw::AdamWState;

/// LAMB with everything but the rate and the time fixed.
#[derive(Debug, Clone, Copy)]
pub struct LambOptimizer {
    /// The two averages.
    pub betas: [f64; 2],
    /// ε.
    pub epsilon: f64,
    /// Whether steps are made as long as their weight is; without, this is Adam.
    pub adapt: bool,
}

impl Optimizer for LambOptimizer {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        weight: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let [beta_1, beta_2] = self.betas;
        let (time, [m, v]) = AdamWState::next(state, &weight);
        let m = m * beta_1 + grad.clone() * (1.0 - beta_1);
        let v = v * beta_2 + grad.square() * (1.0 - beta_2);
        let [unbias_1, unbias_2] = self.betas.map(|beta| 1.0 / (1.0 - beta.powf(time as f64)));
        let delta = m.clone() * unbias_1 / ((v.clone() * unbias_2).sqrt() + self.epsilon);
        let norms = [&weight, &delta].map(|tensor| sum_of_squares(tensor).sqrt());
        let ratio = match norms {
            [weight, delta] if self.adapt && weight > 0.0 && delta > 0.0 => weight / delta,
            _ => 1.0,
        };
        let weight = weight - delta * (rate * ratio);
        (weight, Some(AdamWState { time, moments: [m, v] }))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        crate::AdamWOptimizer::to_device(state, device)
    }
}
