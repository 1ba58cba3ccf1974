//! Samplers against the closed form: for normal data the flow is known, and so are the moments of
//! every sampler.

use burn::tensor::DType;

use super::*;
use crate::gaussian::{Gaussian, NARROW, WIDE, rows};
use crate::{Analytic, Sampler, Schedule, analytic_dpm, unexplained};

const SU2024: Schedule = Schedule::Su2024 { steps: 1000 };
const COSINE: Schedule = Schedule::Cosine { steps: 1000 };
const LINEAR: Schedule = Schedule::Linear;

const DDIM: Sampler = Sampler::Ddim { eta: 0.0 };
const DETERMINISTIC: [Sampler; 4] = [DDIM, Sampler::Euler, Sampler::Heun, Sampler::DpmSolverPp2m];

fn levels(schedule: Schedule, steps: usize) -> Vec<Level> {
    schedule.sampling_levels(steps).unwrap()
}

/// Returns the level with this ln(signal / noise) that keeps the variance.
fn of_log_snr(log_snr: f64) -> Level {
    let signal = 1.0 / (1.0 + (-2.0 * log_snr).exp()).sqrt();
    Level { timestep: log_snr, signal, noise: signal * (-log_snr).exp() }
}

/// Returns levels that keep the variance, evenly spaced in ln(signal / noise) from -4 to 9.
fn even_in_log_snr(steps: usize) -> Vec<Level> {
    (0..steps).map(|i| of_log_snr(-4.0 + 13.0 * i as f64 / (steps - 1) as f64)).collect()
}

/// Returns all levels of `Su2024` and three between any two, because a first-order sampler needs
/// more than a thousand for our bound.
fn su2024_levels_refined() -> Vec<Level> {
    let all = levels(SU2024, 1000);
    let between = |pair: &[Level]| -> Vec<Level> {
        let (from, to) = (pair[0].log_snr(), pair[1].log_snr());
        [0.0, 0.25, 0.5, 0.75].map(|share| of_log_snr(from + share * (to - from))).to_vec()
    };
    all.windows(2).flat_map(between).chain(all.last().copied()).collect()
}

fn numbers(x: Tensor<3>) -> Vec<f64> {
    x.cast(DType::F64).into_data().try_to_vec::<f64>().unwrap()
}

fn largest_difference(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f64::max)
}

/// Runs a sampler that must draw no noise.
fn sample(sampler: Sampler, data: &Gaussian, levels: &[Level], start: Tensor<3>) -> Vec<f64> {
    let mut no_noise = |step: usize| -> Tensor<3> { panic!("step {step} of {sampler} drew noise") };
    numbers(sampler.sample(levels, start, &mut |z, level| data.denoise(z, level), &mut no_noise))
}

/// Returns the largest distance from x = mean + std · deviation, to which the probability flow
/// takes z = signal · mean + std_at · deviation.
fn flow_error(sampler: Sampler, levels: &[Level], precision: DType) -> f64 {
    let (mut start, mut wanted) = (vec![], vec![]);
    for deviation in [-1.5, 0.4, 1.0] {
        for c in 0..3 {
            start.push(levels[0].signal * WIDE.mean[c] + WIDE.std_at(&levels[0], c) * deviation);
            wanted.push(WIDE.mean[c] + WIDE.std[c] * deviation);
        }
    }
    largest_difference(&sample(sampler, &WIDE, levels, rows(start, precision)), &wanted)
}

fn check_flow(samplers: &[Sampler], levels: &[Level]) {
    for &sampler in samplers {
        let error = flow_error(sampler, levels, DType::F32);
        assert!(error < 1e-3, "{sampler}, {} steps: off by {error}", levels.len());
    }
}

#[test]
fn ddim_and_euler_follow_the_probability_flow() {
    let samplers = [DDIM, Sampler::Euler];
    check_flow(&samplers, &su2024_levels_refined());
    check_flow(&samplers, &levels(Schedule::Cosine { steps: 2500 }, 2500));
    check_flow(&samplers, &levels(LINEAR, 2500));
}

#[test]
fn heun_and_dpm_solver_follow_the_probability_flow_in_fewer_steps() {
    for schedule in [SU2024, COSINE, LINEAR] {
        check_flow(&[Sampler::Heun], &levels(schedule, 100));
        check_flow(&[Sampler::DpmSolverPp2m], &levels(schedule, 500));
    }
}

/// Checks how the error shrinks from 100 steps to 200, in 64 bits.
fn check_order(sampler: Sampler, levels: fn(usize) -> Vec<Level>, wanted: f64) {
    let ratio = flow_error(sampler, &levels(100), DType::F64)
        / flow_error(sampler, &levels(200), DType::F64);
    assert!(
        (ratio - wanted).abs() < 0.05 * wanted,
        "{sampler}: the error fell by {ratio}, wanted {wanted}"
    );
}

#[test]
fn halving_the_step_halves_the_error_of_ddim_and_euler() {
    for sampler in [DDIM, Sampler::Euler] {
        check_order(sampler, |steps| levels(LINEAR, steps), 2.0);
        check_order(sampler, |steps| levels(SU2024, steps), 2.0);
        check_order(sampler, even_in_log_snr, 2.0);
    }
}

/// Returns levels from -4 to 9 in ln(signal / noise), where steps of three units and of one take
/// turns: 1 / 2r is 1/6 and 3/2.
fn uneven_in_log_snr(steps: usize) -> Vec<Level> {
    let unit = 13.0 / (2 * steps) as f64;
    let at = |i: usize| -4.0 + unit * (4 * (i / 2) + 3 * (i % 2)) as f64;
    (0..steps).map(|i| of_log_snr(at(i))).collect()
}

#[test]
fn only_the_uncapped_dpm_solver_is_of_second_order_where_steps_differ() {
    check_order(Sampler::DpmSolverPp2mUncapped, uneven_in_log_snr, 4.0);
    check_order(Sampler::DpmSolverPp2mUncapped, even_in_log_snr, 4.0);
    let error = |steps| flow_error(Sampler::DpmSolverPp2m, &uneven_in_log_snr(steps), DType::F64);
    assert!(error(100) / error(200) < 3.0, "{} and {}", error(100), error(200));
}

#[test]
fn halving_the_step_quarters_the_error_of_heun_and_dpm_solver() {
    check_order(Sampler::Heun, |steps| levels(LINEAR, steps), 4.0);
    check_order(Sampler::Heun, even_in_log_snr, 4.0);
    check_order(Sampler::DpmSolverPp2m, even_in_log_snr, 4.0);
}

#[test]
fn dpm_solver_gains_more_than_first_order_where_log_snr_is_unbounded() {
    // Even timesteps are uneven in log-SNR: near both ends its steps do not shrink, and order 2
    // holds up to a logarithm.
    let error = |steps| flow_error(Sampler::DpmSolverPp2m, &levels(LINEAR, steps), DType::F64);
    let ratio = error(200) / error(400);
    assert!(ratio > 3.2 && ratio < 4.0, "the error fell by {ratio}");
}

#[test]
fn second_order_samplers_beat_ddim_at_ten_steps_on_every_schedule() {
    for schedule in [SU2024, COSINE, LINEAR] {
        let [ddim, _, heun, dpm] =
            DETERMINISTIC.map(|sampler| flow_error(sampler, &levels(schedule, 10), DType::F64));
        assert!(
            heun < ddim / 2.0 && dpm < ddim / 1.5,
            "{schedule:?}: ddim {ddim}, heun {heun}, dpm++2m {dpm}"
        );
    }
}

#[test]
fn euler_is_ddim_without_noise() {
    for schedule in [SU2024, COSINE, LINEAR] {
        let levels = levels(schedule, 10);
        let start = || rows(vec![0.3, -1.2, 0.8], DType::F64);
        let (euler, ddim) = (
            sample(Sampler::Euler, &WIDE, &levels, start()),
            sample(DDIM, &WIDE, &levels, start()),
        );
        assert!(largest_difference(&euler, &ddim) < 1e-12, "{schedule:?}: {euler:?} and {ddim:?}");
    }
}

#[test]
fn one_step_from_pure_noise_gives_the_mean_of_the_data() {
    for sampler in DETERMINISTIC {
        let found =
            sample(sampler, &WIDE, &levels(LINEAR, 1), rows(vec![0.7, -2.0, 1.5], DType::F64));
        assert!(largest_difference(&found, &WIDE.mean) < 1e-12, "{sampler}: {found:?}");
    }
}

/// The mean and the variance in each channel.
#[derive(Debug)]
struct Moments {
    mean: [f64; 3],
    variance: [f64; 3],
}

impl Moments {
    fn of_data(data: &Gaussian) -> Moments {
        Moments { mean: data.mean, variance: data.std.map(|std| std * std) }
    }

    fn distance(&self, other: &Moments) -> f64 {
        largest_difference(&self.mean, &other.mean)
            .max(largest_difference(&self.variance, &other.variance))
    }
}

/// Returns the moments of a sampler's result; see [`moments_of`].
fn moments(sampler: Sampler, data: &Gaussian, levels: &[Level], precision: DType) -> Moments {
    let mut run =
        |levels: &[Level], x: Tensor<3>, denoise: &mut Denoise<'_>, noise: &mut Noise<'_>| {
            sampler.sample(levels, x, denoise, noise)
        };
    moments_of(&mut run, data, levels, precision)
}

/// A sampler as a function of levels, start, network and noise.
type Run<'a> = dyn FnMut(&[Level], Tensor<3>, &mut Denoise<'_>, &mut Noise<'_>) -> Tensor<3> + 'a;

/// Returns the moments of a sampler's result, exactly and without drawing a number. The result is
/// affine in the start and in the noise of each step, so a batch of basis vectors gives every
/// coefficient: row 0 is all zero, row 1 starts at 1, row 2 + i has noise 1 at step i.
fn moments_of(run: &mut Run<'_>, data: &Gaussian, levels: &[Level], precision: DType) -> Moments {
    let basis = |row: usize| -> Tensor<3> {
        let mut values = vec![0.0; 3 * (levels.len() + 2)];
        values[3 * row..3 * row + 3].fill(1.0);
        rows(values, precision)
    };
    let denoise = &mut |z: Tensor<3>, level: &Level| data.denoise(z, level);
    let found = numbers(run(levels, basis(1), denoise, &mut |i| basis(2 + i)));
    let effect = |row: usize, c: usize| found[3 * row + c] - found[c];
    let mean = |c: usize| found[c] + effect(1, c) * levels[0].signal * data.mean[c];
    let variance = |c: usize| {
        let of_noise: f64 = (0..levels.len()).map(|i| effect(2 + i, c).powi(2)).sum();
        (effect(1, c) * data.std_at(&levels[0], c)).powi(2) + of_noise
    };
    Moments { mean: [0, 1, 2].map(mean), variance: [0, 1, 2].map(variance) }
}

/// Returns the same by the lines of Su's `ddpm.py` and `ddim.py`, in noise form, from a start whose
/// moments are those of z: z -= coefficient · eps, z /= α, z += σ n.
fn script_moments(eta: Option<f64>, data: &Gaussian, levels: &[Level]) -> Moments {
    let channel = |c: usize| {
        let (mut mean, mut variance) =
            (levels[0].signal * data.mean[c], data.std_at(&levels[0], c).powi(2));
        for Step { now, next, .. } in steps(levels) {
            let alpha = now.signal / next.signal;
            let beta = (1.0 - alpha * alpha).sqrt();
            let sigma = eta.map_or(beta, |eta| next.noise / now.noise * beta * eta);
            let coefficient = match eta {
                None => beta * beta / now.noise,
                Some(_) => now.noise - alpha * (next.noise.powi(2) - sigma * sigma).sqrt(),
            };
            let step = |z: f64| {
                let clean = data.mean[c] + data.gain(now, c) * (z - now.signal * data.mean[c]);
                (z - coefficient * (z - now.signal * clean) / now.noise) / alpha
            };
            variance = (step(1.0) - step(0.0)).powi(2) * variance + sigma * sigma;
            mean = step(mean);
        }
        (mean, variance)
    };
    let both = [0, 1, 2].map(channel);
    Moments { mean: both.map(|(mean, _)| mean), variance: both.map(|(_, variance)| variance) }
}

#[test]
fn ddpm_and_ddim_are_the_recursions_of_su_s_scripts() {
    for levels in [levels(SU2024, 10), levels(SU2024, 40), levels(COSINE, 40)] {
        let found = moments(Sampler::Ddpm, &WIDE, &levels, DType::F64);
        assert!(found.distance(&script_moments(None, &WIDE, &levels)) < 1e-9, "ddpm: {found:?}");
        for eta in [0.0, 0.5, 1.0] {
            let found = moments(Sampler::Ddim { eta }, &WIDE, &levels, DType::F64);
            assert!(
                found.distance(&script_moments(Some(eta), &WIDE, &levels)) < 1e-9,
                "ddim:{eta}: {found:?}"
            );
        }
    }
}

#[test]
fn ddpm_is_exact_for_data_of_unit_variance_in_any_number_of_steps() {
    for schedule in [SU2024, COSINE, LINEAR] {
        for steps in [1, 3, 20] {
            let found = moments(Sampler::Ddpm, &WIDE, &levels(schedule, steps), DType::F64);
            let wanted = Moments::of_data(&WIDE);
            assert!(
                largest_difference(&found.mean, &wanted.mean) < 1e-9,
                "{schedule:?}, {steps} steps: {found:?}"
            );
            assert!(
                (found.variance[1] - 1.0).abs() < 1e-9,
                "{schedule:?}, {steps} steps: {found:?}"
            );
        }
    }
}

fn check_moments(sampler: Sampler, data: &Gaussian, schedule: Schedule) {
    let found = moments(sampler, data, &levels(schedule, 1000), DType::F32);
    let distance = found.distance(&Moments::of_data(data));
    assert!(distance < 1e-3, "{sampler} on {schedule:?}: off by {distance}, {found:?}");
}

#[test]
fn a_thousand_steps_of_ddpm_draw_from_the_data() {
    for schedule in [SU2024, COSINE, LINEAR] {
        check_moments(Sampler::Ddpm, &WIDE, schedule);
    }
}

#[test]
fn a_thousand_steps_of_ddim_with_noise_draw_from_the_data() {
    for schedule in [SU2024, COSINE, LINEAR] {
        check_moments(Sampler::Ddim { eta: 0.5 }, &NARROW, schedule);
        check_moments(Sampler::Ddim { eta: 1.0 }, &NARROW, schedule);
    }
}

#[test]
fn halving_the_step_halves_the_error_of_the_variance() {
    for sampler in [Sampler::Ddpm, Sampler::Ddim { eta: 0.5 }, Sampler::Ddim { eta: 1.0 }] {
        let error = |steps| {
            moments(sampler, &WIDE, &levels(LINEAR, steps), DType::F64)
                .distance(&Moments::of_data(&WIDE))
        };
        let ratio = error(100) / error(200);
        assert!((ratio - 2.0).abs() < 0.1, "{sampler}: the error fell by {ratio}");
    }
}

/// Data of the same width in every channel, so that one number a level says all about it.
const ROUND: Gaussian = Gaussian { mean: [0.5, -0.3, 0.2], std: [0.4; 3] };

fn analytic_moments(eta: f64, levels: &[Level], unexplained: &[f64]) -> Moments {
    let with = Analytic { eta, unexplained };
    let mut run =
        |levels: &[Level], x: Tensor<3>, denoise: &mut Denoise<'_>, noise: &mut Noise<'_>| {
            analytic_dpm(levels, x, with, denoise, noise)
        };
    moments_of(&mut run, &ROUND, levels, DType::F64)
}

#[test]
fn analytic_dpm_is_exact_for_normal_data_in_any_number_of_steps() {
    for schedule in [SU2024, COSINE] {
        for (count, eta) in [(1, 1.0), (3, 1.0), (10, 0.0), (10, 0.5), (10, 1.0)] {
            let levels = levels(schedule, count);
            // The best estimate is ê = n (z - s mean) / std_at², whose square has the mean
            // n² / std_at².
            let square = |level: &Level| (level.noise / ROUND.std_at(level, 0)).powi(2);
            let unexplained: Vec<f64> =
                levels.iter().map(|level| unexplained(square(level))).collect();
            let found = analytic_moments(eta, &levels, &unexplained);
            let distance = found.distance(&Moments::of_data(&ROUND));
            assert!(distance < 1e-9, "{schedule:?}, {count} steps, eta {eta}: {found:?}");
        }
    }
}

#[test]
fn analytic_dpm_that_leaves_nothing_unexplained_is_ddim() {
    let levels = levels(SU2024, 10);
    for eta in [0.0, 1.0] {
        let found = analytic_moments(eta, &levels, &[0.0; 10]);
        let ddim = moments(Sampler::Ddim { eta }, &ROUND, &levels, DType::F64);
        assert!(found.distance(&ddim) < 1e-12, "eta {eta}: {found:?} and {ddim:?}");
    }
}
