//! The forward process z = s x + n e (Ho et al. 2020, arXiv:2006.11239, eq. 4): the one place where
//! clean patches x and standard normal noise e are mixed, by the signal s and the noise n of a
//! level.
//!
//! It comes in three forms: for numbers on the host, for a tensor whose images share a level, and
//! for a tensor whose images have a level each. Random numbers are arguments.

use burn::prelude::*;

use crate::prediction::assert_same_patches;
use crate::{DiffusionError, Level, LossWeight, Schedule, TimestepSampling};

impl Level {
    /// Returns s x + n e for one number on the host.
    pub fn noised(&self, clean: f32, eps: f32) -> f32 {
        (self.signal * f64::from(clean) + self.noise * f64::from(eps)) as f32
    }

    /// Returns s x + n e for patches on the host. Panics unless there is one number of `eps` for
    /// each of `clean`.
    pub fn noised_patches(&self, clean: &[f32], eps: &[f32]) -> Vec<f32> {
        assert_eq!(clean.len(), eps.len(), "one number of noise for each of the patches");
        clean.iter().zip(eps).map(|(&clean, &eps)| self.noised(clean, eps)).collect()
    }

    /// Returns s x + n e for images that share this level.
    ///
    /// `clean`, `eps`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
    ///
    /// ```
    /// use burn::prelude::*;
    /// use mm_diffusion::Level;
    ///
    /// let level = Level { timestep: 0.0, signal: 0.5, noise: 0.25 };
    /// let clean = Tensor::<3>::ones([2, 4, 12], &Device::flex());
    /// let z = level.noised_tensor(clean.clone(), clean.clone());
    /// assert_eq!(level.eps_in(z, clean).mean().into_scalar::<f32>(), 1.0);
    /// ```
    pub fn noised_tensor(&self, clean: Tensor<3>, eps: Tensor<3>) -> Tensor<3> {
        clean * self.signal + eps * self.noise
    }

    /// Returns the noise e = (z - s x) / n in images that share this level, whose noise is above 0.
    ///
    /// `noisy`, `clean`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
    pub fn eps_in(&self, noisy: Tensor<3>, clean: Tensor<3>) -> Tensor<3> {
        (noisy - clean * self.signal) / self.noise
    }
}

/// Returns s x + n e for images that have a level each.
///
/// `clean`, `eps`: `[batch, tokens, channels]`; `signal`, `noise`: `[batch, tokens or 1, 1]` ->
/// `[batch, tokens, channels]`.
///
/// ```
/// use burn::prelude::*;
/// let device = Device::flex();
/// let clean = Tensor::<3>::ones([1, 2, 3], &device);
/// let eps = Tensor::<3>::zeros([1, 2, 3], &device);
/// let signal = Tensor::<3>::full([1, 1, 1], 0.25, &device);
/// let noise = Tensor::<3>::full([1, 1, 1], 0.75, &device);
/// let z = mm_diffusion::noised(clean, eps, signal, noise);
/// assert_eq!(z.sum().into_scalar::<f32>(), 1.5);
/// ```
pub fn noised(clean: Tensor<3>, eps: Tensor<3>, signal: Tensor<3>, noise: Tensor<3>) -> Tensor<3> {
    assert_same_patches(&clean, &eps);
    clean * signal + eps * noise
}

/// Which levels training draws, how often, and how much each counts.
///
/// ```
/// use mm_diffusion::{ForwardProcess, LossWeight, Schedule, TimestepSampling};
///
/// let process = ForwardProcess {
///     schedule: Schedule::Linear,
///     timesteps: TimestepSampling::Uniform,
///     weight: LossWeight::Velocity { min_noise: 0.05 },
/// };
/// process.validate()?;
///
/// let clean = [1.0, -1.0]; // two numbers of an image
/// let noise = process.draw(0.5, 0.0, vec![0.5, 0.0]); // uniform, normal, and one normal a number
/// assert_eq!((noise.level.timestep, noise.weight), (0.5, 4.0));
/// assert_eq!(noise.noisy(&clean), [0.75, -0.5]);
/// # Ok::<(), mm_diffusion::DiffusionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForwardProcess {
    /// The levels there are.
    pub schedule: Schedule,
    /// How often training sees each of them.
    pub timesteps: TimestepSampling,
    /// What the squared error is multiplied by at each of them.
    pub weight: LossWeight,
}

impl ForwardProcess {
    /// Makes the process of a schedule whose times are evenly spread and whose patches weigh alike.
    pub fn uniform(schedule: Schedule) -> Self {
        Self { schedule, timesteps: TimestepSampling::Uniform, weight: LossWeight::One }
    }

    /// Checks the three parts.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        self.schedule.validate()?;
        self.timesteps.validate()?;
        self.weight.validate()
    }

    /// Says how one image is noised in training: its level comes from a `uniform` number in [0, 1)
    /// and a standard `normal` one, of which one is used; `eps` is its standard normal noise.
    pub fn draw(&self, uniform: f64, normal: f64, eps: Vec<f32>) -> ImageNoise {
        let level = self.schedule.draw(&self.timesteps, uniform, normal);
        ImageNoise { level, eps, weight: self.weight.weight(&level) }
    }
}

/// How one image is noised.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageNoise {
    /// The level, whose timestep the network is told.
    pub level: Level,
    /// The noise e: as many standard normal numbers as the patches hold, none for a clean image.
    pub eps: Vec<f32>,
    /// What the squared error is multiplied by.
    pub weight: f64,
}

impl ImageNoise {
    /// Describes an image that is shown as it is.
    pub fn none(schedule: &Schedule) -> Self {
        Self { level: schedule.clean_level(), eps: vec![], weight: 0.0 }
    }

    /// Returns the patches that the network sees: s x + n e, or `clean` as it is where there is no
    /// noise. Panics if the noise has another length than `clean`.
    pub fn noisy(&self, clean: &[f32]) -> Vec<f32> {
        if self.eps.is_empty() {
            return clean.to_vec();
        }
        self.level.noised_patches(clean, &self.eps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_device_mix_alike() {
        let (clean, eps) = ([0.5, -1.0, 0.125], [1.5, 0.25, -2.0]);
        let level = Schedule::Su2024 { steps: 1000 }.level(300.0);
        let tensor = |numbers: [f32; 3]| Tensor::<3>::from_data([[numbers]], &Device::flex());
        let factor = |value: f64| Tensor::<3>::full([1, 1, 1], value, &Device::flex());
        let host = level.noised_patches(&clean, &eps);
        let shared = level.noised_tensor(tensor(clean), tensor(eps));
        let own = noised(tensor(clean), tensor(eps), factor(level.signal), factor(level.noise));
        for found in [shared.clone(), own] {
            let found = found.into_data().try_to_vec::<f32>().unwrap();
            assert!(
                found.iter().zip(&host).all(|(a, b)| (a - b).abs() < 1e-6),
                "{found:?} {host:?}"
            );
        }
        let found = level.eps_in(shared, tensor(clean)) - tensor(eps);
        assert!(found.abs().max().into_scalar::<f32>() < 1e-5);
    }

    #[test]
    fn each_image_has_its_own_level() {
        let device = Device::flex();
        let clean = Tensor::<3>::ones([2, 3, 4], &device);
        let eps = Tensor::<3>::full([2, 3, 4], -1.0, &device);
        let signal = Tensor::<3>::from_data([[[1.0]], [[0.25]]], &device);
        let noise = Tensor::<3>::from_data([[[0.0]], [[0.75]]], &device);
        let z = noised(clean, eps, signal, noise);
        let sums = z.sum_dims_squeeze::<1, _>(&[1, 2]).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(sums, [12.0, -6.0]);
    }

    #[test]
    fn a_clean_image_is_shown_bit_for_bit() {
        let clean = [-0.0, 1.0, f32::MIN_POSITIVE];
        let noise = ImageNoise::none(&Schedule::Su2024 { steps: 10 });
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(&noise.noisy(&clean)), bits(&clean));
        assert_eq!((noise.level.signal, noise.level.noise, noise.weight), (1.0, 0.0, 0.0));
    }
}
