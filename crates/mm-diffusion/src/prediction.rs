//! What the network predicts, and the exact ways between the three predictions.
//!
//! With z = s x + n e (signal s, noise n, clean x, noise e) and the velocity v = x - e, two of z, x, e, v give the
//! others: z = (s + n) x - n v = (s + n) e + s v. On the linear path v is dz/dt (Liu et al. 2022, arXiv:2209.03003).
//!
//! From a velocity every way is free of division by zero, as s + n > 0. From a noise prediction to the clean image one
//! divides by s, from a clean prediction to the noise by n: at an end (s = 0, n = 0) the answer is not determined, and
//! the division is by [`SMALLEST`] instead, so that the result is finite. Elsewhere the conversions are exact.

use burn::prelude::*;
use burn::tensor::assert_shape;
use serde::{Deserialize, Serialize};

/// Divisors below this are raised to it; the seed's smallest signal is 0.0065, its smallest noise 0.0045.
const SMALLEST: f64 = 1e-4;

/// Mixes clean patches and noise, z = signal · clean + noise · eps (Ho et al. 2020, arXiv:2006.11239, eq. 4).
///
/// `clean`, `eps`: `[batch, patches, channels]`; `signal`, `noise`: `[batch, patches or 1, 1]`
/// -> `[batch, patches, channels]`.
///
/// ```
/// use burn::prelude::*;
/// let device = Device::flex();
/// let (clean, eps) = (Tensor::<3>::ones([1, 2, 3], &device), Tensor::<3>::zeros([1, 2, 3], &device));
/// let (signal, noise) = (Tensor::<3>::full([1, 1, 1], 0.25, &device), Tensor::<3>::full([1, 1, 1], 0.75, &device));
/// let z = mm_diffusion::noised(clean, eps, signal, noise);
/// assert_eq!(z.sum().into_scalar::<f32>(), 1.5);
/// ```
pub fn noised(clean: Tensor<3>, eps: Tensor<3>, signal: Tensor<3>, noise: Tensor<3>) -> Tensor<3> {
    assert_same_patches(&clean, &eps);
    clean * signal + eps * noise
}

/// What the network's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The noise e, as in DDPM and the seed.
    Noise,
    /// The clean patches x.
    Clean,
    /// v = x - e, on every schedule. (Not the v of Salimans and Ho 2022, which is signal · e - noise · x.)
    Velocity,
}

impl Prediction {
    /// What the output should have been.
    ///
    /// `clean`, `eps`: `[batch, patches, channels]` -> `[batch, patches, channels]`.
    pub fn target(self, clean: Tensor<3>, eps: Tensor<3>) -> Tensor<3> {
        assert_same_patches(&clean, &eps);
        match self {
            Prediction::Noise => eps,
            Prediction::Clean => clean,
            Prediction::Velocity => clean - eps,
        }
    }

    /// The clean patches that an `output` for `noisy` implies.
    ///
    /// `output`, `noisy`: `[batch, patches, channels]`; `signal`, `noise`: `[batch, patches or 1, 1]`
    /// -> `[batch, patches, channels]`. A noise prediction says nothing about the image where the signal is 0.
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

    /// The noise that an `output` for `noisy` implies.
    ///
    /// `output`, `noisy`: `[batch, patches, channels]`; `signal`, `noise`: `[batch, patches or 1, 1]`
    /// -> `[batch, patches, channels]`. A clean prediction says nothing about the noise where there is none.
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

    /// The velocity that an `output` for `noisy` implies.
    ///
    /// `output`, `noisy`: `[batch, patches, channels]`; `signal`, `noise`: `[batch, patches or 1, 1]`
    /// -> `[batch, patches, channels]`. Divides by the noise (clean prediction) or the signal (noise prediction).
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

/// Broadcasting would hide a wrong batch, so the two must agree axis by axis.
fn assert_same_patches(one: &Tensor<3>, other: &Tensor<3>) {
    let [batch, patches, channels] = one.dims();
    assert_shape!(other, [batch, patches, channels]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Level, Schedule};
    use expect_test::expect;
    use proptest::prelude::*;

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
        let noisy = |seed: bool, at: f64| {
            if seed {
                Schedule::Su2024 { steps: 1000 }.level(at * 600.0 + 30.0)
            } else {
                Schedule::Linear.level(0.1 + at * 0.8)
            }
        };
        (any::<bool>(), 0.0..1.0).prop_map(move |(seed, at)| noisy(seed, at))
    }

    proptest! {
        #[test]
        fn every_target_converts_back_to_clean_noise_and_velocity(
            clean in prop::collection::vec(-1.0..1.0, 6), eps in prop::collection::vec(-3.0..3.0, 6), level in any_level(),
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
    fn each_document_has_its_own_level() {
        let device = Device::flex();
        let clean = Tensor::<3>::ones([2, 3, 4], &device);
        let eps = Tensor::<3>::full([2, 3, 4], -1.0, &device);
        let signal = Tensor::<3>::from_data([[[1.0]], [[0.25]]], &device);
        let noise = Tensor::<3>::from_data([[[0.0]], [[0.75]]], &device);
        let z = noised(clean, eps, signal, noise);
        let sums = z.sum_dims_squeeze::<1, _>(&[1, 2]).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(sums, [12.0, -6.0]);
    }

    #[test]
    fn both_ends_stay_finite_and_the_velocity_is_exact_there() {
        let (clean, eps) = (patches(&[0.5, -1.0]), patches(&[1.5, 0.25]));
        for level in [Schedule::Linear.level(0.0), Schedule::Linear.level(1.0)] {
            let (s, n) = (factor(level.signal), factor(level.noise));
            let z = noised(clean.clone(), eps.clone(), s.clone(), n.clone());
            for kind in ALL {
                let output = kind.target(clean.clone(), eps.clone()) + 0.5; // a prediction that is not perfect
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
