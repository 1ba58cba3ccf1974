//! Flags of `mm data check`.

use std::path::PathBuf;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm data check my-recipe.toml --sheet sheet.png
  mm data check pictures/ --size 128x128 --patch 8
  mm data check \"shards/train-{000..009}.tar\"")]
pub struct CheckArgs {
    /// A recipe, or a folder, or the names of .tar, .parquet, .jsonl or .txt files.
    pub source: String,
    /// Also write examples as one picture.
    #[arg(long, value_name = "FILE")]
    pub sheet: Option<PathBuf>,
    /// Width and height of pictures in pixels, where the source is no recipe.
    #[arg(long, value_name = "WxH", default_value = "64x64")]
    pub size: String,
    /// Patch side, where the source is no recipe.
    #[arg(long, value_name = "P", default_value_t = 8)]
    pub patch: usize,
    /// Print one JSON object for each source.
    #[arg(long)]
    pub json: bool,
    /// Replace a sheet that is there already.
    #[arg(long)]
    pub force: bool,
}
