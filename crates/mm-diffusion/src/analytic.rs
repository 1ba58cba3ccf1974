//! Analytic-DPM (Bao et al. 2022, arXiv:2201.06503) as Su's `adpm.py` has it: [`ddim`](crate::ddim)
//! whose noise is as wide as the step needs, by one number a level that is measured once.
//!
//! A step of DDIM puts the estimate x̂ where the image x belongs, and forgets that x varies around
//! it. With z = s x + n e, the estimate ê of the noise leaves s² Var(x | z) = n² (1 - E[ê²]) a
//! number on average, so noise makes up for what is forgotten:
//!
//! ```text
//! α = s / s',  σ = η (n' / n) sqrt(1 - α²),  ε = n - α sqrt(n'² - σ²)
//! z' = (z - ε ê) / α + sqrt(σ² + γ² clip(1 - E[ê²], 0, 1)) noise,   γ = ε / α
//! ```
//!
//! As in the script, and unlike in plain DDIM, the last step adds noise too. At pure noise (s = 0,
//! the start of the linear path) ê says nothing about the image, and no noise is added for it.

use burn::prelude::*;

use crate::samplers::steps;
use crate::{Denoise, Level, Noise, Step};

/// What [`analytic_dpm`] knows besides the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Analytic<'a> {
    /// The η of DDIM, 1 in the example of the script.
    pub eta: f64,
    /// The [`unexplained`] share of every level visited, in the order of the levels.
    pub unexplained: &'a [f64],
}

/// Returns `clip(1 - E[ê²], 0, 1)`, the share of the noise of a level that the network cannot tell,
/// from the mean square of its estimates ê of the noise.
///
/// ```
/// assert_eq!(mm_diffusion::unexplained(0.75), 0.25);
/// assert_eq!(mm_diffusion::unexplained(1.01), 0.0);
/// ```
pub fn unexplained(mean_square: f64) -> f64 {
    (1.0 - mean_square).clamp(0.0, 1.0)
}

/// Runs Analytic-DPM over `levels`, noisiest first. Panics unless there is one `unexplained` share
/// a level.
///
/// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
pub fn analytic_dpm(
    levels: &[Level],
    mut x: Tensor<3>,
    with: Analytic<'_>,
    denoise: &mut Denoise<'_>,
    noise: &mut Noise<'_>,
) -> Tensor<3> {
    let Analytic { eta, unexplained } = with;
    assert!((0.0..=1.0).contains(&eta), "eta {eta} is outside [0, 1]");
    assert_eq!(levels.len(), unexplained.len(), "one number a level");
    for step in steps(levels) {
        let Step { index, now, next } = step;
        let alpha = now.signal / next.signal;
        let sigma = eta * next.noise / now.noise * step.fresh_variance().sqrt();
        let direction = (next.noise.powi(2) - sigma.powi(2)).max(0.0).sqrt();
        let gamma = if now.signal > 0.0 { (now.noise - alpha * direction) / alpha } else { 0.0 };
        let clean = denoise(x.clone(), now);
        let eps = now.eps_in(x, clean.clone());
        x = clean * next.signal + eps * direction; // (z - ε ê) / α
        let spread = (sigma.powi(2) + gamma.powi(2) * unexplained[index]).sqrt();
        if spread > 0.0 {
            x = x + noise(index) * spread;
        }
    }
    x
}
