//! What the network predicts, and the exact conversions between the three predictions.
//!
//! With z = s x + n e (signal s, noise n, clean x, noise e) and the velocity v = x - e, two of z,
//! x, e, v give the others: z = (s + n) x - n v = (s + n) e + s v. On the linear path v is dz/dt
//! (Liu et al. 2022, arXiv:2209.03003).
//!
//! Conversions of a velocity divide by s + n, which is above 0. The way from a noise prediction to
//! the clean image divides by s, and the way from a clean prediction to the noise divides by n. At
//! an end (s = 0 or n = 0) that answer is not determined, and the division is by [`SMALLEST`]
//! instead, so that the result is finite. Elsewhere the conversions are exact.

use burn::prelude::*;
use burn::tensor::assert_shape;
use serde::{Deserialize, Serialize};

use crate::Level;

/// Divisors below this are raised to it. The smallest signal of `Su2024` is 0.0065, and its
/// smallest noise is 0.0045.
const SMALLEST: f64 = 1e-4;

/// What the network's output means.
///
/// ```
/// use burn::prelude::*;
/// use mm_diffusion::{Prediction, Schedule};
///
/// let level = Schedule::Linear.level(0.75);
/// let clean = Tensor::<3>::full([1, 4, 12], 0.5, &Device::flex());
/// let eps = Tensor::<3>::full([1, 4, 12], -1.0, &Device::flex());
/// let z = level.noised_tensor(clean.clone(), eps.clone());
///
/// // A network that hits the target tells the clean image.
/// let output = Prediction::Velocity.target(clean.clone(), eps);
/// let found = Prediction::Velocity.to_clean_at(output, z, &level);
/// assert!((found - clean).abs().max().into_scalar::<f32>() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The noise e, as in DDPM and in Su's scripts.
    Noise,
    /// The clean patches x.
    Clean,
    /// The velocity v = x - e, on every schedule. It is not the v of Salimans and Ho 2022, which is
    /// signal · e - noise · x.
    Velocity,
}

impl Prediction {
    /// Returns what the output should have been.
    ///
    /// `clean`, `eps`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
    pub fn target(self, clean: Tensor<3>, eps: Tensor<3>) -> Tensor<3> {
        assert_same_patches(&clean, &eps);
        match self {
            Prediction::Noise => eps,
            Prediction::Clean => clean,
            Prediction::Velocity => clean - eps,
        }
    }

    /// Returns the clean patches that an `output` for `noisy` implies, where images have a level
    /// each.
    ///
    /// `output`, `noisy`: `[batch, tokens, channels]`; `signal`, `noise`: `[batch, tokens or 1, 1]`
    /// -> `[batch, tokens, channels]`. A noise prediction says nothing about the image where the
    /// signal is 0.
    pub fn to_clean(
        self,
        output: Tensor<3>,
        noisy: Tensor<3>,
        signal: Tensor<3>,
        noise: Tensor<3>,
    ) -> Tensor<3> {
        assert_same_patches(&output, &noisy);
        match self {
            Prediction::Noise => (noisy - output * noise) / signal.clamp_min(SMALLEST),
            Prediction::Clean => output,
            Prediction::Velocity => (noisy + output * noise.clone()) / (signal + noise),
        }
    }

    /// Returns the clean patches that an `output` for `noisy` implies, where images share a level.
    ///
    /// `output`, `noisy`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
    pub fn to_clean_at(self, output: Tensor<3>, noisy: Tensor<3>, level: &Level) -> Tensor<3> {
        let factor = |value: f64| Tensor::<3>::full([1, 1, 1], value, &noisy.device());
        let (signal, noise) = (factor(level.signal), factor(level.noise));
        self.to_clean(output, noisy, signal, noise)
    }

    /// Returns the noise that an `output` for `noisy` implies, where images have a level each.
    ///
    /// `output`, `noisy`: `[batch, tokens, channels]`; `signal`, `noise`: `[batch, tokens or 1, 1]`
    /// -> `[batch, tokens, channels]`. A clean prediction says nothing about the noise where there
    /// is none.
    pub fn to_noise(
        self,
        output: Tensor<3>,
        noisy: Tensor<3>,
        signal: Tensor<3>,
        noise: Tensor<3>,
    ) -> Tensor<3> {
        assert_same_patches(&output, &noisy);
        match self {
            Prediction::Noise => output,
            Prediction::Clean => (noisy - output * signal) / noise.clamp_min(SMALLEST),
            Prediction::Velocity => (noisy - output * signal.clone()) / (signal + noise),
        }
    }

    /// Returns the velocity that an `output` for `noisy` implies, where images have a level each.
    ///
    /// `output`, `noisy`: `[batch, tokens, channels]`; `signal`, `noise`: `[batch, tokens or 1, 1]`
    /// -> `[batch, tokens, channels]`. Divides by the noise (clean prediction) or the signal (noise
    /// prediction).
    pub fn to_velocity(
        self,
        output: Tensor<3>,
        noisy: Tensor<3>,
        signal: Tensor<3>,
        noise: Tensor<3>,
    ) -> Tensor<3> {
        assert_same_patches(&output, &noisy);
        match self {
            Prediction::Noise => {
                (noisy - output * (signal.clone() + noise)) / signal.clamp_min(SMALLEST)
            }
            Prediction::Clean => {
                (output * (signal + noise.clone()) - noisy) / noise.clamp_min(SMALLEST)
            }
            Prediction::Velocity => output,
        }
    }
}

/// Panics unless the two agree axis by axis, because broadcasting would hide a wrong batch.
pub(crate) fn assert_same_patches(one: &Tensor<3>, other: &Tensor<3>) {
    let [batch, tokens, channels] = one.dims();
    assert_shape!(other, [batch, tokens, channels]);
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;
    use crate::{Schedule, noised};

    const ALL: [Prediction; 3] = [Prediction::Noise, Prediction::Clean, Prediction::Velocity];

    fn patches(numbers: &[f64]) -> Tensor<3> {
        Tensor::from_data(
            TensorData::new(numbers.to_vec(), [1, 2, numbers.len() / 2]),
            &Device::flex(),
        )
    }

    fn factor(value: f64) -> Tensor<3> {
        Tensor::full([1, 1, 1], value, &Device::flex())
    }

    fn distance(one: Tensor<3>, other: Tensor<3>) -> f32 {
        (one - other).abs().max().into_scalar::<f32>()
    }

    fn any_level() -> impl Strategy<Value = Level> {
        let noisy = |su2024: bool, at: f64| {
            if su2024 {
                Schedule::Su2024 { steps: 1000 }.level(at * 600.0 + 30.0)
            } else {
                Schedule::Linear.level(0.1 + at * 0.8)
            }
        };
        (any::<bool>(), 0.0..1.0).prop_map(move |(su2024, at)| noisy(su2024, at))
    }

    proptest! {
        #[test]
        fn every_target_converts_back_to_clean_noise_and_velocity(
            clean in prop::collection::vec(-1.0..1.0, 6),
            eps in prop::collection::vec(-3.0..3.0, 6),
            level in any_level(),
        ) {
            let (clean, eps) = (patches(&clean), patches(&eps));
            let (s, n) = (factor(level.signal), factor(level.noise));
            let z = noised(clean.clone(), eps.clone(), s.clone(), n.clone());
            for kind in ALL {
                let output = kind.target(clean.clone(), eps.clone());
                let found = kind.to_clean(output.clone(), z.clone(), s.clone(), n.clone());
                prop_assert!(distance(found, clean.clone()) < 1e-4);
                let found = kind.to_noise(output.clone(), z.clone(), s.clone(), n.clone());
                prop_assert!(distance(found, eps.clone()) < 1e-4);
                let found = kind.to_velocity(output, z.clone(), s.clone(), n.clone());
                prop_assert!(distance(found, clean.clone() - eps.clone()) < 1e-4);
            }
        }
    }

    #[test]
    fn both_ends_stay_finite_and_the_velocity_is_exact_there() {
        let (clean, eps) = (patches(&[0.5, -1.0]), patches(&[1.5, 0.25]));
        for level in [Schedule::Linear.level(0.0), Schedule::Linear.level(1.0)] {
            let (s, n) = (factor(level.signal), factor(level.noise));
            let z = noised(clean.clone(), eps.clone(), s.clone(), n.clone());
            for kind in ALL {
                // This prediction is not perfect.
                let output = kind.target(clean.clone(), eps.clone()) + 0.5;
                for to in [Prediction::to_clean, Prediction::to_noise, Prediction::to_velocity] {
                    let found = to(kind, output.clone(), z.clone(), s.clone(), n.clone());
                    assert!(
                        found.abs().max().into_scalar::<f32>().is_finite(),
                        "{kind:?} at {level:?}"
                    );
                }
            }
            let v = Prediction::Velocity.target(clean.clone(), eps.clone());
            assert_eq!(
                distance(
                    Prediction::Velocity.to_clean(v.clone(), z.clone(), s.clone(), n.clone()),
                    clean.clone()
                ),
                0.0
            );
            assert_eq!(distance(Prediction::Velocity.to_noise(v, z, s, n), eps.clone()), 0.0);
        }
    }

    #[test]
    fn predictions_are_written_in_kebab_case() {
        expect![[r#"["noise","clean","velocity"]"#]]
            .assert_eq(&serde_json::to_string(&ALL).unwrap());
    }
}
