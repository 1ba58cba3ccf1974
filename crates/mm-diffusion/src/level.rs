//! One noise level: how much image and how much noise there is in `z = signal * clean + noise * eps`.

/// A point on the way between noise and image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// What the network is told: a step index (`Su2024`, `Cosine`) or the time in [0, 1] (`Linear`).
    pub timestep: f64,
    /// Factor of the clean patches, 0 or more.
    pub signal: f64,
    /// Factor of the standard normal noise, 0 or more; it and `signal` are never both 0.
    pub noise: f64,
}

impl Level {
    /// `signal * clean + noise * eps`, one number on the host; [`noised`](crate::noised) is the same on a device.
    pub fn noised(&self, clean: f32, eps: f32) -> f32 {
        (self.signal * f64::from(clean) + self.noise * f64::from(eps)) as f32
    }

    /// The share of the signal, `signal / (signal + noise)`: 0 is pure noise, 1 the clean image.
    ///
    /// On the linear path this is the time; on every other path it is the time of the linear path's level with the
    /// same signal-to-noise ratio, for `z / (signal + noise)` has the form of the linear path.
    pub fn signal_fraction(&self) -> f64 {
        self.signal / self.scale()
    }

    /// `ln(signal / noise)`, the λ of Lu et al. 2022; -∞ for pure noise, +∞ for the clean image.
    pub fn log_snr(&self) -> f64 {
        (self.signal / self.noise).ln()
    }

    /// The signal-to-noise ratio in decibels, `20 log10(signal / noise)`.
    pub fn snr_db(&self) -> f64 {
        20.0 * (self.signal / self.noise).log10()
    }

    /// `signal + noise`; a level divided by it lies on the linear path.
    pub(crate) fn scale(&self) -> f64 {
        self.signal + self.noise
    }
}
