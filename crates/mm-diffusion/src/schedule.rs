//! Schedules: which noise levels there are, and which of them a sampler visits.
//!
//! All but `Linear` keep the variance, `signal² + noise² = 1`, and have `steps` levels, told to the
//! network by index, of which 0 is the least noisy. `Linear` is the straight path of flow
//! matching, whose timestep is a real number that is 1 at the image.

use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use crate::{DiffusionError, Level};

/// The most levels of a schedule, and the most steps along continuous timesteps. A level is a
/// product over all levels before it, so more of them would take minutes.
pub(crate) const MOST_STEPS: usize = 1_000_000;

/// A way from image to noise.
///
/// ```
/// use mm_diffusion::Schedule;
///
/// let schedule = Schedule::Cosine { steps: 1000 };
/// let level = schedule.level(500.0);
/// assert!((level.signal.powi(2) + level.noise.powi(2) - 1.0).abs() < 1e-12);
/// assert_eq!(schedule.sampling_levels(10)?.len(), 10);
/// # Ok::<(), mm_diffusion::DiffusionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The schedule of Su's `ddpm-gau.py` (2024): α_t = sqrt(1 - 0.02 t / T) for t = 1..=T, and the
    /// signal is ᾱ_t = α_1 ⋯ α_t.
    Su2024 {
        /// T, 1000 in the script.
        steps: usize,
    },
    /// The schedule of Nichol and Dhariwal 2021 (arXiv:2102.09672), eq. 17: signal² = f(t) / f(0),
    /// f(t) = cos²((t / T + 0.008) / 1.008 · π / 2), with each β_t = 1 - f(t) / f(t - 1) clipped to
    /// at most 0.999.
    Cosine {
        /// T.
        steps: usize,
    },
    /// The schedule of Ho et al. 2020 (arXiv:2006.11239, section 4), which DiT has: β_t rises
    /// linearly from 0.0001 to 0.02, and signal² is the product of 1 - β_t.
    LinearBeta {
        /// T.
        steps: usize,
    },
    /// The variance-preserving process of Song et al. 2021 (arXiv:2011.13456, eq. 33), which U-ViT
    /// has: β(t) = 0.1 + 19.9 t, and signal² = exp(-∫β). Index i stands for the time (i + 1) / T.
    Vp {
        /// T.
        steps: usize,
    },
    /// The straight path, z = t · clean + (1 - t) · eps (Liu et al. 2022, arXiv:2209.03003; Lipman
    /// et al. 2022, arXiv:2210.02747, with σ_min = 0). The timestep t = 0 is pure noise and t = 1
    /// is the clean image.
    #[serde(deserialize_with = "crate::no_fields")]
    Linear,
}

impl Schedule {
    /// Checks that there is at least one step, and no more than a million.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        match self.steps() {
            Some(found) if !(1..=MOST_STEPS).contains(&found) => {
                Err(DiffusionError::Steps { found, most: MOST_STEPS })
            }
            _ => Ok(()),
        }
    }

    /// Returns the number of levels, or `None` where timesteps are continuous.
    pub fn steps(&self) -> Option<usize> {
        match *self {
            Schedule::Su2024 { steps }
            | Schedule::Cosine { steps }
            | Schedule::LinearBeta { steps }
            | Schedule::Vp { steps } => Some(steps),
            Schedule::Linear => None,
        }
    }

    /// Returns the level at a timestep: a step index in `0..steps` (rounded to a whole one), or t
    /// in [0, 1] for `Linear`. Panics outside that range.
    ///
    /// ```
    /// use mm_diffusion::Schedule;
    /// let level = Schedule::Su2024 { steps: 1000 }.level(999.0);
    /// assert!((level.signal - 0.00648).abs() < 1e-5);
    /// ```
    pub fn level(&self, timestep: f64) -> Level {
        let Some(steps) = self.steps() else {
            assert!((0.0..=1.0).contains(&timestep), "timestep {timestep} is outside [0, 1]");
            return Level { timestep, signal: timestep, noise: 1.0 - timestep };
        };
        let index = timestep.round();
        let exists = index >= 0.0 && index < steps as f64;
        assert!(exists, "step index {timestep} is outside 0..{steps}");
        let step = index as usize + 1; // the papers count t from 1
        let signal_squared = match self {
            Schedule::Su2024 { .. } => su2024_signal_squared(step, steps),
            Schedule::LinearBeta { .. } => linear_beta_signal_squared(step, steps),
            Schedule::Vp { .. } => vp_signal_squared(step as f64 / steps as f64),
            _ => cosine_signal_squared(step, steps),
        };
        let (signal, noise) = (signal_squared.sqrt(), (1.0 - signal_squared).sqrt());
        Level { timestep: index, signal, noise }
    }

    /// Returns what the network is told for an image without noise: 1 on the linear path, else the
    /// least noisy index, 0.
    pub fn clean_timestep(&self) -> f64 {
        match self {
            Schedule::Linear => 1.0,
            _ => 0.0,
        }
    }

    /// Returns the level of an image that is shown as it is: all signal, no noise.
    ///
    /// ```
    /// use mm_diffusion::{Level, Schedule};
    /// let clean = Level { timestep: 1.0, signal: 1.0, noise: 0.0 };
    /// assert_eq!(Schedule::Linear.clean_level(), clean);
    /// ```
    pub fn clean_level(&self) -> Level {
        Level { timestep: self.clean_timestep(), signal: 1.0, noise: 0.0 }
    }

    /// Returns the levels that a sampler of `steps` steps visits, noisiest first; the clean end is
    /// not among them.
    ///
    /// Indices are evenly spread and end at 0, as in Su's `ddim.py`, where a stride of 100 goes
    /// from 900 to 0. Fewer steps therefore start lower than T - 1. Timesteps on the linear path
    /// are 0, 1 / steps, ...
    ///
    /// Zero steps are an error, and so are more than the schedule has.
    ///
    /// ```
    /// use mm_diffusion::Schedule;
    /// let levels = Schedule::Su2024 { steps: 1000 }.sampling_levels(5)?;
    /// let indices: Vec<f64> = levels.iter().map(|level| level.timestep).collect();
    /// assert_eq!(indices, [800.0, 600.0, 400.0, 200.0, 0.0]);
    /// # Ok::<(), mm_diffusion::DiffusionError>(())
    /// ```
    pub fn sampling_levels(&self, steps: usize) -> Result<Vec<Level>, DiffusionError> {
        let most = self.steps().unwrap_or(MOST_STEPS);
        if steps == 0 || steps > most {
            return Err(DiffusionError::Steps { found: steps, most });
        }
        let levels = match self.steps() {
            Some(all) => (0..steps).rev().map(|i| self.level((i * all / steps) as f64)).collect(),
            None => (0..steps).map(|i| self.level(i as f64 / steps as f64)).collect(),
        };
        Ok(levels)
    }

    /// Returns the levels of every `stride`-th index from 0, noisiest first: a stride of 100 goes
    /// from 900 to 0, and so does one of 300.
    ///
    /// A schedule without step indices is an error, and so is a stride of 0 or beyond the last
    /// index.
    ///
    /// ```
    /// use mm_diffusion::Schedule;
    /// let schedule = Schedule::Su2024 { steps: 1000 };
    /// assert_eq!(schedule.strided_levels(100)?, schedule.sampling_levels(10)?);
    /// assert_eq!(schedule.strided_levels(300)?.len(), 4);
    /// # Ok::<(), mm_diffusion::DiffusionError>(())
    /// ```
    pub fn strided_levels(&self, stride: usize) -> Result<Vec<Level>, DiffusionError> {
        let all = self.steps().ok_or(DiffusionError::NoIndices)?;
        if stride == 0 || stride > all {
            return Err(DiffusionError::Stride { found: stride, most: all });
        }
        Ok((0..all).step_by(stride).rev().map(|index| self.level(index as f64)).collect())
    }

    /// Returns the levels of `steps` indices from `start` down to 0, evenly spread; a single step
    /// is `start` alone.
    ///
    /// A schedule without step indices is an error, and so is a start that is not an index or
    /// leaves no room for the steps.
    pub fn levels_from(&self, start: usize, steps: usize) -> Result<Vec<Level>, DiffusionError> {
        let all = self.steps().ok_or(DiffusionError::NoIndices)?;
        if steps == 0 || steps > all {
            return Err(DiffusionError::Steps { found: steps, most: all });
        }
        if start >= all || start + 1 < steps {
            return Err(DiffusionError::Start { found: start, least: steps - 1, most: all - 1 });
        }
        let index = |i: usize| if steps == 1 { start } else { i * start / (steps - 1) };
        Ok((0..steps).rev().map(|i| self.level(index(i) as f64)).collect())
    }
}

/// Returns ᾱ_t² of Su's script: the product of α² = 1 - 0.02 t / T.
fn su2024_signal_squared(step: usize, steps: usize) -> f64 {
    (1..=step).map(|t| 1.0 - 0.02 * t as f64 / steps as f64).product()
}

/// Returns the ᾱ_t of Nichol and Dhariwal, which is our signal squared: the product of 1 - β_t,
/// clipped.
fn cosine_signal_squared(step: usize, steps: usize) -> f64 {
    let f = |t: usize| ((t as f64 / steps as f64 + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
    (1..=step).map(|t| 1.0 - (1.0 - f(t) / f(t - 1)).min(0.999)).product()
}

/// Returns the ᾱ_t of Ho et al.: the product of 1 - β_t.
fn linear_beta_signal_squared(step: usize, steps: usize) -> f64 {
    let slope = (0.02 - 0.0001) / steps.saturating_sub(1).max(1) as f64;
    (0..step).map(|index| 1.0 - (0.0001 + slope * index as f64)).product()
}

/// Returns exp(-∫β) from 0 to `time`, the square of the factor in eq. 33 of Song et al.
fn vp_signal_squared(time: f64) -> f64 {
    (-(0.1 * time + 0.5 * (20.0 - 0.1) * time * time)).exp()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    const SU2024: Schedule = Schedule::Su2024 { steps: 1000 };
    const COSINE: Schedule = Schedule::Cosine { steps: 1000 };

    fn check_rows(schedule: Schedule, timesteps: [f64; 5], expected: Expect) {
        let rows: String = timesteps
            .map(|timestep| {
                let level = schedule.level(timestep);
                let Level { timestep, signal, noise } = level;
                format!("{timestep:<4} {signal:.7} {noise:.7} {:+.1} dB\n", level.snr_db())
            })
            .concat();
        expected.assert_eq(&rows);
    }

    #[test]
    fn five_rows_of_the_su2024_schedule() {
        check_rows(
            SU2024,
            [0.0, 99.0, 499.0, 749.0, 999.0],
            expect![[r#"
                0    0.9999900 0.0044721 +47.0 dB
                99   0.9507217 0.3100455 +9.7 dB
                499  0.2845916 0.9586489 -10.5 dB
                749  0.0589865 0.9982588 -24.6 dB
                999  0.0064820 0.9999790 -43.8 dB
            "#]],
        );
    }

    #[test]
    fn five_rows_of_the_cosine_schedule() {
        check_rows(
            COSINE,
            [0.0, 99.0, 499.0, 998.0, 999.0],
            expect![[r#"
                0    0.9999794 0.0064253 +43.8 dB
                99   0.9859476 0.1670547 +15.4 dB
                499  0.7027401 0.7114467 -0.1 dB
                998  0.0015585 0.9999988 -56.1 dB
                999  0.0000493 1.0000000 -86.1 dB
            "#]],
        );
    }

    #[test]
    fn five_rows_of_the_linear_beta_schedule() {
        // The squares of the signals are those of diffusers' `DDIMScheduler` with its defaults
        // 0.0001, 0.02 and `linear`: 0.9999, 0.8970, 0.0786, 0.00011 and 0.00004.
        check_rows(
            Schedule::LinearBeta { steps: 1000 },
            [0.0, 99.0, 499.0, 948.0, 999.0],
            expect![[r#"
                0    0.9999500 0.0100000 +40.0 dB
                99   0.9471104 0.3209079 +9.4 dB
                499  0.2803342 0.9599025 -10.7 dB
                948  0.0104973 0.9999449 -39.6 dB
                999  0.0063528 0.9999798 -43.9 dB
            "#]],
        );
    }

    #[test]
    fn five_rows_of_the_variance_preserving_schedule() {
        check_rows(
            Schedule::Vp { steps: 1000 },
            [0.0, 99.0, 499.0, 899.0, 999.0],
            expect![[r#"
                0    0.9999450 0.0104854 +39.6 dB
                99   0.9467218 0.3220525 +9.4 dB
                499  0.2811829 0.9596542 -10.7 dB
                899  0.0169965 0.9998555 -35.4 dB
                999  0.0065716 0.9999784 -43.6 dB
            "#]],
        );
    }

    #[test]
    fn five_rows_of_the_linear_schedule() {
        check_rows(
            Schedule::Linear,
            [0.0, 0.25, 0.5, 0.75, 1.0],
            expect![[r#"
                0    0.0000000 1.0000000 -inf dB
                0.25 0.2500000 0.7500000 -9.5 dB
                0.5  0.5000000 0.5000000 +0.0 dB
                0.75 0.7500000 0.2500000 +9.5 dB
                1    1.0000000 0.0000000 +inf dB
            "#]],
        );
    }

    #[test]
    fn the_su2024_schedule_is_as_noisy_as_its_author_says() {
        // t is counted from 1; the decibels are 20 log10 of the ratio, computed elsewhere with the
        // formula of the script.
        let decibels =
            [(100.0, 9.733), (200.0, 3.049), (250.0, 0.580), (500.0, -10.549), (750.0, -24.570)];
        for (t, decibels) in decibels.into_iter().chain([(1000.0, -43.766)]) {
            let found = SU2024.level(t - 1.0).snr_db();
            assert!((found - decibels).abs() < 0.001, "t = {t}: {found} dB, wanted {decibels}");
        }
    }

    #[test]
    fn cosine_is_its_closed_form_but_for_the_clipped_last_step() {
        let f = |t: f64| ((t / 1000.0 + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
        for t in [1.0, 300.0, 700.0, 999.0] {
            let found = COSINE.level(t - 1.0).signal.powi(2);
            assert!((found / (f(t) / f(0.0)) - 1.0).abs() < 1e-9, "t = {t}: {found}");
        }
        let last = COSINE.level(999.0).signal / COSINE.level(998.0).signal;
        assert!((last.powi(2) - 0.001).abs() < 1e-12, "{last}");
    }

    proptest! {
        #[test]
        fn noise_grows_with_the_index_and_variance_is_kept(
            steps in 2usize..300,
            at in 0.0..1.0f64,
            cosine: bool,
        ) {
            let su2024 = Schedule::Su2024 { steps };
            let schedule = if cosine { Schedule::Cosine { steps } } else { su2024 };
            let index = ((steps - 1) as f64 * at).floor();
            let low = schedule.level(index);
            let high = schedule.level((index + 1.0).min(steps as f64 - 1.0));
            prop_assert!((low.signal.powi(2) + low.noise.powi(2) - 1.0).abs() < 1e-12);
            prop_assert!(low.log_snr() > high.log_snr() || low.timestep == high.timestep);
        }

        #[test]
        fn sampling_levels_fall_strictly_to_the_least_noisy(
            steps in 1usize..60,
            more in 0usize..60,
            linear: bool,
        ) {
            let su2024 = Schedule::Su2024 { steps: steps + more };
            let schedule = if linear { Schedule::Linear } else { su2024 };
            let levels = schedule.sampling_levels(steps).unwrap();
            prop_assert_eq!(levels.len(), steps);
            prop_assert!(levels.windows(2).all(|pair| pair[0].log_snr() < pair[1].log_snr()));
            let end = levels[steps - 1]; // the step from here goes to the clean end
            let wanted = if linear { 1.0 - 1.0 / steps as f64 } else { 0.0 };
            prop_assert!((end.timestep - wanted).abs() < 1e-12);
        }
    }

    #[test]
    fn more_steps_than_levels_and_no_steps_are_refused() {
        let refused = |steps| SU2024.sampling_levels(steps).unwrap_err().to_string();
        expect!["`steps` is 1001, wanted 1 to 1000"].assert_eq(&refused(1001));
        expect!["`steps` is 0, wanted 1 to 1000"].assert_eq(&refused(0));
        let endless = Schedule::Linear.sampling_levels(usize::MAX).unwrap_err();
        assert_eq!(endless, DiffusionError::Steps { found: usize::MAX, most: MOST_STEPS });
        let invalid = |steps| Schedule::Su2024 { steps }.validate().unwrap_err().to_string();
        expect!["`steps` is 0, wanted 1 to 1000000"].assert_eq(&invalid(0));
        expect!["`steps` is 1000001, wanted 1 to 1000000"].assert_eq(&invalid(MOST_STEPS + 1));
        assert!(SU2024.validate().is_ok() && Schedule::Linear.validate().is_ok());
    }

    #[test]
    fn a_schedule_is_written_by_kind() {
        let text = serde_json::to_string(&[SU2024, COSINE, Schedule::Linear]).unwrap();
        expect![[
            r#"[{"kind":"su2024","steps":1000},{"kind":"cosine","steps":1000},{"kind":"linear"}]"#
        ]]
        .assert_eq(&text);
        assert_eq!(
            serde_json::from_str::<[Schedule; 3]>(&text).unwrap(),
            [SU2024, COSINE, Schedule::Linear]
        );
        assert!(serde_json::from_str::<Schedule>(r#"{"kind":"su2024","step":1000}"#).is_err());
    }

    fn timesteps(levels: Result<Vec<Level>, DiffusionError>) -> Vec<f64> {
        levels.unwrap().iter().map(|level| level.timestep).collect()
    }

    #[test]
    fn levels_from_an_index_begin_there_and_end_at_zero() {
        assert_eq!(timesteps(SU2024.levels_from(900, 10)), timesteps(SU2024.strided_levels(100)));
        assert_eq!(timesteps(SU2024.levels_from(999, 4)), [999.0, 666.0, 333.0, 0.0]);
        assert_eq!(timesteps(SU2024.levels_from(499, 500)).len(), 500);
        assert_eq!(timesteps(SU2024.levels_from(7, 1)), [7.0]);
        assert_eq!(timesteps(SU2024.levels_from(3, 4)), [3.0, 2.0, 1.0, 0.0]);
    }

    #[test]
    fn a_stride_visits_the_indices_of_a_numpy_slice() {
        assert_eq!(timesteps(SU2024.strided_levels(300)), [900.0, 600.0, 300.0, 0.0]);
        assert_eq!(timesteps(SU2024.strided_levels(1)), timesteps(SU2024.sampling_levels(1000)));
    }

    #[test]
    fn a_start_or_a_stride_out_of_range_is_refused_with_the_range() {
        let refused = |start, steps| SU2024.levels_from(start, steps).unwrap_err().to_string();
        assert_eq!(refused(1000, 10), "the start index is 1000, wanted 9 to 999");
        assert_eq!(refused(8, 10), "the start index is 8, wanted 9 to 999");
        assert_eq!(refused(8, 0), "`steps` is 0, wanted 1 to 1000");
        let refused = |stride| SU2024.strided_levels(stride).unwrap_err().to_string();
        assert_eq!(refused(0), "`stride` is 0, wanted 1 to 1000");
        assert_eq!(refused(1001), "`stride` is 1001, wanted 1 to 1000");
        assert_eq!(Schedule::Linear.strided_levels(1), Err(DiffusionError::NoIndices));
    }
}
