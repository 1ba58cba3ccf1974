//! Flags, nothing else. They choose recipe, device, seed and output; everything else is in the recipe.

mod bench;
mod check;
mod compare;
mod data;
mod devices;
mod eval;
mod export;
mod generate;
mod import;
mod plan;
mod quality;
mod report;
mod sample;
mod sampling;
mod train;

pub use bench::{BenchArgs, BenchShape};
pub use check::CheckArgs;
pub use compare::CompareArgs;
pub use data::{DataArgs, DataCommand};
pub use devices::DevicesArgs;
pub use eval::{EvalArgs, Part, Task};
pub use export::{ExportArgs, ExportFormat};
pub use generate::{DrawArgs, GenerateArgs, Piece, ReadArgs, prompt_order};
pub use import::{ImportArgs, ImportFormat};
pub use plan::PlanArgs;
pub use quality::QualityArgs;
pub use report::ReportArgs;
pub use sample::{InterpolateArgs, Method, SampleArgs, WalkArgs};
pub use sampling::SamplingArgs;
pub use train::{AllReduce, TrainArgs};

use clap::{Parser, Subcommand};

/// One transformer that takes text and raw pixels in, and gives text and raw pixels out.
#[derive(Debug, Parser)]
#[command(name = "mm", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  mm train glyphs --out runs/glyphs                     train the default recipe
  mm draw runs/glyphs/model \"red K on yellow\" --out k.png
  mm read runs/glyphs/model k.png
  mm eval runs/glyphs/model --task draw                 how many drawings are right";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a recipe.
    Train(TrainArgs),
    /// Go on with a prompt of texts and images, in text and images.
    Generate(GenerateArgs),
    /// Say what is in images.
    Read(ReadArgs),
    /// Draw a caption.
    Draw(DrawArgs),
    /// Draw pictures that no caption describes.
    Sample(SampleArgs),
    /// Draw pictures between real ones.
    Interpolate(InterpolateArgs),
    /// Measure a model on examples it was never trained on.
    Eval(EvalArgs),
    /// Say what a model folder, an image or a recipe's data hold.
    Inspect(InspectArgs),
    /// Look at data and make tokenizers.
    Data(DataArgs),
    /// Time training and sampling on this machine.
    Bench(BenchArgs),
    /// Hold every device to the same numbers.
    #[command(name = "compare-backends")]
    Compare(CompareArgs),
    /// Say what a recipe costs before it is run: memory, arithmetic, time.
    Plan(PlanArgs),
    /// Show a run as one HTML page.
    Report(ReportArgs),
    /// List what this machine can compute on.
    Devices(DevicesArgs),
    /// Make a model folder of weights from elsewhere.
    Import(ImportArgs),
    /// Write a model's weights for elsewhere.
    Export(ExportArgs),
    /// Print a completion script.
    Completions {
        /// The shell that will read it.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  mm inspect runs/glyphs/model\n  mm inspect photo.jpg --patch 16\n  mm inspect emoji-32"
)]
pub struct InspectArgs {
    /// A model folder, an image file, or a recipe.
    pub what: String,
    /// Patch side for an image.
    #[arg(long, value_name = "P", default_value_t = 16)]
    pub patch: usize,
}
