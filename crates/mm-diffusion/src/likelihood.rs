//! The density that a model gives to an image, by the probability-flow equation backwards (Song et
//! al. 2021, arXiv:2011.13456, section 4.3 and appendix D.2).
//!
//! As in [`euler`](crate::euler), y = z / (s + n) moves by dy/dt = v(y, t) with t = s / (s + n),
//! and on the way its density changes by d ln p / dt = -∇·v (Chen et al. 2018, arXiv:1806.07366,
//! theorem 1). From the image x at the least noisy level, t₁, back to the noise y₀ at the noisiest,
//! t₀:
//!
//! ```text
//! ln p(x) = ln N(y₀; 0, 1 / (s₀ + n₀)²) - ∫ ∇·v dt       over t from t₀ to t₁
//! v = (x̂ - y) / ν,   ∇·v = ((s + n) tr ∂x̂/∂z - D) / ν     ν = n / (s + n) = 1 - t
//!                                                         D numbers an image
//! ```
//!
//! The trace comes with the estimate x̂. It is either exact or Hutchinson's unbiased eᵀ (∂x̂/∂z) e
//! with one e for the whole way (Grathwohl et al. 2019, arXiv:1810.01367). Both integrals are
//! Heun's, of second order. At t = 1 itself v has no value; the noise that is left at t₁ blurs the
//! density accordingly.

use std::f64::consts::{LN_2, PI};

use burn::prelude::*;

use crate::schedule::MOST_STEPS;
use crate::{DiffusionError, Level, Schedule};

/// The share of noise left at the image's end of the linear path, an eighth of the step between two
/// pixel values in [-1, 1]. Other schedules end at their least noisy level.
const NOISE_LEFT: f64 = 0.001;
/// Levels are evenly spaced in the noise's share to this power, which puts most of them near the
/// image, where the flow bends most.
const POWER: f64 = 1.0 / 3.0;

/// The network with its trace: noisy patches `[batch, tokens, channels]` and their level -> its
/// estimate of the CLEAN patches, on the same axes, and the trace of its derivative with respect to
/// the noisy patches, one number an image.
pub type DenoiseTraced<'a> = dyn FnMut(Tensor<3>, &Level) -> (Tensor<3>, Vec<f64>) + 'a;

/// Returns the levels of an integration in `steps` steps, noisiest first, both ends among them. A
/// schedule of whole indices may give fewer, because levels that round to the same index are one.
///
/// Zero steps are an error, and so are more than the schedule has between its levels.
///
/// ```
/// use mm_diffusion::{Schedule, likelihood_levels};
/// let levels = likelihood_levels(&Schedule::Linear, 50)?;
/// assert_eq!((levels.len(), levels[0].timestep), (51, 0.0));
/// assert!((levels[50].noise - 0.001).abs() < 1e-9);
/// # Ok::<(), mm_diffusion::DiffusionError>(())
/// ```
pub fn likelihood_levels(schedule: &Schedule, steps: usize) -> Result<Vec<Level>, DiffusionError> {
    let most = schedule.steps().map_or(MOST_STEPS, |all| all.saturating_sub(1));
    if steps == 0 || steps > most {
        return Err(DiffusionError::Steps { found: steps, most });
    }
    let share = |from: f64, to: f64, step: usize| {
        let (from, to) = (from.powf(POWER), to.powf(POWER));
        (from + (to - from) * step as f64 / steps as f64).powf(1.0 / POWER)
    };
    let noise = |level: &Level| 1.0 - level.signal_fraction();
    let Some(all) = schedule.steps() else {
        let linear = |step| Schedule::Linear.level(1.0 - share(1.0, NOISE_LEFT, step));
        return Ok((0..=steps).map(linear).collect());
    };
    let all: Vec<Level> = (0..all).rev().map(|index| schedule.level(index as f64)).collect();
    let (first, last) = (noise(&all[0]), noise(&all[all.len() - 1]));
    let nearest = |step| {
        let wanted = share(first, last, step);
        let above = all.partition_point(|level| noise(level) > wanted);
        let near = above.saturating_sub(1)..(above + 1).min(all.len());
        let distance = |&at: &usize| (noise(&all[at]) - wanted).abs();
        near.min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    };
    let mut chosen: Vec<usize> = (0..=steps).map(nearest).collect();
    chosen.dedup();
    Ok(chosen.into_iter().map(|at| all[at]).collect())
}

/// Returns the natural logarithm of the density at each image of `x`, by integration over `levels`
/// (noisiest first). Panics where a level is not less noisy than the one before.
///
/// Here the data is standard normal, so that the best estimate of x given z = s x + n e is a
/// formula and the density is known:
///
/// ```
/// use burn::prelude::*;
/// use mm_diffusion::{Level, Schedule, likelihood_levels, log_density};
///
/// let mut denoise = |z: Tensor<3>, level: &Level| {
///     let gain = level.signal / (level.signal.powi(2) + level.noise.powi(2));
///     (z * gain, vec![3.0 * gain]) // one image of three numbers
/// };
/// let levels = likelihood_levels(&Schedule::Linear, 100)?;
/// let found = log_density(&levels, Tensor::zeros([1, 1, 3], &Device::flex()), &mut denoise);
/// let wanted = -1.5 * (2.0 * std::f64::consts::PI).ln();
/// assert!((found[0] - wanted).abs() < 0.01);
/// # Ok::<(), mm_diffusion::DiffusionError>(())
/// ```
///
/// `x`: `[batch, tokens, channels]` -> one number an image.
pub fn log_density(levels: &[Level], x: Tensor<3>, denoise: &mut DenoiseTraced<'_>) -> Vec<f64> {
    let [batch, tokens, channels] = x.dims();
    let dims = (tokens * channels) as f64;
    let mut flow = |y: Tensor<3>, level: &Level| {
        let (scale, noise) = (level.scale(), 1.0 - level.signal_fraction());
        let (clean, trace) = denoise(y.clone() * scale, level);
        assert_eq!(trace.len(), batch, "one trace an image");
        let spread: Vec<f64> = trace.iter().map(|trace| (scale * trace - dims) / noise).collect();
        ((clean - y) / noise, spread)
    };
    let mut y = x;
    let mut grown = vec![0.0; batch]; // -∫ ∇·v dt so far, as dt is negative
    for pair in levels.windows(2).rev() {
        let (to, from) = (&pair[0], &pair[1]);
        let dt = to.signal_fraction() - from.signal_fraction();
        assert!(dt < 0.0, "levels must go from noise to image: {from:?} comes after {to:?}");
        let (v, spread) = flow(y.clone(), from);
        let (v_ahead, spread_ahead) = flow(y.clone() + v.clone() * dt, to);
        y = y + (v + v_ahead) * (dt / 2.0);
        for (grown, (here, ahead)) in grown.iter_mut().zip(spread.iter().zip(&spread_ahead)) {
            *grown += (here + ahead) * dt / 2.0;
        }
    }
    let scale = levels.first().map_or(1.0, Level::scale);
    let squares = (y * scale).square().sum_dims_squeeze::<1, _>(&[1, 2]).into_data();
    let squares = squares.iter::<f64>().collect::<Vec<_>>();
    let normal = |squares: f64| -0.5 * (squares + dims * (2.0 * PI).ln()) + dims * scale.ln();
    squares.into_iter().zip(grown).map(|(squares, grown)| normal(squares) + grown).collect()
}

/// Returns the bits for each of `dims` numbers that are known to a bin of `width`. This is what a
/// density means for whole values that were spread evenly over their bins (uniform dequantization,
/// Theis et al. 2016, arXiv:1511.01844, section 3.1). The mean over that spreading is an upper
/// bound of the code length.
///
/// ```
/// use mm_diffusion::bits_per_dimension;
/// // A uniform density over 256 bins takes eight bits, whatever the width of a bin.
/// let width: f64 = 2.0 / 255.0;
/// assert!((bits_per_dimension(-12.0 * (256.0 * width).ln(), 12, width) - 8.0).abs() < 1e-9);
/// ```
pub fn bits_per_dimension(log_density: f64, dims: usize, width: f64) -> f64 {
    -log_density / (dims as f64 * LN_2) - width.log2()
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;
    use crate::gaussian::{Gaussian, NARROW, WIDE, rows};

    const SU2024: Schedule = Schedule::Su2024 { steps: 1000 };
    const POINTS: [f64; 6] = [0.55, 0.2, -0.4, 0.47, -0.33, 0.21];

    fn found(data: &Gaussian, schedule: &Schedule, steps: usize) -> Vec<f64> {
        let levels = likelihood_levels(schedule, steps).unwrap();
        let mut denoise = |z: Tensor<3>, level: &Level| {
            let trace = (0..3).map(|channel| data.gain(level, channel)).sum();
            (data.denoise(z, level), vec![trace; 2])
        };
        log_density(&levels, rows(POINTS.to_vec(), DType::F64), &mut denoise)
    }

    /// Returns the closed form: y at the last level is normal, with the mean and the deviation of z
    /// over s + n.
    fn wanted(data: &Gaussian, level: &Level) -> Vec<f64> {
        let one = |point: &[f64]| {
            let term = |channel: usize| {
                let std = data.std_at(level, channel) / level.scale();
                let mean = data.mean[channel] * level.signal_fraction();
                -0.5 * (((point[channel] - mean) / std).powi(2) + (2.0 * PI).ln()) - std.ln()
            };
            (0..3).map(term).sum()
        };
        POINTS.chunks(3).map(one).collect()
    }

    fn check(data: &Gaussian, schedule: Schedule, steps: usize, within: f64) {
        let last = *likelihood_levels(&schedule, steps).unwrap().last().unwrap();
        let pairs = found(data, &schedule, steps).into_iter().zip(wanted(data, &last));
        for (found, wanted) in pairs {
            let error = (found - wanted).abs();
            assert!(error < within, "{schedule:?}, {steps} steps: {found}, wanted {wanted}");
        }
    }

    #[test]
    fn the_density_of_a_gaussian_is_its_closed_form() {
        check(&WIDE, Schedule::Linear, 200, 1e-3);
        check(&NARROW, Schedule::Linear, 400, 1e-2);
        check(&WIDE, SU2024, 300, 2e-2); // its noisiest level still has 0.6 % of signal
        check(&WIDE, Schedule::Cosine { steps: 1000 }, 300, 5e-3);
    }

    #[test]
    fn half_the_step_leaves_a_quarter_of_the_error() {
        let last = Schedule::Linear.level(1.0 - NOISE_LEFT);
        let error = |steps| {
            let found = found(&WIDE, &Schedule::Linear, steps);
            found.iter().zip(wanted(&WIDE, &last)).map(|(f, w)| (f - w).abs()).sum::<f64>()
        };
        let ratio = error(20) / error(40);
        assert!((3.0..5.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_density_at_the_image_is_nearly_that_of_the_data() {
        let clean = Level { timestep: 1.0, signal: 1.0, noise: 0.0 };
        for (found, wanted) in
            found(&WIDE, &Schedule::Linear, 200).iter().zip(wanted(&WIDE, &clean))
        {
            assert!((found - wanted).abs() < 0.01, "{found}, wanted {wanted}");
        }
    }

    #[test]
    fn levels_reach_both_ends_of_every_schedule_once() {
        for schedule in [Schedule::Linear, SU2024, Schedule::Cosine { steps: 50 }] {
            let levels = likelihood_levels(&schedule, 40).unwrap();
            let falls = |pair: &[Level]| pair[0].signal_fraction() < pair[1].signal_fraction();
            assert!(levels.windows(2).all(falls) && levels.len() > 20, "{schedule:?}");
            if let Some(steps) = schedule.steps() {
                assert_eq!(
                    (levels[0].timestep, levels.last().unwrap().timestep),
                    (steps as f64 - 1.0, 0.0)
                );
            }
        }
        assert!(
            likelihood_levels(&SU2024, 0).is_err() && likelihood_levels(&SU2024, 1000).is_err()
        );
    }
}
