//! Diffusion: noise levels, what the network predicts, loss weights, samplers and guidance.
//!
//! The forward process in five lines:
//!
//! ```text
//! x     clean patches, [batch, tokens, channels]: a token is a patch, its channels are the numbers
//! e     standard normal noise of the same shape
//! l     a Level, drawn from a Schedule: signal and noise, two numbers of an image
//! z     = l.signal * x + l.noise * e           what the network sees, with l.timestep
//! loss  = |network(z, l.timestep) - target|^2  target is e, x or x - e        (`Prediction`)
//! ```
//!
//! [`ForwardProcess`] draws the levels of training, and [`Level::noised_patches`],
//! [`Level::noised_tensor`] and [`noised`] mix patches and noise.
//!
//! A sampler goes the other way: it is given the noisiest `z`, and an estimate of `x` as a closure.
//! Here the data is normal, so that the best estimate is a formula instead of a network, and the
//! end is known:
//!
//! ```
//! use burn::prelude::*;
//! use mm_diffusion::{Level, Sampler, Schedule};
//!
//! let (mean, std) = (0.3, 0.5);
//! let mut denoise = |z: Tensor<3>, level: &Level| {
//!     let Level { signal, noise, .. } = *level;
//!     let gain = std * std * signal / (std * std * signal * signal + noise * noise);
//!     (z - mean * signal) * gain + mean
//! };
//! let mut noise = |_step: usize| -> Tensor<3> { unreachable!("this sampler draws no noise") };
//!
//! let levels = Schedule::Linear.sampling_levels(20)?;
//! let start = Tensor::<3>::ones([1, 1, 1], &Device::flex()); // one deviation above the mean
//! let sampler: Sampler = "dpm++2m".parse()?;
//! let image = sampler.sample(&levels, start, &mut denoise, &mut noise).into_scalar::<f32>();
//! assert!((f64::from(image) - (mean + std)).abs() < 0.01);
//! # Ok::<(), mm_diffusion::DiffusionError>(())
//! ```
//!
//! A sampler of your own is a function over such a closure; [`steps`] shows one.
//!
//! The numbers of a level are `f64` on the host; only patches are tensors. No random number is
//! drawn here: uniform and normal numbers are arguments. Networks, pixels and text are absent on
//! purpose.
#![forbid(unsafe_code)]

mod analytic;
mod error;
mod fields;
mod forward;
mod guidance;
mod inversion;
mod level;
mod likelihood;
mod prediction;
mod sampler;
mod samplers;
mod schedule;
mod timesteps;
mod weight;

#[cfg(test)]
mod gaussian;

pub use analytic::{Analytic, analytic_dpm, unexplained};
pub use error::DiffusionError;
pub use fields::no_fields;
pub use forward::{ForwardProcess, ImageNoise, noised};
pub use guidance::{Guidance, GuidanceRule};
pub use inversion::invert;
pub use level::Level;
pub use likelihood::{DenoiseTraced, bits_per_dimension, likelihood_levels, log_density};
pub use prediction::Prediction;
pub use sampler::Sampler;
pub use samplers::{
    Denoise, Noise, Step, ddim, ddpm, dpm_solver_pp_2m, dpm_solver_pp_2m_uncapped, euler,
    euler_maruyama, heun, steps,
};
pub use schedule::Schedule;
pub use timesteps::TimestepSampling;
pub use weight::LossWeight;

/// The example of the README, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
