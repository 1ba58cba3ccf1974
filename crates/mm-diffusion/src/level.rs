//! One noise level: how much image and how much noise there is in `z = signal * x + noise * e`.

/// A point on the way between noise and image.
///
/// [`Schedule`](crate::Schedule) makes the levels that a network is trained on. A caller who brings
/// its own schedule may write them down:
///
/// ```
/// use mm_diffusion::Level;
///
/// let level = Level { timestep: 0.25, signal: 0.25, noise: 0.75 };
/// assert_eq!(level.signal_fraction(), 0.25);
/// assert!(level.snr_db() < 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// What the network is told: a step index (`Su2024`, `Cosine`) or the time in [0, 1]
    /// (`Linear`).
    pub timestep: f64,
    /// The factor of the clean patches, 0 or more.
    pub signal: f64,
    /// The factor of the standard normal noise, 0 or more; it and `signal` are never both 0.
    pub noise: f64,
}

impl Level {
    /// Returns the share of the signal, `signal / (signal + noise)`: 0 is pure noise, 1 is the
    /// clean image.
    ///
    /// On the linear path this is the timestep. On every other path it is the timestep of the level
    /// of the linear path with the same signal-to-noise ratio, because `z / (signal + noise)` has
    /// the form of the linear path.
    pub fn signal_fraction(&self) -> f64 {
        self.signal / self.scale()
    }

    /// Returns `ln(signal / noise)`, the λ of Lu et al. 2022: -∞ for pure noise, +∞ for the clean
    /// image.
    pub fn log_snr(&self) -> f64 {
        (self.signal / self.noise).ln()
    }

    /// Returns the signal-to-noise ratio in decibels, `20 log10(signal / noise)`.
    pub fn snr_db(&self) -> f64 {
        20.0 * (self.signal / self.noise).log10()
    }

    /// Returns `signal + noise`; a level divided by it lies on the linear path.
    pub(crate) fn scale(&self) -> f64 {
        self.signal + self.noise
    }
}
