//! Flags of `mm plan`.

use clap::Parser;

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm plan glyphs
  mm plan big.toml --flops 3e14 --devices 8
  mm plan glyphs --set run.recompute=true --measure")]
pub struct PlanArgs {
    /// A recipe of `mm data recipes`, or a TOML file.
    pub recipe: String,
    /// Arithmetic that one device does in a second.
    #[arg(long, value_name = "F", default_value_t = 1e12)]
    pub flops: f64,
    /// Devices that share every batch.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub devices: usize,
    /// Replace one value of the recipe, such as model.backbone.depth=8.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Take some steps here and compare their memory and time with the plan.
    #[arg(long)]
    pub measure: bool,
    /// Where to take them: auto, flex, vulkan, wgpu, metal, cuda:0.
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}
