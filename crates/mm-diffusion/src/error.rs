//! What can be wrong with a schedule, a sampler or a loss weight that came from outside.

/// Why a diffusion process or a sampler was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusionError {
    /// The number of steps is zero, or more than the schedule has.
    #[error("`steps` is {found}, wanted 1 to {most}")]
    Steps {
        /// The number that was asked for.
        found: usize,
        /// The most steps there are.
        most: usize,
    },
    /// The distance of two step indices is zero or more than the schedule has.
    #[error("`stride` is {found}, wanted 1 to {most}")]
    Stride {
        /// The number that was asked for.
        found: usize,
        /// The number of indices.
        most: usize,
    },
    /// The first step index is not one of the schedule or leaves no room for the steps.
    #[error("the start index is {found}, wanted {least} to {most}")]
    Start {
        /// The number that was asked for.
        found: usize,
        /// The least index that has as many indices as steps.
        least: usize,
        /// The noisiest index.
        most: usize,
    },
    /// The timesteps of the schedule are not step indices.
    #[error("the schedule is linear, wanted one of step indices")]
    NoIndices,
    /// A number lies outside its range.
    #[error("`{name}` is {found}, wanted {wanted}")]
    Field {
        /// Names the field as a recipe spells it.
        name: &'static str,
        /// Its value.
        found: f64,
        /// Says the range in words.
        wanted: &'static str,
    },
    /// No sampler has this name.
    #[error(
        "sampler is `{found}`, wanted `ddpm`, `ddim`, `ddim:ETA` (ETA from 0 to 1), `dpm++2m`, `dpm++2m-uncapped`, `euler`, `heun` or `euler-maruyama`"
    )]
    Sampler {
        /// The name that was given.
        found: String,
    },
    /// No rule of guidance has this name.
    #[error(
        "guidance rule is `{found}`, wanted `cfg`, `cfg-zero`, `cfg-zero:UNTIL`, `rescaled:SHARE`, `apg`, `apg:PARALLEL`, `apg:PARALLEL:NORM` or `channels:GUIDED:ALL`"
    )]
    GuidanceRule {
        /// The name that was given.
        found: String,
    },
}

impl DiffusionError {
    /// Returns `Ok` where `holds` is true, else the error that names the field.
    pub(crate) fn unless(
        holds: bool,
        name: &'static str,
        found: f64,
        wanted: &'static str,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::Field { name, found, wanted }) }
    }
}
