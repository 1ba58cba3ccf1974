//! Flags of `mm eval`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use mm_data::Split;

use super::{QualityArgs, SamplingArgs};

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Task {
    /// Captions read word for word.
    Read,
    /// Glyphs drawn, judged by the nearest template.
    Draw,
    /// Losses.
    Loss,
    /// What the seed author's own layers compute, against an imported network: see --golden.
    Golden,
    /// Fréchet distance of features of drawings and of real pictures.
    Fid,
    /// Kernel distance of features of drawings and of real pictures.
    Kid,
    /// Bits per dimension of pictures by the probability-flow equation.
    Bpd,
    /// Each drawing beside its nearest training picture.
    Nearest,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Part {
    /// Never trained on.
    HeldOut,
    /// Trained on.
    Train,
}

impl From<Part> for Split {
    fn from(part: Part) -> Self {
        match part {
            Part::HeldOut => Self::HeldOut,
            Part::Train => Self::Train,
        }
    }
}

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm eval runs/glyphs/model --task read --count 200
  mm eval runs/faces/model --task kid --real faces --features judge.onnx --count 500
  mm eval runs/faces/model --task nearest --count 36 --out nearest.png
  mm eval runs/faces/model --task bpd --count 64 --steps 100
  mm eval faces --task golden --golden golden.safetensors")]
pub struct EvalArgs {
    /// The model folder.
    pub model: PathBuf,
    /// What to measure.
    #[arg(long, value_enum)]
    pub task: Task,
    /// Examples.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub count: usize,
    /// Which part of the data [default: held-out; fid, kid and nearest: train].
    #[arg(long, value_enum)]
    pub part: Option<Part>,
    /// The recipe that names the data [default: the one beside the model].
    #[arg(long, value_name = "RECIPE")]
    pub recipe: Option<String>,
    /// For --task golden: a safetensors file of inputs, outputs and gradients.
    #[arg(long, value_name = "FILE", required_if_eq("task", "golden"))]
    pub golden: Option<PathBuf>,
    /// For --task golden: the largest relative difference that passes.
    #[arg(long, value_name = "T", default_value_t = 1e-4, value_parser = tolerance)]
    pub tolerance: f64,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub quality: QualityArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let wanted = || "wanted a finite number, at least 0".to_owned();
    let found: f64 = text.parse().map_err(|_| wanted())?;
    if found >= 0.0 && found.is_finite() { Ok(found) } else { Err(wanted()) }
}
