//! Analytic-DPM (Bao et al. 2022, arXiv:2201.06503) as the seed's `adpm.py` has it: [`ddim`](crate::ddim) whose noise is as wide
//! as the step needs, by one number a level that is measured once.
//!
//! A step of DDIM puts the estimate x̂ where the image x belongs, and forgets that x varies around it. With z = s x + n e, the
//! estimate ê of the noise leaves s² Var(x | z) = n² (1 - E[ê²]) a number on average, so what is forgotten is made good by noise:
//!
//! ```text
//! α = s / s',  σ = η (n' / n) sqrt(1 - α²),  ε = n - α sqrt(n'² - σ²)
//! z' = (z - ε ê) / α + sqrt(σ² + γ² clip(1 - E[ê²], 0, 1)) noise,   γ = ε / α
//! ```
//!
//! As in the seed, and unlike plain DDIM, the last step adds noise too. At pure noise (s = 0, the start of the linear path) ê says
//! nothing of the image, and nothing is made good.

use crate::samplers::{fresh_variance, steps};
use crate::{Denoise, Level, Noise};
use burn::prelude::*;

/// What the sampler knows besides the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Analytic<'a> {
    /// The η of DDIM: 1 in the seed's example.
    pub eta: f64,
    /// [`unexplained`] of every level visited, in the order of the levels.
    pub unexplained: &'a [f64],
}

/// `clip(1 - E[ê²], 0, 1)`: how much of the noise of a level the network cannot tell, from the mean square of its estimates ê of
/// the noise.
///
/// ```
/// assert_eq!(mm_diffusion::unexplained(0.75), 0.25);
/// assert_eq!(mm_diffusion::unexplained(1.01), 0.0);
/// ```
pub fn unexplained(mean_square: f64) -> f64 {
    (1.0 - mean_square).clamp(0.0, 1.0)
}

/// Analytic-DPM over `levels`, noisiest first. Panics unless there is one `unexplained` a level.
///
/// `x`: `[batch, patches, channels]` -> `[batch, patches, channels]`.
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
    for (i, now, next) in steps(levels) {
        let alpha = now.signal / next.signal;
        let sigma = eta * next.noise / now.noise * fresh_variance(now, next).sqrt();
        let direction = (next.noise.powi(2) - sigma.powi(2)).max(0.0).sqrt();
        let gamma = match now.signal > 0.0 {
            true => (now.noise - alpha * direction) / alpha,
            false => 0.0,
        };
        let clean = denoise(x.clone(), now);
        let eps = (x - clean.clone() * now.signal) / now.noise;
        x = clean * next.signal + eps * direction; // (z - ε ê) / α
        let spread = (sigma.powi(2) + gamma.powi(2) * unexplained[i]).sqrt();
        if spread > 0.0 {
            x = x + noise(i) * spread;
        }
    }
    x
}
