//! Whether an update of weights is taken, as the device decides it.
//!
//! A host that reads a loss to decide waits for all work before it. So the decision can stay on the
//! device: every update is computed, and one that is not to be taken is replaced by what was there
//! before. What depends on the number of updates so far, such as the corrections of AdamW, is then
//! unknown to the host as well, until it reads. The host knows it up to the few updates that it has
//! not read, so it gives the device the number for every case, and the device takes the right one.

use std::sync::{Arc, Mutex};

use burn::prelude::*;

/// The decision about one update, and what the device knows of the updates before it.
///
/// ```
/// use burn::prelude::*;
/// use mm_kernels::{AdamW, Gate};
///
/// let device = Device::flex();
/// let adam = AdamW { betas: [0.9, 0.99], epsilon: 1e-8, weight_decay: 0.1, lr: 0.1, time: 1 };
/// let numbers = || Tensor::<1>::ones([3], &device);
/// let loss = Tensor::<1>::from_floats([f32::NAN], &device);
/// let gate = Gate::first(loss.is_finite());
/// let (weight, [m, _]) = adam.step_if(numbers(), numbers() * 5.0, [numbers(), numbers()], &gate);
/// assert_eq!(weight.into_data(), numbers().into_data());
/// assert_eq!(m.into_data(), numbers().into_data());
/// ```
#[derive(Debug, Clone)]
pub struct Gate {
    /// Whether the update is taken, `[1]`.
    taken: Tensor<1, Bool>,
    /// How many of the updates that the host has not read were not taken, `[1]`.
    missed: Tensor<1, Int>,
    /// How many updates the host has not read, without this one.
    unread: u64,
    /// Pairs of numbers that were asked for.
    known: Arc<Mutex<Vec<Known>>>,
}

/// A pair of numbers that many parameters ask for.
#[derive(Debug)]
struct Known {
    /// What the pair depends on.
    key: [u64; 3],
    /// The numbers, `[1]` each.
    pair: [Tensor<1>; 2],
}

impl Gate {
    /// Makes the gate of an update behind which the host has read everything; `taken`: `[1]`.
    pub fn first(taken: Tensor<1, Bool>) -> Self {
        let missed = Tensor::zeros([1], &taken.device());
        Self { taken, missed, unread: 0, known: Arc::default() }
    }

    /// Makes the gate of the update that follows this one; `taken`: `[1]`.
    #[must_use]
    pub fn next(&self, taken: Tensor<1, Bool>) -> Self {
        let missed = self.missed.clone() + self.taken.clone().bool_not().int();
        Self { taken, missed, unread: self.unread + 1, known: Arc::default() }
    }

    /// Returns whether the update is taken, `[1]`.
    pub fn taken(&self) -> Tensor<1, Bool> {
        self.taken.clone()
    }

    /// Returns `new` if the update is taken and otherwise `old`, both `[…]`.
    pub fn choose<const D: usize>(&self, old: Tensor<D>, new: Tensor<D>) -> Tensor<D> {
        let taken = self.taken.clone().reshape([1; D]).expand(old.dims());
        old.mask_where(taken, new)
    }

    /// Returns the numbers that `of` gives for the count of updates that were taken before this
    /// one, of which there are `most` if all of the unread ones were, `[1]` each.
    pub fn numbers<const N: usize>(
        &self,
        most: u64,
        of: impl Fn(u64) -> [f64; N],
    ) -> [Tensor<1>; N] {
        let cases: Vec<[f64; N]> =
            (0..=self.unread).map(|missed| of(most.saturating_sub(missed))).collect();
        let device = self.taken.device();
        std::array::from_fn(|index| {
            let cases: Vec<f32> = cases.iter().map(|case| case[index] as f32).collect();
            let table = Tensor::<1>::from_floats(cases.as_slice(), &device);
            if self.unread == 0 { table } else { table.select(0, self.missed.clone()) }
        })
    }

    /// Returns a pair of [`numbers`](Self::numbers) that many parameters ask for with the same
    /// `key`, so that it goes to the device once, `[1]` each.
    pub(crate) fn shared_pair(
        &self,
        key: [u64; 3],
        most: u64,
        of: impl Fn(u64) -> [f64; 2],
    ) -> [Tensor<1>; 2] {
        let mut known = self.known.lock().expect("no holder panics");
        if let Some(found) = known.iter().find(|one| one.key == key) {
            return found.pair.clone();
        }
        let pair = self.numbers(most, of);
        known.push(Known { key, pair: pair.clone() });
        pair
    }

    /// Reads how many of the unread updates were not taken, or nothing if this one is not.
    pub(crate) fn read(&self) -> Option<u64> {
        let missed = if self.unread == 0 { 0 } else { self.read_missed() };
        let taken = self.taken.to_data().iter::<bool>().next();
        taken.expect("one decision").then_some(missed)
    }

    fn read_missed(&self) -> u64 {
        let missed = self.missed.to_data().iter::<i64>().next();
        u64::try_from(missed.expect("one count")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(device: &Device, decisions: &[bool]) -> Gate {
        let one = |taken: bool| Tensor::<1, Bool>::from_data([taken], device);
        let (first, rest) = decisions.split_first().unwrap();
        rest.iter().fold(Gate::first(one(*first)), |gate, taken| gate.next(one(*taken)))
    }

    #[test]
    fn a_number_is_that_of_the_updates_that_were_taken() {
        let device = Device::flex();
        let squares = |decisions: &[bool]| {
            let [number] = gate(&device, decisions).numbers(7, |count| [(count * count) as f64]);
            number.into_scalar::<f32>()
        };
        assert_eq!(squares(&[true]), 49.0);
        assert_eq!(squares(&[true, true, false]), 49.0);
        assert_eq!(squares(&[false, true, true]), 36.0);
        assert_eq!(squares(&[false, false, true]), 25.0);
    }
}
