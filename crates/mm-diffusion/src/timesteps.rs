//! Which noise levels training sees, and how often.

use serde::{Deserialize, Serialize};

use crate::{DiffusionError, Level, Schedule};

/// The distribution of the timesteps that training sees.
///
/// ```
/// use mm_diffusion::{Schedule, TimestepSampling};
///
/// let sampling = TimestepSampling::LogitNormal { mean: -0.8, std: 0.8 };
/// sampling.validate()?;
/// let level = Schedule::Linear.draw(&sampling, 0.5, 1.0); // one deviation above the mean
/// assert_eq!(level.timestep, 0.5);
/// # Ok::<(), mm_diffusion::DiffusionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TimestepSampling {
    /// Draws every timestep, or every step index, equally often.
    #[serde(deserialize_with = "crate::no_fields")]
    Uniform,
    /// Draws t = sigmoid(mean + std · normal) (Esser et al. 2024, arXiv:2403.03206, section 3.1),
    /// here with t = 1 clean, so that a negative mean is more noise. Where timesteps are step
    /// indices, t is the share of the levels that are noisier.
    LogitNormal {
        /// The mean before the sigmoid.
        mean: f64,
        /// The standard deviation before the sigmoid, above 0.
        std: f64,
    },
}

impl TimestepSampling {
    /// Checks that the mean is finite and the deviation finite and above 0.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let TimestepSampling::LogitNormal { mean, std } = *self else { return Ok(()) };
        DiffusionError::unless(mean.is_finite(), "mean", mean, "a finite number")?;
        DiffusionError::unless(std.is_finite() && std > 0.0, "std", std, "a finite number above 0")
    }
}

impl Schedule {
    /// Returns a training level, from a `uniform` number in [0, 1) and a standard `normal` one, of
    /// which one is used.
    ///
    /// ```
    /// use mm_diffusion::{Schedule, TimestepSampling};
    /// let schedule = Schedule::Su2024 { steps: 1000 };
    /// assert_eq!(schedule.draw(&TimestepSampling::Uniform, 0.25, 0.0).timestep, 250.0);
    /// ```
    pub fn draw(&self, sampling: &TimestepSampling, uniform: f64, normal: f64) -> Level {
        let t = |mean: f64, std: f64| 1.0 / (1.0 + (-(mean + std * normal)).exp());
        let Some(steps) = self.steps() else {
            return self.level(match *sampling {
                TimestepSampling::Uniform => uniform,
                TimestepSampling::LogitNormal { mean, std } => t(mean, std),
            });
        };
        let share = match *sampling {
            TimestepSampling::Uniform => uniform,
            // Index 0 is the least noisy one.
            TimestepSampling::LogitNormal { mean, std } => 1.0 - t(mean, std),
        };
        self.level((share * steps as f64).floor().min(steps as f64 - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    const SCHEDULES: [Schedule; 3] =
        [Schedule::Su2024 { steps: 10 }, Schedule::Cosine { steps: 7 }, Schedule::Linear];

    #[test]
    fn uniform_numbers_reach_every_index_equally_often() {
        let mut counts = [0; 10];
        for i in 0..1000 {
            let level = SCHEDULES[0].draw(&TimestepSampling::Uniform, f64::from(i) / 1000.0, 0.0);
            counts[level.timestep as usize] += 1;
        }
        assert_eq!(counts, [100; 10]);
    }

    #[test]
    fn logit_normal_timesteps_are_the_sigmoid_of_a_normal() {
        let sampling = TimestepSampling::LogitNormal { mean: -0.8, std: 0.8 };
        let median = Schedule::Linear.draw(&sampling, 0.0, 0.0).timestep;
        assert!((median - 0.310_025_5).abs() < 1e-6, "sigmoid(-0.8) and not {median}");
        let above = Schedule::Linear.draw(&sampling, 0.0, 1.0).timestep;
        assert_eq!(above, 0.5, "one deviation above the mean the logit is 0");
        assert_eq!(
            SCHEDULES[0].draw(&sampling, 0.0, 0.0).timestep,
            6.0,
            "index 6 of 10 has 0.31 of the levels above it"
        );
    }

    proptest! {
        #[test]
        fn every_draw_is_a_level_of_the_schedule(
            which in 0usize..3,
            uniform in 0.0..1.0,
            normal in -50.0..50.0,
            mean in -3.0..3.0,
            std in 0.1..3.0,
        ) {
            let logit_normal = TimestepSampling::LogitNormal { mean, std };
            for sampling in [TimestepSampling::Uniform, logit_normal] {
                let level = SCHEDULES[which].draw(&sampling, uniform, normal);
                prop_assert_eq!(level, SCHEDULES[which].level(level.timestep));
            }
        }
    }

    #[test]
    fn a_spread_of_zero_is_refused_by_name() {
        let sampling = TimestepSampling::LogitNormal { mean: 0.0, std: 0.0 };
        expect!["`std` is 0, wanted a finite number above 0"]
            .assert_eq(&sampling.validate().unwrap_err().to_string());
        assert!(TimestepSampling::LogitNormal { mean: f64::NAN, std: 1.0 }.validate().is_err());
        assert!(TimestepSampling::LogitNormal { mean: -0.8, std: 0.8 }.validate().is_ok());
    }
}
