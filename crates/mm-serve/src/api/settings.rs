//! The settings of generation that a request may give, checked field by field.

use mm_model::{GenerateOptions, LoadedModel};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::{ApiError, beginning};
use crate::id::random_seed;
use crate::state::Limits;

/// One string or several.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "wanted a string or a list of strings")]
pub(crate) enum Strings {
    One(String),
    Several(Vec<String>),
}

/// Settings that a request gives; without one, the model's own stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u64>,
    pub min_p: Option<f64>,
    pub seed: Option<i64>,
    pub stop: Option<Strings>,
    pub steps: Option<u64>,
    pub guidance: Option<f64>,
    pub sampler: Option<String>,
    pub negative_prompt: Option<String>,
    pub max_images: Option<u64>,
    pub max_tokens: Option<u64>,
    /// The name under which the request gave `max_tokens`.
    pub max_tokens_field: &'static str,
}

/// The most stop strings.
const STOPS: usize = 4;
/// The longest text that is not part of the conversation, in bytes.
const LONGEST: usize = 4096;
/// The strongest guidance. Images are long burnt out there.
const MOST_GUIDANCE: f64 = 100.0;

impl Settings {
    /// Returns the model's settings, replaced where the request gave one.
    pub fn options(
        &self,
        model: &LoadedModel,
        limits: &Limits,
    ) -> Result<GenerateOptions, ApiError> {
        let mut options = model.options(self.seed());
        options.max_patches = options.max_patches.min(limits.patches);
        options.max_images = options.max_images.min(limits.drawn);
        options.max_tokens = options.max_tokens.min(limits.tokens);
        self.set_text(&mut options, limits)?;
        self.set_drawing(&mut options, model, limits)?;
        Ok(options)
    }

    /// Returns the seed that the request gave, or one by chance.
    fn seed(&self) -> u64 {
        self.seed.map_or_else(random_seed, i64::cast_unsigned)
    }

    fn set_text(&self, options: &mut GenerateOptions, limits: &Limits) -> Result<(), ApiError> {
        if let Some(heat) = self.temperature {
            options.tokens.temperature = number("temperature", heat, 0.0, 2.0)? as f32;
        }
        if let Some(top_p) = self.top_p {
            // OpenAI takes 0 for the likeliest token alone.
            let top_p = number("top_p", top_p, 0.0, 1.0)? as f32;
            options.tokens.top_p = Some(top_p.max(f32::MIN_POSITIVE));
        }
        if let Some(min_p) = self.min_p {
            options.tokens.min_p = Some(number("min_p", min_p, 0.0, 1.0)? as f32);
        }
        if let Some(top_k) = self.top_k {
            options.tokens.top_k = Some(count("top_k", top_k, 1, 1_000_000)?);
        }
        if let Some(tokens) = self.max_tokens {
            options.max_tokens = count(self.max_tokens_field, tokens, 1, limits.tokens)?;
        }
        options.stop = match &self.stop {
            None => vec![],
            Some(Strings::One(stop)) => vec![stop.clone()],
            Some(Strings::Several(stops)) => stops.clone(),
        };
        let stops = &options.stop;
        if stops.len() > STOPS {
            let why = format!("`stop` has {} strings, wanted at most {STOPS}", stops.len());
            return Err(ApiError::invalid("stop", why));
        }
        if stops.iter().any(|stop| stop.is_empty() || stop.len() > LONGEST) {
            let why = format!("`stop` has a string of no bytes or of more than {LONGEST}");
            return Err(ApiError::invalid("stop", why));
        }
        Ok(())
    }

    fn set_drawing(
        &self,
        options: &mut GenerateOptions,
        model: &LoadedModel,
        limits: &Limits,
    ) -> Result<(), ApiError> {
        let Self { steps, sampler, guidance, .. } = self;
        Denoising { steps: *steps, sampler: sampler.as_deref(), guidance: *guidance }
            .set(options, model, limits)?;
        if let Some(negative) = &self.negative_prompt {
            if negative.len() > LONGEST {
                let why = format!("`negative_prompt` has more than {LONGEST} bytes");
                return Err(ApiError::invalid("negative_prompt", why));
            }
            options.negative.clone_from(negative);
        }
        if let Some(images) = self.max_images {
            options.max_images = count("max_images", images, 0, limits.drawn)?;
        }
        Ok(())
    }
}

/// How a request wants images to be denoised; without a field, the model's own stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Denoising<'a> {
    pub steps: Option<u64>,
    pub sampler: Option<&'a str>,
    pub guidance: Option<f64>,
}

impl Denoising<'_> {
    /// Replaces the model's settings where a field was given.
    pub fn set(
        self,
        options: &mut GenerateOptions,
        model: &LoadedModel,
        limits: &Limits,
    ) -> Result<(), ApiError> {
        if let Some(steps) = self.steps {
            options.steps = count("steps", steps, 1, limits.steps)?;
            let right = model.config.schedule.sampling_levels(options.steps);
            let wrong = |why| ApiError::invalid("steps", format!("`steps` is {steps}: {why}"));
            right.map_err(wrong)?;
        }
        if let Some(sampler) = self.sampler {
            let wrong = |why| {
                let found = beginning(sampler);
                ApiError::invalid("sampler", format!("`sampler` is {found}: {why}"))
            };
            options.sampler = sampler.parse().map_err(wrong)?;
        }
        if let Some(scale) = self.guidance {
            options.guidance.scale = number("guidance", scale, 0.0, MOST_GUIDANCE)?;
        }
        Ok(())
    }
}

/// Returns a number that is finite and in its range.
pub(crate) fn number(field: &str, found: f64, least: f64, most: f64) -> Result<f64, ApiError> {
    if (least..=most).contains(&found) {
        return Ok(found);
    }
    Err(ApiError::invalid(field, format!("`{field}` is {found}, wanted {least} to {most}")))
}

/// Returns a count that is in its range.
pub(crate) fn count(field: &str, found: u64, least: u64, most: usize) -> Result<usize, ApiError> {
    match usize::try_from(found) {
        Ok(count) if found >= least && count <= most => Ok(count),
        _ => {
            let why = format!("`{field}` is {found}, wanted {least} to {most}");
            Err(ApiError::invalid(field, why))
        }
    }
}
