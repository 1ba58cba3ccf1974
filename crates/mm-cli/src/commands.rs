//! One file a command: load, call one library function, write.

pub mod bench;
pub mod check;
pub mod compare;
pub mod data;
pub mod devices;
pub mod draw;
pub mod eval;
pub mod export;
pub mod generate;
pub mod import;
pub mod inspect;
pub mod interpolate;
pub mod plan;
mod quality;
pub mod read;
pub mod report;
pub mod sample;
pub mod train;

use std::path::Path;

use burn::prelude::Device;
use mm_diffusion::Guidance;
use mm_model::{GenerateOptions, LoadedModel};
use mm_text::TokenSampling;

use crate::args::SamplingArgs;
use crate::device;
use crate::report::Failure;

/// Loads a model folder, whose schedule must have the steps that are asked for.
fn load(model: &Path, sampling: &SamplingArgs) -> Result<LoadedModel, Failure> {
    let loaded = load_on(model, &device::open(&sampling.device)?)?;
    if let Some(steps) = sampling.steps {
        loaded.config.schedule.sampling_levels(steps).map_err(Failure::usage)?;
    }
    Ok(loaded)
}

/// A model folder.
fn load_on(model: &Path, device: &Device) -> Result<LoadedModel, Failure> {
    LoadedModel::load(model, device).map_err(|why| {
        let hint = match model.join("model").is_dir() {
            true => format!("did you mean `{}`?", model.join("model").display()),
            false => {
                "a model folder holds config.json, generation_config.json, model.safetensors and tokenizer.json".to_owned()
            }
        };
        Failure::failed(why).hint(hint)
    })
}

/// What kept the model of a folder from drawing or writing, and which model that was.
fn cannot_generate<E>(model: &Path) -> impl Fn(E) -> Failure
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |why| {
        let said = format!("cannot generate with `{}`", model.display());
        Failure::failed(anyhow::Error::new(why).context(said))
    }
}

/// Returns the model's settings of generation with those of the flags over them.
fn options(sampling: &SamplingArgs, model: &LoadedModel) -> GenerateOptions {
    let base = model.options(sampling.seed);
    GenerateOptions {
        tokens: TokenSampling {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
        },
        sampler: sampling.sampler.unwrap_or(base.sampler),
        steps: sampling.steps.unwrap_or(base.steps),
        guidance: Guidance {
            scale: sampling.guidance.unwrap_or(base.guidance.scale),
            ..base.guidance
        },
        seed: sampling.seed,
        max_tokens: sampling.max_tokens,
        ..base
    }
}
