//! Flags of `mm train`.

use std::path::PathBuf;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm train glyphs --out runs/glyphs
  mm train glyphs --out runs/quick --minutes 5 --set optimizer.rate=0.001
  mm train my-pictures.toml --out runs/mine --device wgpu
  mm train --out runs/glyphs --resume
  mm train mine.toml --init runs/glyphs/model --out runs/mine --set optimizer.lora.rank=8")]
pub struct TrainArgs {
    /// A recipe of `mm data recipes`, or a TOML file; left out with --resume.
    #[arg(required_unless_present = "resume")]
    pub recipe: Option<String>,
    /// The run folder: metrics, samples, checkpoints and the model.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Optimizer steps, instead of the recipe's.
    #[arg(long, value_name = "N", conflicts_with_all = ["minutes", "resume"])]
    pub steps: Option<u64>,
    /// As many steps as fit this time; the speed is measured first.
    #[arg(long, value_name = "M", conflicts_with = "resume")]
    pub minutes: Option<f64>,
    /// Where to compute: auto, flex, vulkan, wgpu, metal, cuda:0.
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// Seed of everything random, instead of the recipe's.
    #[arg(long, value_name = "S", conflicts_with = "resume")]
    pub seed: Option<u64>,
    /// Go on from the newest whole checkpoint of the run folder.
    #[arg(long, conflicts_with = "set")]
    pub resume: bool,
    /// Write TensorBoard event files into RUN/tensorboard too.
    #[arg(long)]
    pub tensorboard: bool,
    /// Start at the weights of a model folder and with its tokenizer, instead of fresh ones.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub init: Option<PathBuf>,
    /// Keep less for the backward pass and compute blocks again (`run.recompute`).
    #[arg(long, conflicts_with = "resume")]
    pub recompute: bool,
    /// Replace one value of the recipe, such as optimizer.rate=0.001.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}
