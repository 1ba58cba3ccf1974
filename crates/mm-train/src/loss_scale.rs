//! The factor of the loss in a backward pass through f16 (Micikevicius et al. 2018,
//! arXiv:1710.03740, section 3.2).
//!
//! Gradients below 6e-8 are 0 in f16, and numbers above 65504 are infinite. So the loss is
//! multiplied by a power of two, and gradients are divided by it once they are 32-bit floats. The
//! factor is halved where a gradient is not finite, and that step is skipped; it is doubled after
//! many steps without that. Start and rhythm are those of PyTorch's `GradScaler`.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// The factor at the first step.
const FIRST: f64 = 65536.0;
/// The number of steps in a row without overflow after which the factor is doubled.
const GROWS_AFTER: u32 = 2000;
/// The largest factor, at which sums of squares of scaled gradients are far from the range of f32.
const LARGEST: f64 = 16_777_216.0;

/// The factor, which is part of a checkpoint, so that a resumed run takes the same steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    /// What the loss is multiplied by, a power of two.
    pub factor: f64,
    /// The number of steps since the factor changed or a gradient was not finite.
    finite: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { factor: FIRST, finite: 0 }
    }
}

impl LossScale {
    /// Returns the factor after a step whose numbers were finite or not.
    #[must_use]
    pub(crate) fn after(self, finite: bool) -> Self {
        let Self { factor, finite: before } = self;
        if !finite {
            return Self { factor: (factor / 2.0).max(1.0), finite: 0 };
        }
        if before + 1 < GROWS_AFTER {
            return Self { factor, finite: before + 1 };
        }
        Self { factor: (factor * 2.0).min(LARGEST), finite: 0 }
    }

    /// Says whether a smaller factor may still help against gradients that are not finite.
    pub(crate) fn can_fall(self) -> bool {
        self.factor > 1.0
    }
}

/// The factor while only the device knows whether its numbers were finite.
#[derive(Debug, Clone)]
pub(crate) struct LossScaleUnread {
    /// `[1]`
    factor: Tensor<1>,
    /// `[1]`
    finite: Tensor<1>,
}

impl LossScaleUnread {
    /// Brings the factor to a device.
    pub fn new(scale: LossScale, device: &Device) -> Self {
        let one = |number: f32| Tensor::from_floats([number], device);
        Self { factor: one(scale.factor as f32), finite: one(scale.finite as f32) }
    }

    /// Returns the factor, `[1]`.
    pub fn factor(&self) -> Tensor<1> {
        self.factor.clone()
    }

    /// Does what [`LossScale::after`] does; `finite`: `[1]`.
    #[must_use]
    pub fn after(self, finite: Tensor<1, Bool>) -> Self {
        let Self { factor, finite: before } = self;
        let count = before + 1.0;
        let grows = count.clone().greater_equal_elem(GROWS_AFTER).bool_and(finite.clone());
        let grown = factor.clone().mul_scalar(2.0).clamp_max(LARGEST);
        let halved = factor.clone().mul_scalar(0.5).clamp_min(1.0);
        let kept = factor.mask_where(grows.clone(), grown);
        Self {
            factor: halved.mask_where(finite.clone(), kept),
            finite: count.mask_fill(grows.bool_or(finite.bool_not()), 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_halved_by_an_overflow_and_doubled_after_many_steps_without() {
        let scale = LossScale::default().after(false);
        assert_eq!(scale.factor, 32768.0);
        let after = |steps: u32| (0..steps).fold(scale, |scale, _| scale.after(true)).factor;
        assert_eq!([after(GROWS_AFTER - 1), after(GROWS_AFTER)], [32768.0, 65536.0]);
        assert_eq!(after(100 * GROWS_AFTER), LARGEST);
        let smallest = (0..99).fold(scale, |scale, _| scale.after(false));
        assert!(smallest.factor == 1.0 && !smallest.can_fall());
    }

    #[test]
    fn the_device_comes_to_the_same_factor_as_the_host() {
        let device = Device::flex();
        for pattern in 0u32..128 {
            let mut host = LossScale {
                factor: f64::from([1, 2, 65536, 1 << 24][pattern as usize % 4]),
                finite: [0, GROWS_AFTER - 3][pattern as usize % 2],
            };
            let mut unread = LossScaleUnread::new(host, &device);
            for step in 0..7 {
                let finite = pattern >> step & 1 == 1;
                host = host.after(finite);
                unread = unread.after(Tensor::from_data([finite], &device));
                let found =
                    [unread.factor(), unread.finite.clone()].map(Tensor::into_scalar::<f32>);
                assert_eq!(found, [host.factor as f32, host.finite as f32], "{pattern:b}, {step}");
            }
        }
    }
}
