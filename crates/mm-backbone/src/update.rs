//! What happens to weights between two steps, each in one pass over the numbers: AdamW, moving averages, norms.

use burn::prelude::*;

use crate::ops;

/// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) at one step:
///
/// ```text
/// m ← β₁ m + (1 - β₁) g,   v ← β₂ v + (1 - β₂) g²
/// w ← (1 - η λ) w - η m / (1 - β₁ᵗ) / (sqrt(v / (1 - β₂ᵗ)) + ε)
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
    pub rate: f64,
    /// t, counted from 1.
    pub time: u64,
}

impl AdamW {
    /// The weight and the moments `m`, `v` after a step with gradient `grad`; all of one shape, `[…]`.
    ///
    /// ```
    /// use burn::prelude::*;
    /// use mm_backbone::AdamW;
    ///
    /// let device = Device::flex();
    /// let adam = AdamW { betas: [0.9, 0.99], epsilon: 1e-8, weight_decay: 0.0, rate: 0.1, time: 1 };
    /// let (weight, grad) = (Tensor::<1>::ones([3], &device), Tensor::<1>::ones([3], &device) * 5.0);
    /// let zeros = || Tensor::<1>::zeros([3], &device);
    /// let (weight, _) = adam.step(weight, grad, [zeros(), zeros()]);
    /// assert!((weight.mean().into_scalar::<f32>() - 0.9).abs() < 1e-6); // the first step is as long as the rate
    /// ```
    pub fn step<const D: usize>(
        &self,
        weight: Tensor<D>,
        grad: Tensor<D>,
        moments: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let [m, v] = &moments;
        if ops::all_plain([&weight, &grad, m, v]) {
            return ops::adamw(self, weight, grad, moments);
        }
        self.ordinary(weight, grad, moments)
    }

    /// The definition, in ordinary operations.
    pub(crate) fn ordinary<const D: usize>(
        &self,
        weight: Tensor<D>,
        grad: Tensor<D>,
        [m, v]: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let [beta_1, beta_2] = self.betas;
        let m = m * beta_1 + grad.clone() * (1.0 - beta_1);
        let v = v * beta_2 + grad.square() * (1.0 - beta_2);
        let [unbias_1, unbias_2] = self.corrections();
        let delta = m.clone() * unbias_1 / ((v.clone() * unbias_2).sqrt() + self.epsilon);
        let weight = weight * (1.0 - self.rate * self.weight_decay) - delta * self.rate;
        (weight, [m, v])
    }

    /// `1 / (1 - βᵗ)` of both.
    pub(crate) fn corrections(&self) -> [f64; 2] {
        self.betas.map(|beta| 1.0 / (1.0 - beta.powf(self.time as f64)))
    }
}

/// `average + (1 - keep) (weight - average)`, both of one shape, `[…]`; where weight and average are the same number it stays.
pub fn moving_average<const D: usize>(
    average: Tensor<D>,
    weight: &Tensor<D>,
    keep: f64,
) -> Tensor<D> {
    if ops::all_plain([&average, weight]) {
        return ops::moving_average(average, weight, keep);
    }
    let way = weight.clone() - average.clone();
    average + way * (1.0 - keep)
}

/// `Σ x²` over many tensors, read back once at the end: on a graphics device every read waits for all work before it.
#[derive(Debug, Default)]
pub struct SumOfSquares {
    /// What is on the host already.
    host: f64,
    /// What the device still computes, `[1]` each.
    pending: Vec<Tensor<1>>,
}

impl SumOfSquares {
    /// Adds the squares of `x`, of any shape `[…]`.
    pub fn add<const D: usize>(&mut self, x: &Tensor<D>) {
        match ops::sum_of_squares(x) {
            Some(sum) => self.host += sum,
            None => self.pending.push(x.clone().square().sum()),
        }
    }

    /// The sum, added up in 64-bit floats.
    pub fn read(self) -> f64 {
        let Self { host, pending } = self;
        if pending.is_empty() {
            return host;
        }
        host + Tensor::cat(pending, 0).into_data().iter::<f64>().sum::<f64>()
    }
}

/// `Σ x²` of one tensor of any shape `[…]`, read back.
pub fn sum_of_squares<const D: usize>(x: &Tensor<D>) -> f64 {
    let mut sum = SumOfSquares::default();
    sum.add(x);
    sum.read()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Init;

    fn random(seed: u64) -> Tensor<2> {
        Init::new(seed, &Device::flex()).normal([37, 41], 1.0).val()
    }

    fn assert_close(a: Tensor<2>, b: Tensor<2>) {
        let most = (a - b).abs().max().into_scalar::<f32>();
        assert!(most < 1e-6, "differs by {most}");
    }

    #[test]
    fn a_fused_adamw_step_equals_its_definition() {
        for time in [1, 2, 300] {
            let adam =
                AdamW { betas: [0.9, 0.95], epsilon: 1e-8, weight_decay: 0.1, rate: 1e-2, time };
            let moments = || [random(3), random(4).square()];
            assert!(ops::all_plain([&random(1)]));
            let (weight, [m, v]) = ops::adamw(&adam, random(1), random(2), moments());
            let (wanted, [wanted_m, wanted_v]) = adam.ordinary(random(1), random(2), moments());
            assert_close(weight, wanted);
            assert_close(m, wanted_m);
            assert_close(v, wanted_v);
        }
    }

    #[test]
    fn an_update_leaves_other_holders_of_a_tensor_alone() {
        let average = random(1);
        let held = average.clone();
        let moved = ops::moving_average(average, &random(2), 0.9);
        assert_eq!(held.into_data(), random(1).into_data());
        assert_close(moved, random(1) * 0.9 + random(2) * 0.1);
    }

    #[test]
    fn the_sum_of_squares_is_right_with_and_without_a_kernel() {
        let (x, y) = (random(1), random(2));
        let square = |x: &Tensor<2>| f64::from(x.clone().square().sum().into_scalar::<f32>());
        let wanted = square(&x) + square(&y);
        assert!(ops::sum_of_squares(&x).is_some());
        for (first, second) in [(x.clone(), y.clone()), (x.autodiff(), y.autodiff())] {
            let mut sum = SumOfSquares::default();
            sum.add(&first);
            sum.add(&second);
            assert!((sum.read() / wanted - 1.0).abs() < 1e-5);
        }
    }
}
