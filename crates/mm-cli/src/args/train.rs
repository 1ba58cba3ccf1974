//! Flags of `mm train`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm train glyphs --out runs/glyphs
  mm train glyphs --out runs/quick --minutes 5 --set optimizer.rate=0.001
  mm train my-pictures.toml --out runs/mine --device wgpu --max-bad 5%
  mm train my-pictures.toml --out runs/mine --devices cuda:0,cuda:1
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
    /// Train on several devices of this machine together, parted by commas: cuda:0,cuda:1.
    #[arg(long, value_name = "D,D", value_delimiter = ',', conflicts_with = "device")]
    pub devices: Vec<String>,
    /// How several devices add their gradients up.
    #[arg(long, value_enum, default_value_t, requires = "devices")]
    pub all_reduce: AllReduce,
    /// Seed of everything random, instead of the recipe's.
    #[arg(long, value_name = "S", conflicts_with = "resume")]
    pub seed: Option<u64>,
    /// Go on from the newest whole checkpoint of the run folder.
    #[arg(long, conflicts_with = "set")]
    pub resume: bool,
    /// Write TensorBoard event files into RUN/tensorboard too.
    #[arg(long)]
    pub tensorboard: bool,
    /// Show the run in a dashboard (feature `tui`); its key q ends the run as Ctrl-C does.
    #[arg(long)]
    pub tui: bool,
    /// Start at the weights of a model folder and with its tokenizer, instead of fresh ones.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub init: Option<PathBuf>,
    /// Share of the data that may be broken, such as 1% or 0.01, instead of the recipe's `data.max_bad`.
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "resume")]
    pub max_bad: Option<f64>,
    /// Keep less for the backward pass and compute blocks again (`run.recompute`).
    #[arg(long, conflicts_with = "resume")]
    pub recompute: bool,
    /// Replace one value of the recipe, such as optimizer.rate=0.001.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// How several devices add their gradients up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AllReduce {
    /// Over NCCL where it can, in host memory elsewhere.
    #[default]
    Auto,
    /// Over NVIDIA's library, from card to card.
    Nccl,
    /// In host memory, in the order of the devices.
    Host,
}

fn share(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim_end().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    };
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "wanted 0 to 1 such as 0.01, or 0% to 100% such as 1%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<TrainArgs, String> {
        let args = ["train", "glyphs", "--out", "x"].into_iter().chain(args.iter().copied());
        TrainArgs::try_parse_from(args).map_err(|why| why.to_string())
    }

    #[test]
    fn what_may_be_broken_is_a_share_or_a_percentage() {
        for (text, wanted) in [
            ("0", 0.0),
            ("0.01", 0.01),
            ("1", 1.0),
            ("1%", 0.01),
            ("2.5 %", 0.025),
            ("0%", 0.0),
            ("100%", 1.0),
        ] {
            assert_eq!(parsed(&["--max-bad", text]).unwrap().max_bad, Some(wanted), "{text}");
        }
        assert_eq!(parsed(&[]).unwrap().max_bad, None);
    }

    #[test]
    fn a_wrong_share_is_refused_with_the_flag_what_was_found_and_what_was_wanted() {
        for text in ["1.5", "101%", "-1", "-1%", "nan", "inf", "one", "%", "1%%"] {
            let said = parsed(&[&format!("--max-bad={text}")]).unwrap_err();
            let found = format!("'{text}'");
            for part in [found.as_str(), "--max-bad", "0 to 1 such as 0.01", "1%"] {
                assert!(said.contains(part), "`{part}` in: {said}");
            }
        }
    }
}
