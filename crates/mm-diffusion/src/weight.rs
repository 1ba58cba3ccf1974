//! How much a noise level counts in the loss.

use serde::{Deserialize, Serialize};

use crate::{DiffusionError, Level};

/// The factor of the squared error, by noise level; [`weight`](Self::weight) has an example.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LossWeight {
    /// Every level counts the same, as in Su's scripts (Ho et al. 2020, arXiv:2006.11239, eq. 14).
    #[serde(deserialize_with = "crate::no_fields")]
    One,
    /// The weight is 1 / max(noise, min_noise)². On the linear path this turns the squared error of
    /// a clean prediction into that of the velocity, since v̂ - v = (x̂ - x) / (1 - t) (Li and He
    /// 2025, arXiv:2511.13720, which clips 1 - t at 0.05).
    Velocity {
        /// The least noise that is counted, above 0.
        min_noise: f64,
    },
    /// The weight is 1 / max(noise, min_noise), between the two others. It is for small networks
    /// that share their trunk with text and would otherwise spend it on the last, nearly clean
    /// levels.
    InverseNoise {
        /// The least noise that is counted, above 0.
        min_noise: f64,
    },
}

impl LossWeight {
    /// Checks that the weight is finite at every level.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let (LossWeight::Velocity { min_noise } | LossWeight::InverseNoise { min_noise }) = *self
        else {
            return Ok(());
        };
        DiffusionError::unless(
            min_noise.is_finite() && min_noise > 0.0,
            "min_noise",
            min_noise,
            "a finite number above 0",
        )
    }

    /// Returns the weight of an image at `level`.
    ///
    /// ```
    /// use mm_diffusion::{LossWeight, Schedule};
    /// let weight = LossWeight::Velocity { min_noise: 0.05 };
    /// assert_eq!(weight.weight(&Schedule::Linear.level(0.5)), 4.0);
    /// ```
    pub fn weight(&self, level: &Level) -> f64 {
        match *self {
            LossWeight::One => 1.0,
            LossWeight::Velocity { min_noise } => level.noise.max(min_noise).powi(-2),
            LossWeight::InverseNoise { min_noise } => level.noise.max(min_noise).recip(),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use expect_test::expect;

    use super::*;
    use crate::{Prediction, Schedule, noised};

    #[test]
    fn the_velocity_weight_turns_clean_errors_into_velocity_errors() {
        let (device, level) = (Device::flex(), Schedule::Linear.level(0.7));
        let [clean, eps, guess] =
            [0.5, -1.25, 0.125].map(|value| Tensor::<3>::full([1, 1, 1], value, &device));
        let [s, n] =
            [level.signal, level.noise].map(|value| Tensor::<3>::full([1, 1, 1], value, &device));
        let z = noised(clean.clone(), eps.clone(), s.clone(), n.clone());
        let v = Prediction::Velocity.target(clean.clone(), eps);
        let v_guess = Prediction::Clean.to_velocity(guess.clone(), z, s, n);
        let weight = LossWeight::Velocity { min_noise: 0.05 }.weight(&level);
        let weighted = (guess - clean).square().into_scalar::<f32>() * weight as f32;
        let wanted = (v_guess - v).square().into_scalar::<f32>();
        assert!((weighted - wanted).abs() < 1e-5, "{weighted} and {wanted}");
    }

    #[test]
    fn the_weight_is_clipped_near_the_image() {
        let weight = LossWeight::Velocity { min_noise: 0.05 };
        for t in [0.96, 1.0] {
            assert!((weight.weight(&Schedule::Linear.level(t)) - 400.0).abs() < 1e-9);
        }
        assert_eq!(LossWeight::One.weight(&Schedule::Linear.level(1.0)), 1.0);
        assert_eq!(
            LossWeight::InverseNoise { min_noise: 0.1 }.weight(&Schedule::Linear.level(1.0)),
            10.0
        );
    }

    #[test]
    fn a_clip_at_zero_is_refused_by_name() {
        let refused = LossWeight::Velocity { min_noise: 0.0 }.validate().unwrap_err().to_string();
        expect!["`min_noise` is 0, wanted a finite number above 0"].assert_eq(&refused);
        assert!(LossWeight::Velocity { min_noise: 0.05 }.validate().is_ok());
    }
}
