//! Flags of `mm bench`.

use clap::{Parser, ValueEnum};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm bench
  mm bench --shape gau-256 --threads 1 --json")]
pub struct BenchArgs {
    /// What to time; may be given several times [default: all].
    #[arg(long, value_enum, value_name = "SHAPE")]
    pub shape: Vec<BenchShape>,
    /// Threads of the kernels [default: one a core].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Measured steps of each shape.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub steps: usize,
    /// Where to compute: auto, flex, vulkan, wgpu, metal, cuda:0.
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// Print one JSON object a shape.
    #[arg(long)]
    pub json: bool,
}

impl BenchArgs {
    /// The shapes asked for.
    pub fn shapes(&self) -> Vec<BenchShape> {
        if self.shape.is_empty() {
            BenchShape::value_variants().to_vec()
        } else {
            self.shape.clone()
        }
    }
}

/// What is timed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum BenchShape {
    /// Training: gated attention units, width 256, 8 layers, 32 images of 64 patches.
    #[value(name = "gau-256")]
    Gau64,
    /// Training: gated attention units, width 768, 2 layers, 4 images of 256 patches.
    #[value(name = "gau-768")]
    Gau768,
    /// Training: width 384, 6 layers, 4 packed rows of 512 tokens, text and images.
    Packed,
    /// Training: whole steps of the default recipe.
    Recipe,
    /// Drawing 16 images of 64 patches behind 24 tokens, 10 steps, guidance.
    Sampling,
}

impl BenchShape {
    /// The name of the flag's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gau64 => "gau-256",
            Self::Gau768 => "gau-768",
            Self::Packed => "packed",
            Self::Recipe => "recipe",
            Self::Sampling => "sampling",
        }
    }
}
