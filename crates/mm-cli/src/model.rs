//! Model folders: opening one, and the flags that replace its settings of generation.

use std::path::Path;
use std::str::FromStr;

use burn::prelude::Device;
use clap::{Args, ValueEnum};
use mm_backbone::Precision;
use mm_diffusion::{Guidance, GuidanceRule, Sampler};
use mm_model::stored::LoadProgress;
use mm_model::{FolderError, GenerateOptions, LoadedModel};
use mm_text::TokenSampling;
use mm_train::did_you_mean;

use crate::device::DeviceArg;
use crate::loading::LoadingBar;
use crate::terminal::{Failure, usage};

/// Flags that choose the device and the seed.
#[derive(Debug, Args)]
pub struct CommonArgs {
    #[command(flatten)]
    pub device: DeviceArg,
    /// Seed of the noise and of the tokens.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Type that blocks multiply in [default: the model's].
    #[arg(long, value_enum, value_name = "TYPE")]
    precision: Option<PrecisionArg>,
}

/// The type that blocks multiply in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 32-bit floats.
    F32,
    /// Factors of products in 16 bits (bfloat16), for devices that calculate in them.
    Bf16,
    /// Factors of products in 16 bits (IEEE half precision), for devices that calculate in them.
    F16,
}

impl PrecisionArg {
    /// Returns the library's name of the type.
    pub fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::F16 => Precision::F16,
        }
    }
}

/// Flags that choose how images are drawn.
#[derive(Debug, Args)]
pub struct DrawingArgs {
    /// Number of denoising steps of an image [default: the model's].
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Sampler: ddpm, ddim, ddim:ETA, dpm++2m, dpm++2m-uncapped, euler, heun or euler-maruyama
    /// [default: the model's].
    #[arg(long, value_name = "S", value_parser = sampler)]
    sampler: Option<Sampler>,
    /// Scale of classifier-free guidance; 1 turns it off [default: the model's].
    #[arg(long, value_name = "G", value_parser = scale)]
    guidance: Option<f64>,
    /// Text that images shall not look like; guidance leads away from it.
    #[arg(long, value_name = "T", default_value = "")]
    negative: String,
    /// Rule of guidance: cfg, cfg-zero, cfg-zero:UNTIL, rescaled:SHARE, apg, apg:PARALLEL,
    /// apg:PARALLEL:NORM, channels:GUIDED:ALL [default: the model's].
    #[arg(long, value_name = "RULE")]
    guidance_rule: Option<GuidanceRule>,
    /// Interval of guidance, in signal fractions from 0 (noise) to 1 (image) [default: the
    /// model's].
    #[arg(long, value_name = "FROM..TO")]
    guidance_interval: Option<Interval>,
}

/// Flags that choose how tokens are chosen.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Temperature of the tokens; 0 always takes the most likely token.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    temperature: f32,
    /// Choose among the K most likely tokens.
    #[arg(long, value_name = "K", value_parser = top_k)]
    top_k: Option<usize>,
    /// Choose among the fewest tokens that have this probability together.
    #[arg(long, value_name = "P", value_parser = top_p)]
    top_p: Option<f32>,
    /// Leave out tokens whose probability is below this share of the highest.
    #[arg(long, value_name = "P", value_parser = min_p)]
    min_p: Option<f32>,
    /// Largest number of tokens to write.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
}

/// An interval of signal fractions, as a flag writes it: `FROM..TO`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Interval {
    from: f64,
    to: f64,
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text
            .split_once("..")
            .and_then(|(from, to)| Some(Self { from: from.parse().ok()?, to: to.parse().ok()? }));
        let right = |interval: &Self| 0.0 <= interval.from && interval.to <= 1.0;
        ends.filter(right)
            .filter(|interval| interval.from <= interval.to)
            .ok_or_else(|| "wanted FROM..TO such as 0.1..0.8, from 0 to 1".to_owned())
    }
}

/// Flags of commands that draw images and write text.
#[derive(Debug, Args)]
pub struct SamplingArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub drawing: DrawingArgs,
    #[command(flatten)]
    tokens: TokenArgs,
}

impl CommonArgs {
    /// Opens a model folder on the device that was asked for, to be asked and not trained.
    pub fn load(&self, folder: &Path) -> Result<LoadedModel, Failure> {
        let device = self.device.open()?;
        let mut model = load_to_ask(folder, &device)?;
        if let Some(precision) = self.precision {
            model.generation.precision = precision.precision();
        }
        let precision = model.generation.precision;
        if device.supports_dtype(precision.dtype()) {
            return Ok(model);
        }
        let why = usage!("{device:?} does not calculate in {}", precision.name());
        Err(why.hint("give `--precision f32`"))
    }
}

impl DrawingArgs {
    /// Fails if the schedule of the model does not have the steps that were asked for, or if a flag
    /// of guidance would do nothing.
    pub fn check(&self, model: &LoadedModel) -> Result<(), Failure> {
        self.check_guidance(model)?;
        if let Some(coded) = model.config.network.coded() {
            let steps = self.steps.is_some() && !coded.order.is_masked();
            let idle = [(steps, "--steps"), (self.sampler.is_some(), "--sampler")];
            if let Some((_, flag)) = idle.iter().find(|(given, _)| *given) {
                return Err(usage!("`{flag}` does nothing: this model writes images code by code"));
            }
            return Ok(());
        }
        if let Some(steps) = self.steps {
            model.config.schedule.sampling_levels(steps).map_err(Failure::usage)?;
        }
        Ok(())
    }

    fn check_guidance(&self, model: &LoadedModel) -> Result<(), Failure> {
        let given = [
            (!self.negative.is_empty(), "--negative"),
            (self.guidance_rule.is_some(), "--guidance-rule"),
            (self.guidance_interval.is_some(), "--guidance-interval"),
        ];
        let Some((_, flag)) = given.iter().find(|(given, _)| *given) else { return Ok(()) };
        let is_distilled = model.config.time.is_distilled();
        let is_off = self.guidance.unwrap_or(model.generation.guidance.scale) == 1.0;
        match *flag {
            // Refused where it is drawn, by any caller.
            "--negative" if is_distilled => Ok(()),
            flag if is_distilled => {
                Err(usage!("`{flag}` does nothing: this model is distilled, guidance is in it"))
            }
            flag if is_off => {
                let why = usage!("`{flag}` does nothing: a scale of 1 turns guidance off");
                Err(why.hint("give `--guidance 2`"))
            }
            _ => Ok(()),
        }
    }

    /// Replaces settings of generation where a flag was given.
    pub fn set(&self, base: GenerateOptions) -> GenerateOptions {
        let Guidance { scale, from, to, rule } = base.guidance;
        let Interval { from, to } = self.guidance_interval.unwrap_or(Interval { from, to });
        GenerateOptions {
            sampler: self.sampler.unwrap_or(base.sampler),
            steps: self.steps.unwrap_or(base.steps),
            guidance: Guidance {
                scale: self.guidance.unwrap_or(scale),
                from,
                to,
                rule: self.guidance_rule.unwrap_or(rule),
            },
            negative: self.negative.clone(),
            ..base
        }
    }
}

impl TokenArgs {
    /// Replaces settings of generation.
    pub fn set(&self, base: GenerateOptions) -> GenerateOptions {
        GenerateOptions {
            tokens: TokenSampling {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
            },
            max_tokens: self.max_tokens,
            ..base
        }
    }
}

impl SamplingArgs {
    /// Opens a model folder on the device that was asked for. Fails if the schedule of the model
    /// does not have the steps that were asked for.
    pub fn load(&self, folder: &Path) -> Result<LoadedModel, Failure> {
        let model = self.common.load(folder)?;
        self.drawing.check(&model)?;
        Ok(model)
    }

    /// Returns the model's settings of generation, replaced where a flag was given.
    pub fn options(&self, model: &LoadedModel) -> GenerateOptions {
        self.tokens.set(self.drawing.set(model.options(self.common.seed)))
    }
}

/// Parses a sampler, and guesses which one a misspelled word means.
fn sampler(text: &str) -> Result<Sampler, String> {
    text.parse().map_err(|why| format!("{why}{}", did_you_mean(text, SAMPLERS)))
}

/// Parses a number that is in a range of the same kind, or says what was wanted.
fn number<T: FromStr>(
    text: &str,
    right: impl FnOnce(&T) -> bool,
    wanted: &str,
) -> Result<T, String> {
    text.parse().ok().filter(right).ok_or_else(|| format!("wanted {wanted}"))
}

fn scale(text: &str) -> Result<f64, String> {
    let right = |scale: &f64| scale.is_finite() && *scale >= 0.0;
    number(text, right, "a finite number, not below 0")
}

fn temperature(text: &str) -> Result<f32, String> {
    let right = |temperature: &f32| temperature.is_finite() && *temperature >= 0.0;
    number(text, right, "a finite number, not below 0")
}

fn top_k(text: &str) -> Result<usize, String> {
    number(text, |count| *count >= 1, "a whole number from 1 on")
}

fn top_p(text: &str) -> Result<f32, String> {
    number(text, |share| 0.0 < *share && *share <= 1.0, "a share above 0, at most 1")
}

fn min_p(text: &str) -> Result<f32, String> {
    number(text, |share| (0.0..=1.0).contains(share), "a share from 0 to 1")
}

/// The samplers that have a name of their own.
pub const SAMPLERS: &[&str] =
    &["ddpm", "ddim", "dpm++2m", "dpm++2m-uncapped", "euler", "heun", "euler-maruyama"];

/// Opens a model folder.
pub fn load(folder: &Path, device: &Device) -> Result<LoadedModel, Failure> {
    let mut bar = LoadingBar::new("loading");
    let show = &mut |progress: LoadProgress| bar.show(progress.done, progress.all);
    LoadedModel::load_telling(folder, device, show).map_err(|why| no_model(folder, why))
}

/// Opens a model folder, to be asked and not trained: weights may stay in the type of their file.
pub fn load_to_ask(folder: &Path, device: &Device) -> Result<LoadedModel, Failure> {
    let mut bar = LoadingBar::new("loading");
    let show = &mut |progress: LoadProgress| bar.show(progress.done, progress.all);
    LoadedModel::load_to_ask_telling(folder, device, show).map_err(|why| no_model(folder, why))
}

/// Says what a model folder holds, beside the error of one that cannot be opened.
fn no_model(folder: &Path, why: FolderError) -> Failure {
    let inside = folder.join("model"); // a run folder has one
    let hint = if inside.is_dir() {
        format!("did you mean `{}`?", inside.display())
    } else if !folder.exists() {
        format!("there is no folder `{}`", folder.display())
    } else if is_published(folder) {
        format!("`mm import hf {} --out MODEL` reads models of other programs", folder.display())
    } else {
        "a model folder holds config.json, generation_config.json, model.safetensors and \
         tokenizer.json"
            .to_owned()
    };
    Failure::failed(why).hint(hint)
}

/// Says whether a folder looks like one of transformers or of diffusers.
fn is_published(folder: &Path) -> bool {
    let config = fs_err::read_to_string(folder.join("config.json")).unwrap_or_default();
    let names = ["\"architectures\"", "\"_class_name\""];
    folder.join("model_index.json").exists() || names.iter().any(|name| config.contains(name))
}

/// Names the model folder in an error of generation.
pub fn cannot_generate<E>(folder: &Path) -> impl Fn(E) -> Failure
where
    E: std::error::Error + Send + Sync + 'static,
{
    cannot("generate with", folder)
}

/// Names what cannot be done, such as "measure", and the model folder in an error of it.
pub fn cannot<E>(what: &str, folder: &Path) -> impl Fn(E) -> Failure
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |why| Failure::because(format!("cannot {what} `{}`", folder.display()), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flags_of_tokens_and_guidance_cannot_mean_is_refused() {
        assert_eq!(top_p("1"), Ok(1.0));
        assert_eq!(min_p("0"), Ok(0.0));
        assert_eq!(scale("0"), Ok(0.0));
        for wrong in ["0", "2", "-1", "nan", "a"] {
            assert_eq!(top_p(wrong), Err("wanted a share above 0, at most 1".to_owned()));
        }
        for wrong in ["-1", "nan", "inf", ""] {
            assert!(temperature(wrong).is_err() && scale(wrong).is_err(), "{wrong}");
        }
        assert_eq!(top_k("0"), Err("wanted a whole number from 1 on".to_owned()));
    }

    #[test]
    fn an_interval_of_guidance_is_two_fractions_in_order() {
        assert_eq!("0.25..1".parse(), Ok(Interval { from: 0.25, to: 1.0 }));
        for wrong in ["0.5", "0.5..0.25", "-1..1", "0..2", "NaN..1", "a..b", ".."] {
            assert!(wrong.parse::<Interval>().is_err(), "{wrong}");
        }
    }
}
