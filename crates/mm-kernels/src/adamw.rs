//! The equations of AdamW.

use burn::prelude::*;

use crate::Gate;

/// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) at one step:
///
/// ```text
/// m ← β₁ m + (1 - β₁) g,   v ← β₂ v + (1 - β₂) g²
/// w ← (1 - η λ) w - η m / (1 - β₁ᵗ) / (sqrt(v / (1 - β₂ᵗ)) + ε)
/// ```
///
/// ```
/// use burn::prelude::*;
/// use mm_kernels::AdamW;
///
/// let device = Device::flex();
/// let adam = AdamW { betas: [0.9, 0.99], epsilon: 1e-8, weight_decay: 0.0, lr: 0.1, time: 1 };
/// let (weight, grad) = (Tensor::<1>::ones([3], &device), Tensor::<1>::ones([3], &device) * 5.0);
/// let zeros = || Tensor::<1>::zeros([3], &device);
/// let (weight, _) = adam.step(weight, grad, [zeros(), zeros()]);
/// // The first step is as long as the learning rate.
/// assert!((weight.mean().into_scalar::<f32>() - 0.9).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// β₁ and β₂.
    pub betas: [f64; 2],
    /// ε.
    pub epsilon: f64,
    /// λ.
    pub weight_decay: f64,
    /// η.
    pub lr: f64,
    /// The number of the step, t, counted from 1.
    pub time: u64,
}

impl AdamW {
    /// Takes the step in device operations: the weight and `[m, v]` afterwards, all `[…]`.
    pub(crate) fn reference<const D: usize>(
        &self,
        weight: Tensor<D>,
        grad: Tensor<D>,
        moments: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let [m, v] = self.moments(grad, moments);
        let [unbias_1, unbias_2] = self.corrections();
        let delta = m.clone() * unbias_1 / ((v.clone() * unbias_2).sqrt() + self.epsilon);
        (self.moved(weight, delta), [m, v])
    }

    /// Takes the step in device operations if the gate is open, and otherwise gives back what it
    /// was given; all `[…]`.
    pub(crate) fn gated_reference<const D: usize>(
        &self,
        weight: Tensor<D>,
        grad: Tensor<D>,
        moments: [Tensor<D>; 2],
        gate: &Gate,
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let [old_m, old_v] = moments.clone();
        let [m, v] = self.moments(grad, moments);
        let key = [self.time, self.betas[0].to_bits(), self.betas[1].to_bits()];
        let at = |time: u64| Self { time: time.max(1), ..*self }.corrections();
        let [unbias_1, unbias_2] = gate.shared_pair(key, self.time, at).map(Tensor::unsqueeze);
        let delta = m.clone() * unbias_1 / ((v.clone() * unbias_2).sqrt() + self.epsilon);
        let new = self.moved(weight.clone(), delta);
        (gate.choose(weight, new), [gate.choose(old_m, m), gate.choose(old_v, v)])
    }

    /// Computes both averages after a gradient, all `[…]`.
    fn moments<const D: usize>(&self, grad: Tensor<D>, moments: [Tensor<D>; 2]) -> [Tensor<D>; 2] {
        let [m, v] = moments;
        let [beta_1, beta_2] = self.betas;
        let m = m * beta_1 + grad.clone() * (1.0 - beta_1);
        let v = v * beta_2 + grad.square() * (1.0 - beta_2);
        [m, v]
    }

    /// Moves and decays a weight, both `[…]`.
    fn moved<const D: usize>(&self, weight: Tensor<D>, delta: Tensor<D>) -> Tensor<D> {
        weight * (1.0 - self.lr * self.weight_decay) - delta * self.lr
    }

    /// Returns `1 / (1 - βᵗ)` of both averages.
    pub(crate) fn corrections(&self) -> [f64; 2] {
        self.betas.map(|beta| 1.0 / (1.0 - beta.powf(self.time as f64)))
    }
}
