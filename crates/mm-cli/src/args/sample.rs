//! Flags of `mm sample` and `mm interpolate`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser};
use mm_diffusion::{DiffusionError, Sampler};

/// Which way from noise to image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// A sampler that needs nothing but the network.
    Plain(Sampler),
    /// Analytic-DPM, with the η of its DDIM.
    Analytic { eta: f64 },
}

/// All methods, in words.
const KNOWN: &str = "`ddpm`, `ddim`, `ddim:ETA`, `analytic`, `analytic:ETA` (ETA from 0 to 1), `dpm++2m`, `euler` or `heun`";

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = |why: DiffusionError| match why {
            DiffusionError::Sampler { .. } => format!("sampler is `{text}`, wanted {KNOWN}"),
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

/// How images are denoised, and where they go.
#[derive(Debug, ClapArgs)]
pub struct WalkArgs {
    /// ddpm, ddim, ddim:ETA, analytic, analytic:ETA, dpm++2m, euler or heun.
    #[arg(long, value_name = "S")]
    pub sampler: Option<Method>,
    /// Denoising steps.
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Batches of training pictures that `analytic` measures the network on at each level; kept beside the model.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub batches: usize,
    /// A folder of those pictures, without captions [default: the recipe's data].
    #[arg(long, value_name = "DIR")]
    pub real: Option<PathBuf>,
    /// The recipe that names those pictures [default: the one beside the model].
    #[arg(long, value_name = "RECIPE")]
    pub recipe: Option<String>,
    /// Magnify every pixel by this factor.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub zoom: usize,
    /// Seed of the noise.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Where to compute: auto, flex, vulkan, wgpu, metal, cuda:0.
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// Replace a file that is there already.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm sample faces --out a.png                                1000 steps of DDPM, a table of 4 x 4
  mm sample faces --out b.png --sampler ddim --stride 100    from step index 900 in 10 steps
  mm sample faces --out c.png --sampler analytic --steps 10 --real pictures
  mm sample faces --out d.png --sampler dpm++2m --steps 20 --start 999")]
pub struct SampleArgs {
    /// The model folder.
    pub model: PathBuf,
    /// The picture, png, jpg, webp or bmp by its ending: a table of all that were drawn.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Pictures to draw.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub count: usize,
    /// Pictures in a row [default: as many as rows].
    #[arg(long, value_name = "K")]
    pub cols: Option<usize>,
    /// Width and height in pixels [default: the recipe's].
    #[arg(long, value_name = "WxH")]
    pub size: Option<String>,
    /// Step indices from one step to the next, instead of a number of steps.
    #[arg(long, value_name = "N", conflicts_with_all = ["start", "steps"])]
    pub stride: Option<usize>,
    /// The step index to start from; the steps are spread evenly from there to 0.
    #[arg(long, value_name = "INDEX")]
    pub start: Option<usize>,
    #[command(flatten)]
    pub walk: WalkArgs,
}

#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  mm interpolate faces a.png b.png c.png d.png --cols 8 --noise-step 500 --out mixed.png"
)]
pub struct InterpolateArgs {
    /// The model folder.
    pub model: PathBuf,
    /// Pictures in pairs; each pair is a row.
    #[arg(required = true, num_args = 2..)]
    pub images: Vec<PathBuf>,
    /// The picture, png, jpg, webp or bmp by its ending.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Pictures between the two of a pair.
    #[arg(long, value_name = "K", default_value_t = 8)]
    pub cols: usize,
    /// The step index that mixed pictures are noised to; denoising starts one below.
    #[arg(long, value_name = "INDEX", default_value_t = 500)]
    pub noise_step: usize,
    #[command(flatten)]
    pub walk: WalkArgs,
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
            assert_eq!(said, format!("sampler is `{wrong}`, wanted {KNOWN}"));
        }
        let said = "analytic:2".parse::<Method>().unwrap_err();
        assert_eq!(said, "`eta` is 2, wanted a number from 0 to 1");
    }
}
