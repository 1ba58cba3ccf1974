//! What happens to weights between two steps, each in one pass over the numbers where kernels can:
//! AdamW, moving averages, norms.

use burn::prelude::*;

use crate::{AdamW, Gate, kernels, kernels_of, read_together};

impl AdamW {
    /// Returns the weight and the moments `[m, v]` after a step with gradient `grad`; all have one
    /// shape, `[…]`.
    pub fn step<const D: usize>(
        &self,
        weight: Tensor<D>,
        grad: Tensor<D>,
        moments: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let kernels = kernels_of(&weight);
        if !kernels.fuses_updates() {
            return self.reference(weight, grad, moments);
        }
        let shape = weight.dims();
        let (weight, moments) = kernels.adamw(self, flat(weight), flat(grad), moments.map(flat));
        (weight.reshape(shape), moments.map(|moment| moment.reshape(shape)))
    }

    /// Returns the weight and the moments `[m, v]` after a step with gradient `grad` if the gate is
    /// open, and otherwise as they are; all have one shape, `[…]`. [`time`](Self::time) is the
    /// number of the step if all updates were taken that the host has not read.
    pub fn step_if<const D: usize>(
        &self,
        weight: Tensor<D>,
        grad: Tensor<D>,
        moments: [Tensor<D>; 2],
        gate: &Gate,
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        if !kernels_of(&weight).fuses_updates() {
            return self.gated_reference(weight, grad, moments, gate);
        }
        // Kernels that update in one pass run on the host, which waits for nothing.
        match gate.read() {
            Some(missed) => {
                let time = self.time.saturating_sub(missed).max(1);
                Self { time, ..*self }.step(weight, grad, moments)
            }
            None => (weight, moments),
        }
    }
}

/// Computes `average + (1 - keep) (weight - average)`, both of one shape, `[…]`. Numbers that are
/// the same in weight and average stay as they are.
///
/// ```
/// use burn::prelude::*;
/// use mm_kernels::moving_average;
///
/// let device = Device::flex();
/// let weight = Tensor::<1>::from_floats([4.0, 2.0], &device);
/// let average = moving_average(Tensor::ones([2], &device), &weight, 0.5);
/// assert_eq!(average.into_data().try_to_vec::<f32>().unwrap(), [2.5, 1.5]);
/// ```
pub fn moving_average<const D: usize>(
    average: Tensor<D>,
    weight: &Tensor<D>,
    keep: f64,
) -> Tensor<D> {
    let kernels = kernels_of(&average);
    if !kernels.fuses_updates() {
        return kernels::moving_average(average, weight.clone(), keep);
    }
    let shape = average.dims();
    kernels.moving_average(flat(average), flat(weight.clone()), keep).reshape(shape)
}

/// Computes the [moving average](moving_average) if the gate is open and otherwise returns the
/// average as it is, both of one shape, `[…]`. `keep` says how much is kept after so many updates,
/// which are `updates` if all were taken that the host has not read.
pub fn moving_average_if<const D: usize>(
    average: Tensor<D>,
    weight: &Tensor<D>,
    updates: u64,
    keep: impl Fn(u64) -> f64,
    gate: &Gate,
) -> Tensor<D> {
    if kernels_of(&average).fuses_updates() {
        return match gate.read() {
            Some(missed) => moving_average(average, weight, keep(updates.saturating_sub(missed))),
            None => average,
        };
    }
    let [share] = gate.numbers(updates, |updates| [1.0 - keep(updates)]);
    let moved = average.clone() + (weight.clone() - average.clone()) * share.unsqueeze();
    gate.choose(average, moved)
}

/// `Σ x²` over many tensors, read back once at the end: on a graphics device every read waits for
/// all work before it.
///
/// ```
/// use burn::prelude::*;
/// use mm_kernels::SumOfSquares;
///
/// let device = Device::flex();
/// let mut sum = SumOfSquares::default();
/// sum.add(&Tensor::<1>::ones([3], &device));
/// sum.add(&Tensor::<2>::ones([2, 2], &device));
/// assert_eq!(sum.read(), 7.0);
/// ```
#[derive(Debug, Default)]
pub struct SumOfSquares {
    /// The sum of what is on the host already.
    host: f64,
    /// The sums that the device still computes, `[1]` each.
    pending: Vec<Tensor<1>>,
}

impl SumOfSquares {
    /// Adds the squares of `x`, of any shape `[…]`.
    pub fn add<const D: usize>(&mut self, x: &Tensor<D>) {
        let kernels = kernels_of(x);
        let fused = kernels.fuses_updates().then(|| kernels.sum_of_squares(flat(x.clone())));
        match fused.flatten() {
            Some(sum) => self.host += sum,
            None => self.pending.push(x.clone().square().sum()),
        }
    }

    /// Returns the sum of what is on the host already, and the sums that the device still computes,
    /// `[1]` each; reads nothing back.
    pub fn into_parts(self) -> (f64, Vec<Tensor<1>>) {
        (self.host, self.pending.into_iter().map(Tensor::without_autodiff).collect())
    }

    /// Returns the sum, added up in 64-bit floats.
    pub fn read(self) -> f64 {
        self.read_with(vec![]).0
    }

    /// Returns the sum and, read in the same turn, other numbers: of each of `others`, `[1]`, as a
    /// 32-bit float.
    pub fn read_with(self, others: Vec<Tensor<1>>) -> (f64, Vec<f32>) {
        let Self { host, pending } = self;
        let parts = pending.len();
        let squares = if parts == 0 { vec![] } else { vec![Tensor::cat(pending, 0)] };
        let numbers = read_together([squares, others].concat());
        let (squares, others) = numbers.split_at(parts);
        let sum = host + squares.iter().sum::<f64>();
        (sum, others.iter().map(|number| *number as f32).collect())
    }
}

/// Computes `Σ x²` of one tensor of any shape `[…]` and reads it back.
pub fn sum_of_squares<const D: usize>(x: &Tensor<D>) -> f64 {
    let mut sum = SumOfSquares::default();
    sum.add(x);
    sum.read()
}

/// Returns the numbers of `[…]` in one row, `[numbers]`.
fn flat<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let numbers = x.shape().num_elements();
    x.reshape([numbers])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    fn random(seed: u64) -> Tensor<2> {
        normal(seed, [37, 41], 1.0)
    }

    fn assert_close(a: Tensor<2>, b: Tensor<2>) {
        let most = (a - b).abs().max().into_scalar::<f32>();
        assert!(most < 1e-6, "differs by {most}");
    }

    #[test]
    fn a_fused_adamw_step_equals_its_definition() {
        for time in [1, 2, 300] {
            let adam =
                AdamW { betas: [0.9, 0.95], epsilon: 1e-8, weight_decay: 0.1, lr: 1e-2, time };
            let moments = || [random(3), random(4).square()];
            assert_eq!(kernels_of(&random(1)).fuses_updates(), cfg!(feature = "flex"));
            let (weight, [m, v]) = adam.step(random(1), random(2), moments());
            let (wanted, [wanted_m, wanted_v]) = adam.reference(random(1), random(2), moments());
            assert_close(weight, wanted);
            assert_close(m, wanted_m);
            assert_close(v, wanted_v);
        }
    }

    /// Returns the gate behind some updates, of which the last is the one in question.
    fn gate(decisions: &[bool]) -> Gate {
        let one = |taken: bool| Tensor::<1, Bool>::from_data([taken], &Device::flex());
        let (first, rest) = decisions.split_first().unwrap();
        rest.iter().fold(Gate::first(one(*first)), |gate, taken| gate.next(one(*taken)))
    }

    #[test]
    fn a_step_behind_unread_ones_equals_the_step_at_its_own_time() {
        let moments = || [random(3), random(4).square()];
        let adam =
            AdamW { betas: [0.9, 0.95], epsilon: 1e-8, weight_decay: 0.1, lr: 1e-2, time: 9 };
        for (decisions, missed) in
            [(&[true][..], 0), (&[true, true], 0), (&[false, false, true], 2)]
        {
            let gate = gate(decisions);
            let at = AdamW { time: 9 - missed, ..adam };
            let (wanted, [m, v]) = at.reference(random(1), random(2), moments());
            for (found, [found_m, found_v]) in [
                adam.gated_reference(random(1), random(2), moments(), &gate),
                adam.step_if(random(1), random(2), moments(), &gate),
            ] {
                assert_close(found, wanted.clone());
                assert_close(found_m, m.clone());
                assert_close(found_v, v.clone());
            }
        }
    }

    #[test]
    fn an_update_that_is_not_taken_changes_no_bit() {
        let moments = || [random(3), random(4).square()];
        let broken = || random(2) / random(2).zeros_like();
        let adam = AdamW { betas: [0.9, 0.95], epsilon: 1e-8, weight_decay: 0.1, lr: 1.0, time: 3 };
        let gate = gate(&[true, false]);
        for (weight, [m, v]) in [
            adam.gated_reference(random(1), broken(), moments(), &gate),
            adam.step_if(random(1), broken(), moments(), &gate),
        ] {
            assert_eq!(weight.into_data(), random(1).into_data());
            assert_eq!(m.into_data(), random(3).into_data());
            assert_eq!(v.into_data(), random(4).square().into_data());
        }
        let average = moving_average_if(random(5), &broken(), 4, |_| 0.5, &gate);
        assert_eq!(average.into_data(), random(5).into_data());
    }

    #[test]
    fn a_gated_average_has_the_weight_of_the_updates_that_were_taken() {
        let keep = |updates: u64| 1.0 / (updates + 2) as f64;
        for (decisions, taken) in [(&[true][..], 6), (&[true, true], 6), (&[false, true, true], 5)]
        {
            let average = moving_average_if(random(1), &random(2), 6, keep, &gate(decisions));
            assert_close(average, moving_average(random(1), &random(2), keep(taken)));
        }
    }

    #[test]
    fn an_update_leaves_other_holders_of_a_tensor_alone() {
        let average = random(1);
        let held = average.clone();
        let moved = moving_average(average, &random(2), 0.9);
        assert_eq!(held.into_data(), random(1).into_data());
        assert_close(moved, random(1) * 0.9 + random(2) * 0.1);
    }

    #[test]
    fn the_sum_of_squares_is_right_with_and_without_a_kernel() {
        let (x, y) = (random(1), random(2));
        let square = |x: &Tensor<2>| f64::from(x.clone().square().sum().into_scalar::<f32>());
        let wanted = square(&x) + square(&y);
        let fused = kernels_of(&x).sum_of_squares(flat(x.clone()));
        assert_eq!(fused.is_some(), cfg!(feature = "flex"));
        assert_eq!(SumOfSquares::default().read(), 0.0);
        let tracked = [&x, &y].map(|x| x.clone().autodiff());
        for (first, second) in [(x.clone(), y.clone()), tracked.into()] {
            let mut sum = SumOfSquares::default();
            sum.add(&first);
            sum.add(&second);
            let third = Tensor::<1>::from_floats([2.5], &x.device());
            let (found, others) = sum.read_with(vec![third.clone(), third]);
            assert!((found / wanted - 1.0).abs() < 1e-5);
            assert_eq!(others, [2.5, 2.5]);
            let mut sum = SumOfSquares::default();
            sum.add(&first);
            sum.add(&second);
            let (host, parts) = sum.into_parts();
            let rest = parts.into_iter().map(|part| f64::from(part.into_scalar::<f32>()));
            assert!(((host + rest.sum::<f64>()) / wanted - 1.0).abs() < 1e-5);
        }
    }
}
