//! Samplers: from noise to image along a list of noise levels, each a plain function.
//!
//! All share one shape. `levels` go from the noisiest to the least noisy; after the last comes the
//! clean end, signal 1 and noise 0, of which the network is not asked. `denoise` gives an estimate
//! of the clean patches. In the equations z = s x + n e, and a step goes from (s, n) to (s', n').
//! Every schedule works with every sampler, also one that starts at pure noise (s = 0). Clipping to
//! the range of pixels is left to the caller.

use std::iter;

use burn::prelude::*;

use crate::Level;

/// The network as a sampler sees it: noisy patches `[batch, tokens, channels]` and their level ->
/// its estimate of the CLEAN patches, on the same axes.
///
/// Any closure of this shape will do, so a sampler needs to know nothing of the network; [`steps`]
/// shows a sampler of your own.
pub type Denoise<'a> = dyn FnMut(Tensor<3>, &Level) -> Tensor<3> + 'a;

/// Fresh standard normal noise for a sampler step (counted from 0), `[batch, tokens, channels]`.
pub type Noise<'a> = dyn FnMut(usize) -> Tensor<3> + 'a;

/// One step of a sampler, from a level to a less noisy one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step<'a> {
    /// The number of the step, from 0.
    pub index: usize,
    /// The level of the patches before the step.
    pub now: &'a Level,
    /// The level that the step leads to; the last is clean.
    pub next: &'a Level,
}

impl Step<'_> {
    /// Returns β² = n² - α² n'² with α = s / s', which is the noise that the way back adds: the
    /// noisier level is the other, dimmed and noised again, z = α z' + β e.
    pub fn fresh_variance(&self) -> f64 {
        let alpha = self.now.signal / self.next.signal;
        (self.now.noise.powi(2) - (alpha * self.next.noise).powi(2)).max(0.0)
    }
}

/// Returns the steps along `levels`, noisiest first, the one to the clean end last. Panics where a
/// level is not less noisy than the one before.
///
/// This is all that a sampler of your own needs. Here DDIM keeps its estimate in the range of
/// pixels:
///
/// ```
/// use burn::prelude::*;
/// use mm_diffusion::{Denoise, Level, Schedule, Step, steps};
///
/// fn clipped_ddim(levels: &[Level], mut z: Tensor<3>, denoise: &mut Denoise<'_>) -> Tensor<3> {
///     for Step { now, next, .. } in steps(levels) {
///         let clean = denoise(z.clone(), now).clamp(-1.0, 1.0);
///         let eps = now.eps_in(z, clean.clone());
///         z = next.noised_tensor(clean, eps);
///     }
///     z
/// }
///
/// // A network that answers 1.5 everywhere, and standard normal noise that happens to be 0.7.
/// let mut network = |z: Tensor<3>, _: &Level| Tensor::full(z.dims(), 1.5, &z.device());
/// let start = Tensor::<3>::full([1, 4, 12], 0.7, &Device::flex());
/// let levels = Schedule::Su2024 { steps: 1000 }.sampling_levels(10)?;
/// let image = clipped_ddim(&levels, start, &mut network);
/// assert!((image - 1.0).abs().max().into_scalar::<f32>() < 1e-6);
/// # Ok::<(), mm_diffusion::DiffusionError>(())
/// ```
pub fn steps(levels: &[Level]) -> impl Iterator<Item = Step<'_>> {
    let next = levels.iter().skip(1).chain(iter::once(&CLEAN_END));
    levels.iter().zip(next).enumerate().map(|(index, (now, next))| {
        let falls = now.noise * next.signal > next.noise * now.signal;
        assert!(falls, "levels must go from noise to image: {next:?} comes after {now:?}");
        Step { index, now, next }
    })
}

/// Where every sampler ends. Its timestep is never shown to the network.
const CLEAN_END: Level = Level { timestep: 0.0, signal: 1.0, noise: 0.0 };

/// Ancestral sampling (Ho et al. 2020, arXiv:2006.11239, algorithm 2), with the larger variance,
/// σ² = β².
///
/// A step draws from N(μ, σ²), where μ is the mean of z' given z and x (eq. 7) and β² is
/// [`Step::fresh_variance`]. σ² = β² (section 3.2) is the exact variance for data of unit variance
/// if the schedule keeps the variance. On other schedules that is β² (s'² + n'²) / (s² + n²), which
/// is used here.
///
/// As in Su's `ddpm.py`, and unlike in the paper, noise is added after the last step too. With the
/// 1000 steps of the script its σ is 0.0045. With ten steps on the linear path it is 0.11, which
/// can be seen, so choose another sampler there.
///
/// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
pub fn ddpm(
    levels: &[Level],
    mut x: Tensor<3>,
    denoise: &mut Denoise<'_>,
    noise: &mut Noise<'_>,
) -> Tensor<3> {
    for step in steps(levels) {
        let Step { index, now, next } = step;
        let alpha = now.signal / next.signal;
        let beta_squared = step.fresh_variance();
        let share = (next.noise / now.noise).powi(2);
        let sigma = (beta_squared * variance(next) / variance(now)).sqrt();
        let clean = denoise(x.clone(), now);
        let mean = clean * (next.signal * beta_squared / now.noise.powi(2)) + x * (alpha * share);
        x = mean + noise(index) * sigma;
    }
    x
}

/// The Euler-Maruyama method on the reverse process dz = (-½β z - β ∇ln p) dt + √β dw (Song et al.
/// 2021, arXiv:2011.13456, eqs. 6 and 32), as U-ViT is sampled in a thousand steps.
///
/// With ∇ln p = -ε̂ / n and B = β(t) (t - t'), a step is z' = (1 + ½B) z - B ε̂ / n + √B w, without w
/// after the last. The times t are those at which the process with β(t) = 0.1 + 19.9 t
/// ([`Schedule::Vp`](crate::Schedule::Vp)) has the signal-to-noise ratio of a level, at most 1. A
/// schedule that does not keep the variance becomes one that does by scaling.
///
/// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
pub fn euler_maruyama(
    levels: &[Level],
    x: Tensor<3>,
    denoise: &mut Denoise<'_>,
    noise: &mut Noise<'_>,
) -> Tensor<3> {
    let Some(first) = levels.first() else { return x };
    let mut y = x / variance(first).sqrt();
    for Step { index, now, next } in steps(levels) {
        let (t, scale) = (vp_time(now), variance(now).sqrt());
        let b = (0.1 + 19.9 * t) * (t - vp_time(next));
        let clean = denoise(y.clone() * scale, now);
        let eps = now.eps_in(y.clone() * scale, clean);
        y = y * (1.0 + b / 2.0) - eps * (b * scale / now.noise);
        if next.noise > 0.0 {
            y = y + noise(index) * b.sqrt();
        }
    }
    y // the clean end has the variance 1
}

/// Returns the time at which the variance-preserving process has the signal-to-noise ratio of a
/// level: -ln signal² = 0.1 t + 9.95 t², solved for t, and at most 1.
fn vp_time(level: &Level) -> f64 {
    let lost = -(level.signal.powi(2) / variance(level)).ln();
    (((0.1f64.powi(2) + 4.0 * 9.95 * lost).sqrt() - 0.1) / 19.9).min(1.0)
}

/// DDIM (Song et al. 2021, arXiv:2010.02502, eq. 12): the estimated image, the direction back to
/// the noise, and fresh noise σ.
///
/// `eta` in [0, 1] scales σ = η (n' / n) β (eq. 16): 0 draws no noise, 1 is ancestral sampling with
/// the smaller variance. Panics where `eta` is outside that range.
///
/// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
pub fn ddim(
    levels: &[Level],
    mut x: Tensor<3>,
    eta: f64,
    denoise: &mut Denoise<'_>,
    noise: &mut Noise<'_>,
) -> Tensor<3> {
    assert!((0.0..=1.0).contains(&eta), "eta {eta} is outside [0, 1]");
    for step in steps(levels) {
        let Step { index, now, next } = step;
        let sigma = eta * next.noise / now.noise * step.fresh_variance().sqrt();
        let clean = denoise(x.clone(), now);
        let eps = now.eps_in(x, clean.clone());
        x = clean * next.signal + eps * (next.noise.powi(2) - sigma.powi(2)).max(0.0).sqrt();
        if sigma > 0.0 {
            x = x + noise(index) * sigma;
        }
    }
    x
}

/// DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2): second order, one network call
/// a step, no noise.
///
/// With λ = ln(s / n) and h = λ' - λ, an estimate that stayed D would lead exactly to
/// z' = (n' / n) z - s' (e⁻ʰ - 1) D. D lies on the line through this estimate and the last one:
/// D = (1 + 1 / 2r) x̂ - (1 / 2r) x̂_last, r = h_last / h.
///
/// λ is infinite at both ends. s' e⁻ʰ is computed as s n' / n, which is finite at either. The step
/// to the clean end is of first order (D = x̂). So are the first step, which has no past, and the
/// second one after a start at s = 0, where 1 / r = 0.
///
/// One thing is ours: 1 / 2r is at most 1; [`dpm_solver_pp_2m_uncapped`] is the paper's. Step
/// indices end in a step whose h is many times the last (index 100 to 0 of `Su2024`). There the
/// line goes too far, and ten steps would be worse than ten of [`ddim`]. Evenly spaced timesteps on
/// the linear path never meet the cap.
///
/// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
pub fn dpm_solver_pp_2m(levels: &[Level], x: Tensor<3>, denoise: &mut Denoise<'_>) -> Tensor<3> {
    second_order_multistep(levels, x, 1.0, denoise)
}

/// DPM-Solver++(2M) as in the paper, without the cap of [`dpm_solver_pp_2m`]: of second order on
/// any levels whose steps have bounded ratios.
///
/// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
pub fn dpm_solver_pp_2m_uncapped(
    levels: &[Level],
    x: Tensor<3>,
    denoise: &mut Denoise<'_>,
) -> Tensor<3> {
    second_order_multistep(levels, x, f64::INFINITY, denoise)
}

/// Computes DPM-Solver++(2M) with 1 / 2r at most `most`, `[batch, tokens, channels]` -> the same
/// shape.
fn second_order_multistep(
    levels: &[Level],
    mut x: Tensor<3>,
    most: f64,
    denoise: &mut Denoise<'_>,
) -> Tensor<3> {
    let mut last: Option<(f64, Tensor<3>)> = None;
    for Step { now, next, .. } in steps(levels) {
        let h = next.log_snr() - now.log_snr();
        let clean = denoise(x.clone(), now);
        let d = match last {
            Some((h_last, clean_last)) if next.noise > 0.0 => {
                let ahead = (h / h_last / 2.0).min(most); // 1 / 2r
                clean.clone() * (1.0 + ahead) - clean_last * ahead
            }
            _ => clean.clone(),
        };
        let keep = next.noise / now.noise;
        x = x * keep + d * (next.signal - now.signal * keep);
        last = Some((h, clean));
    }
    x
}

/// Euler's method on the probability-flow equation dy/dt = v with y = z / (s + n), t = s / (s + n)
/// and v = (x̂ - y) / (1 - t).
///
/// On the linear path y = z and t is the timestep (Liu et al. 2022, arXiv:2209.03003). Every other
/// path becomes the linear one by that scaling, so t is defined on all. It is finite at both ends,
/// where σ = n / s = (1 - t) / t of Karras et al. 2022 (arXiv:2206.00364) is not. The step equals
/// that of [`ddim`] with η = 0, on every path.
///
/// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
pub fn euler(levels: &[Level], x: Tensor<3>, denoise: &mut Denoise<'_>) -> Tensor<3> {
    let Some(first) = levels.first() else { return x };
    let mut y = x / first.scale();
    for Step { now, next, .. } in steps(levels) {
        let dt = next.signal_fraction() - now.signal_fraction();
        y = y.clone() + velocity(y, now, denoise) * dt;
    }
    y // the clean end has s + n = 1
}

/// Heun's method (Karras et al. 2022, arXiv:2206.00364, algorithm 1) on the equation of [`euler`]:
/// second order, two network calls a step.
///
/// The velocity is the mean of those at the start and at the end that Euler's step finds. The last
/// step is Euler's, because at the clean end there is no noise left for the network to see.
///
/// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
pub fn heun(levels: &[Level], x: Tensor<3>, denoise: &mut Denoise<'_>) -> Tensor<3> {
    let Some(first) = levels.first() else { return x };
    let mut y = x / first.scale();
    for Step { now, next, .. } in steps(levels) {
        let dt = next.signal_fraction() - now.signal_fraction();
        let v = velocity(y.clone(), now, denoise);
        let ahead = y.clone() + v.clone() * dt;
        y = if next.noise > 0.0 {
            y + (v + velocity(ahead, next, denoise)) * (dt / 2.0)
        } else {
            ahead
        };
    }
    y
}

/// Returns v = (x̂ - y) / (1 - t) at `y` `[batch, tokens, channels]`, which is z / (s + n).
pub(crate) fn velocity(y: Tensor<3>, level: &Level, denoise: &mut Denoise<'_>) -> Tensor<3> {
    let noise_fraction = level.noise / level.scale();
    (denoise(y.clone() * level.scale(), level) - y) / noise_fraction
}

/// Returns the variance of z for data of unit variance.
fn variance(level: &Level) -> f64 {
    level.signal.powi(2) + level.noise.powi(2)
}

#[cfg(test)]
mod tests;
