//! The samplers by name, for recipes, flags and logs.

use std::fmt;
use std::str::FromStr;

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Denoise, DiffusionError, Level, Noise, ddim, ddpm, dpm_solver_pp_2m, dpm_solver_pp_2m_uncapped,
    euler, euler_maruyama, heun,
};

/// Names a sampler: `ddpm`, `ddim`, `ddim:0.5`, `dpm++2m`, `dpm++2m-uncapped`, `euler`, `heun` or
/// `euler-maruyama`, in recipes too.
///
/// ```
/// use mm_diffusion::Sampler;
///
/// let sampler: Sampler = "ddim:0.5".parse()?;
/// assert_eq!(sampler, Sampler::Ddim { eta: 0.5 });
/// assert_eq!(sampler.to_string(), "ddim:0.5");
/// # Ok::<(), mm_diffusion::DiffusionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(try_from = "String", into = "String")]
pub enum Sampler {
    /// [`ddpm`], ancestral sampling for hundreds of steps.
    Ddpm,
    /// [`ddim`], of first order.
    Ddim {
        /// The share of fresh noise: 0 is deterministic, 1 adds as much as ancestral sampling.
        eta: f64,
    },
    /// [`dpm_solver_pp_2m`], of second order at one network call a step.
    DpmSolverPp2m,
    /// [`dpm_solver_pp_2m_uncapped`], the same as in its paper.
    DpmSolverPp2mUncapped,
    /// [`euler`], of first order.
    Euler,
    /// [`heun`], of second order at two network calls a step.
    Heun,
    /// [`euler_maruyama`], stochastic, for a thousand steps.
    EulerMaruyama,
}

impl Sampler {
    /// Checks that `eta` is in [0, 1].
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let Sampler::Ddim { eta } = *self else { return Ok(()) };
        DiffusionError::unless((0.0..=1.0).contains(&eta), "eta", eta, "a number from 0 to 1")
    }

    /// Runs the sampler from the noise `x` over `levels`, noisiest first, to the clean end.
    ///
    /// Only [`ddpm`], [`euler_maruyama`], and [`ddim`] with `eta` above 0, ask for `noise`.
    ///
    /// `x`: `[batch, tokens, channels]` -> `[batch, tokens, channels]`.
    pub fn sample(
        &self,
        levels: &[Level],
        x: Tensor<3>,
        denoise: &mut Denoise<'_>,
        noise: &mut Noise<'_>,
    ) -> Tensor<3> {
        match *self {
            Sampler::Ddpm => ddpm(levels, x, denoise, noise),
            Sampler::Ddim { eta } => ddim(levels, x, eta, denoise, noise),
            Sampler::DpmSolverPp2m => dpm_solver_pp_2m(levels, x, denoise),
            Sampler::DpmSolverPp2mUncapped => dpm_solver_pp_2m_uncapped(levels, x, denoise),
            Sampler::Euler => euler(levels, x, denoise),
            Sampler::Heun => heun(levels, x, denoise),
            Sampler::EulerMaruyama => euler_maruyama(levels, x, denoise, noise),
        }
    }

    /// Returns how often the network is called in `steps` steps.
    ///
    /// ```
    /// use mm_diffusion::Sampler;
    /// assert_eq!(Sampler::Heun.calls_of_network(10), 19); // the last step is Euler's
    /// ```
    pub fn calls_of_network(&self, steps: usize) -> usize {
        match self {
            Sampler::Heun => (2 * steps).saturating_sub(1),
            Sampler::Ddpm
            | Sampler::Ddim { .. }
            | Sampler::DpmSolverPp2m
            | Sampler::DpmSolverPp2mUncapped
            | Sampler::Euler
            | Sampler::EulerMaruyama => steps,
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sampler::Ddpm => f.write_str("ddpm"),
            Sampler::Ddim { eta: 0.0 } => f.write_str("ddim"),
            Sampler::Ddim { eta } => write!(f, "ddim:{eta}"),
            Sampler::DpmSolverPp2m => f.write_str("dpm++2m"),
            Sampler::DpmSolverPp2mUncapped => f.write_str("dpm++2m-uncapped"),
            Sampler::Euler => f.write_str("euler"),
            Sampler::Heun => f.write_str("heun"),
            Sampler::EulerMaruyama => f.write_str("euler-maruyama"),
        }
    }
}

impl FromStr for Sampler {
    type Err = DiffusionError;

    fn from_str(text: &str) -> Result<Sampler, DiffusionError> {
        let unknown = || DiffusionError::Sampler { found: text.to_owned() };
        let sampler = match text {
            "ddpm" => Sampler::Ddpm,
            "ddim" => Sampler::Ddim { eta: 0.0 },
            "dpm++2m" => Sampler::DpmSolverPp2m,
            "dpm++2m-uncapped" => Sampler::DpmSolverPp2mUncapped,
            "euler" => Sampler::Euler,
            "heun" => Sampler::Heun,
            "euler-maruyama" => Sampler::EulerMaruyama,
            _ => {
                let eta = text.strip_prefix("ddim:").ok_or_else(unknown)?;
                Sampler::Ddim { eta: eta.parse().map_err(|_| unknown())? }
            }
        };
        sampler.validate()?;
        Ok(sampler)
    }
}

impl TryFrom<String> for Sampler {
    type Error = DiffusionError;

    fn try_from(text: String) -> Result<Sampler, DiffusionError> {
        text.parse()
    }
}

impl From<Sampler> for String {
    fn from(sampler: Sampler) -> String {
        sampler.to_string()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;
    use expect_test::expect;

    use super::*;
    use crate::Schedule;
    use crate::gaussian::{WIDE, rows};

    const ALL: [&str; 8] = [
        "ddpm",
        "ddim",
        "ddim:0.5",
        "dpm++2m",
        "dpm++2m-uncapped",
        "euler",
        "heun",
        "euler-maruyama",
    ];

    #[test]
    fn every_name_reads_back_as_itself() {
        for name in ALL {
            let sampler: Sampler = name.parse().unwrap();
            assert_eq!(sampler.to_string(), name);
            let json = serde_json::to_string(&sampler).unwrap();
            assert_eq!(json, format!("{name:?}"));
            assert_eq!(serde_json::from_str::<Sampler>(&json).unwrap(), sampler);
        }
    }

    #[test]
    fn unknown_names_and_etas_are_refused_with_the_names_that_exist() {
        let refused = |name: &str| name.parse::<Sampler>().unwrap_err().to_string();
        expect!["sampler is `plms`, wanted `ddpm`, `ddim`, `ddim:ETA` (ETA from 0 to 1), `dpm++2m`, `dpm++2m-uncapped`, `euler`, `heun` or `euler-maruyama`"]
            .assert_eq(&refused("plms"));
        expect!["`eta` is 1.5, wanted a number from 0 to 1"].assert_eq(&refused("ddim:1.5"));
        assert!("ddim:".parse::<Sampler>().is_err() && "ddim:NaN".parse::<Sampler>().is_err());
        assert!(serde_json::from_str::<Sampler>(r#""plms""#).is_err());
    }

    #[test]
    fn calls_of_network_are_as_announced() {
        let start = || rows(vec![0.3, -0.2, 0.1], DType::F32);
        for name in ALL {
            for steps in [0, 1, 2, 7] {
                let sampler: Sampler = name.parse().unwrap();
                let levels = if steps == 0 {
                    vec![]
                } else {
                    Schedule::Linear.sampling_levels(steps).unwrap()
                };
                let mut calls = 0;
                let mut denoise = |z: Tensor<3>, level: &Level| {
                    calls += 1;
                    WIDE.denoise(z, level)
                };
                sampler.sample(&levels, start(), &mut denoise, &mut |_| start());
                assert_eq!(calls, sampler.calls_of_network(steps), "{name}, {steps} steps");
            }
        }
    }
}
