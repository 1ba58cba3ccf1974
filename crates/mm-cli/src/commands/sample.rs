//! `mm sample`: images without a caption, by any sampler.

mod analytic;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser};
use mm_data::{Captions, DataConfig, FolderConfig};
use mm_diffusion::{Analytic, DiffusionError, Level, Sampler};
use mm_eval::{image_table, magnified, square_cols};
use mm_model::{LoadedModel, SamplingPlan};
use mm_patch::{Grid, Image};
use mm_train::checkpoint::recipe_beside;
use mm_train::{Recipe, did_you_mean};

use super::draw::grid;
use crate::device::DeviceArg;
use crate::files::{
    Size, at_least_one, format_of, free_file, most_of, pixels_of, within, write_image_with,
};
use crate::metadata::{Metadata, MetadataArgs};
use crate::model::{SAMPLERS, cannot_generate, load};
use crate::recipes;
use crate::terminal::{Failure, say, usage};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm sample faces --out a.png                                1000 steps of DDPM, a table of 4 x 4
  mm sample faces --out b.png --sampler ddim --stride 100    10 steps from step index 900
  mm sample faces --out c.png --sampler analytic --steps 10 --real images
  mm sample faces --out d.png --sampler dpm++2m --steps 20 --start 999")]
pub struct SampleArgs {
    /// Model folder.
    model: PathBuf,
    /// Image file to write: png, jpg, webp or bmp. It is a table of all images.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Number of images to draw.
    #[arg(long, value_name = "N", default_value_t = 16)]
    count: usize,
    /// Number of columns of the table [default: as many as rows].
    #[arg(long, value_name = "K")]
    cols: Option<usize>,
    /// Width and height in pixels [default: the model's].
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Distance between the step indices of two denoising steps, instead of their number.
    #[arg(long, value_name = "N", conflicts_with_all = ["start", "steps"])]
    stride: Option<usize>,
    /// Step index to start from; the steps are spread evenly from there to 0.
    #[arg(long, value_name = "INDEX")]
    start: Option<usize>,
    #[command(flatten)]
    denoise: DenoiseArgs,
}

/// Flags of `mm sample` and `mm interpolate`: how images without a caption are denoised.
#[derive(Debug, Args)]
pub struct DenoiseArgs {
    /// Sampler: ddpm, ddim, ddim:ETA, analytic, analytic:ETA, dpm++2m, dpm++2m-uncapped,
    /// euler or heun [default: the model's].
    #[arg(long, value_name = "S")]
    sampler: Option<Method>,
    /// Number of denoising steps [default: the model's for the model's sampler; else all for ddpm,
    /// and 10 for other samplers].
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Number of batches of training images on which `analytic` measures the network at each noise
    /// level; the measurement is kept in the model folder [default: 5].
    #[arg(long, value_name = "N")]
    batches: Option<usize>,
    /// Folder of these training images, without captions [default: the recipe's data].
    #[arg(long, value_name = "DIR")]
    real: Option<PathBuf>,
    /// Recipe that names these training images [default: the one in the model folder].
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,
    /// Factor by which every pixel is magnified.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub zoom: usize,
    /// Seed of the noise.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    device: DeviceArg,
    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    metadata: MetadataArgs,
}

/// A sampler of the command line.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    /// A sampler that needs only the network.
    Plain(Sampler),
    /// Analytic-DPM (Bao et al. 2022, arXiv:2201.06503), with the η of its DDIM.
    Analytic { eta: f64 },
}

/// All samplers, in words.
const KNOWN: &str = "`ddpm`, `ddim`, `ddim:ETA`, `analytic`, `analytic:ETA` (ETA from 0 to 1), \
                     `dpm++2m`, `dpm++2m-uncapped`, `euler`, `heun` or `euler-maruyama`";

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(sampler) => sampler.fmt(f),
            Self::Analytic { eta: 1.0 } => f.write_str("analytic"),
            Self::Analytic { eta } => write!(f, "analytic:{eta}"),
        }
    }
}

impl DenoiseArgs {
    /// Fails if a flag was given that the sampler does not use.
    fn check(&self, method: Method) -> Result<(), Failure> {
        if matches!(method, Method::Analytic { .. }) {
            return Ok(());
        }
        for (flag, given) in [
            ("--batches", self.batches.is_some()),
            ("--real", self.real.is_some()),
            ("--recipe", self.recipe.is_some()),
        ] {
            if given {
                return Err(usage!("`{flag}` does nothing with the sampler {method}")
                    .hint("it is for `--sampler analytic`, which measures training images"));
            }
        }
        Ok(())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = |why: DiffusionError| match why {
            DiffusionError::Sampler { .. } => {
                let names = [SAMPLERS, &["analytic"]].concat();
                format!("sampler is `{text}`, wanted {KNOWN}{}", did_you_mean(text, &names))
            }
            other => other.to_string(),
        };
        let Some(rest) = text.strip_prefix("analytic") else {
            return text.parse::<Sampler>().map(Self::Plain).map_err(words);
        };
        if rest.is_empty() {
            return Ok(Self::Analytic { eta: 1.0 });
        }
        match format!("ddim{rest}").parse::<Sampler>().map_err(words)? {
            Sampler::Ddim { eta } => Ok(Self::Analytic { eta }),
            _ => unreachable!("ddim is ddim"),
        }
    }
}

pub fn run(args: &SampleArgs) -> Result<(), Failure> {
    free_file(&args.out, args.denoise.force)?;
    format_of(&args.out)?;
    at_least_one("--count", args.count)?;
    at_least_one("--zoom", args.denoise.zoom)?;
    at_least_one("--cols", args.cols.unwrap_or(1))?;
    let denoiser = Denoiser::open(&args.model, &args.denoise)?;
    let grid = grid(args.size, &denoiser.model)?;
    let cols = columns(args, grid)?;
    let schedule = denoiser.model.config.schedule;
    let steps = denoiser.steps(schedule.steps());
    let levels = match (args.stride, args.start, args.denoise.steps) {
        (Some(stride), ..) => schedule.strided_levels(stride),
        (None, Some(start), Some(steps)) => schedule.levels_from(start, steps),
        (None, Some(start), None) => {
            schedule.levels_from(start, steps.min(start.saturating_add(1)))
        }
        (None, None, _) => schedule.sampling_levels(steps),
    };
    let levels = levels.map_err(|why| wrong_steps(args, why))?;
    let drawn = denoiser.run(&levels, |plan| {
        let drawn = denoiser.model.sample(grid, 0..args.count as u64, plan, args.denoise.seed);
        drawn.map_err(cannot_generate(&args.model))
    })?;
    let table = magnified(&image_table(&drawn, cols), args.denoise.zoom);
    let metadata = denoiser.metadata(levels.len()).size(grid).with("Images", args.count);
    denoiser.write(&args.out, &table, &metadata)
}

/// Says what is wrong with the steps, by the flags that chose them.
fn wrong_steps(args: &SampleArgs, why: DiffusionError) -> Failure {
    let DiffusionError::Start { found, least, most } = why else { return Failure::usage(why) };
    match args.denoise.steps {
        Some(steps) => usage!(
            "`--start {found}` with `--steps {steps}`, wanted an index from {least} to {most}"
        ),
        None => usage!("`--start {found}`, wanted an index from 0 to {most}"),
    }
}

/// Returns the number of columns of the table, which must not be larger than an image may be.
fn columns(args: &SampleArgs, grid: Grid) -> Result<usize, Failure> {
    let pixels = pixels_of(grid);
    within("--count", args.count, most_of(pixels))?;
    let cols = args.cols.unwrap_or_else(|| square_cols(args.count)).min(args.count);
    let table = pixels * cols * args.count.div_ceil(cols);
    within("--zoom", args.denoise.zoom, most_of(table).isqrt())?;
    Ok(cols)
}

/// A model with the sampler that was asked for, and the recipe that names its training images.
pub struct Denoiser<'a> {
    pub model: LoadedModel,
    recipe: Option<Recipe>,
    folder: &'a Path,
    args: &'a DenoiseArgs,
    method: Method,
}

impl<'a> Denoiser<'a> {
    /// Opens a model folder.
    pub fn open(folder: &'a Path, args: &'a DenoiseArgs) -> Result<Self, Failure> {
        let model = load(folder, &args.device.open()?)?;
        let method = args.sampler.unwrap_or(Method::Plain(model.generation.sampler));
        args.check(method)?;
        let mut recipe = match &args.recipe {
            Some(name) => Some(recipes::find(name)?),
            None => recipe_beside(folder)?,
        };
        if let (Some(recipe), Some(real)) = (&mut recipe, &args.real) {
            let real = FolderConfig::of(fs_err::canonicalize(real)?);
            recipe.data = DataConfig::Folder(FolderConfig { captions: Captions::None, ..real });
        }
        Ok(Self { model, recipe, folder, args, method })
    }

    /// Returns what a PNG file tells of how its images were drawn.
    pub fn metadata(&self, steps: usize) -> Metadata {
        Metadata::new().model(self.folder).sampling(self.method, steps, self.args.seed)
    }

    /// Writes an image and prints the name of its file.
    pub fn write(&self, out: &Path, image: &Image, metadata: &Metadata) -> Result<(), Failure> {
        write_image_with(out, image, metadata.texts(&self.args.metadata))?;
        say!("{}", out.display());
        Ok(())
    }

    /// Returns the number of steps that was asked for. The default is the model's own number for
    /// the model's own sampler; for others it is all indices for DDPM, and else 10.
    fn steps(&self, all: Option<usize>) -> usize {
        if let Some(steps) = self.args.steps {
            return steps;
        }
        let own = &self.model.generation;
        match self.method {
            Method::Plain(sampler) if own.sampler == sampler => own.steps,
            Method::Plain(Sampler::Ddpm) => all.unwrap_or(1000),
            _ => 10,
        }
    }

    /// Calls `draw` with the plan over `levels`. For Analytic-DPM, this first measures (or reads
    /// from the model folder) the variance that the network leaves unexplained.
    pub fn run<T>(
        &self,
        levels: &[Level],
        draw: impl FnOnce(SamplingPlan<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self.method {
            Method::Plain(sampler) => {
                draw(SamplingPlan { levels, method: mm_model::SamplingMethod::Plain(sampler) })
            }
            Method::Analytic { eta } => {
                let unexplained = analytic::unexplained_at(self, levels)?;
                let analytic = Analytic { eta, unexplained: &unexplained };
                draw(SamplingPlan { levels, method: mm_model::SamplingMethod::Analytic(analytic) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn analytic_is_a_method_with_an_eta_of_its_own() {
        assert_eq!("analytic".parse(), Ok(Method::Analytic { eta: 1.0 }));
        assert_eq!("analytic:0.5".parse(), Ok(Method::Analytic { eta: 0.5 }));
        assert_eq!("ddim:0.5".parse(), Ok(Method::Plain(Sampler::Ddim { eta: 0.5 })));
        for wrong in ["analytics", "analytic:", "analytic:x", "plms"] {
            let said = wrong.parse::<Method>().unwrap_err();
            assert!(said.starts_with(&format!("sampler is `{wrong}`, wanted {KNOWN}")), "{said}");
        }
        assert!("analytics".parse::<Method>().unwrap_err().ends_with(", did you mean `analytic`?"));
        for text in ["analytic", "analytic:0.5", "ddim:0.5", "dpm++2m"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        let said = "analytic:2".parse::<Method>().unwrap_err();
        assert_eq!(said, "`eta` is 2, wanted a number from 0 to 1");
    }
}
