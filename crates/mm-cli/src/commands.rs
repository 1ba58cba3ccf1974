//! The commands of `mm`: one file each, with its flags beside the code that uses them. Flags choose
//! the recipe, the device, the seed and the output; everything else is in the recipe or the model.

mod bench;
mod codec;
mod compare;
mod data;
mod devices;
mod distill;
mod draw;
mod edit;
mod eval;
mod export;
mod generate;
mod import;
mod init;
mod inspect;
mod interpolate;
mod plan;
mod read;
mod report;
mod sample;
#[cfg(feature = "serve")]
mod serve;
mod train;

use clap::{ArgMatches, CommandFactory, Parser, Subcommand};

use crate::terminal::{Failure, write_out};

/// Trains and runs one transformer that takes text and raw pixels, and gives text and raw pixels.
#[derive(Debug, Parser)]
#[command(name = "mm", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  mm train glyphs                                       trains the default recipe, in runs/glyphs
  mm draw runs/glyphs/model \"red K on yellow\" --out k.png
  mm read runs/glyphs/model k.png
  mm eval runs/glyphs/model --task draw                 counts the correct drawings";

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a recipe that fits a folder, shards, tables or documents.
    Init(init::InitArgs),
    /// Train a model as a recipe describes.
    Train(train::TrainArgs),
    /// Teach a copy of a model to draw in few steps, without a second branch for guidance.
    Distill(distill::DistillArgs),
    /// Continue a prompt of texts and images with texts and images.
    Generate(generate::GenerateArgs),
    /// Write a caption for each image.
    Read(read::ReadArgs),
    /// Draw an image for a caption.
    Draw(draw::DrawArgs),
    /// Edit an image: inpaint, outpaint, vary, enlarge, color, sharpen.
    Edit(edit::EditArgs),
    /// Draw images without a caption.
    Sample(sample::SampleArgs),
    /// Draw images between pairs of real images.
    Interpolate(interpolate::InterpolateArgs),
    /// Serve models over HTTP, in the form of the OpenAI API.
    #[cfg(feature = "serve")]
    Serve(serve::ServeArgs),
    /// Measure a model on held-out data.
    Eval(eval::EvalArgs),
    /// Encode, decode and measure with a trained codec of images.
    Codec(codec::CodecArgs),
    /// Describe a model folder, an image file, or a recipe and its data.
    Inspect(inspect::InspectArgs),
    /// List recipes, check data, and train tokenizers.
    Data(data::DataArgs),
    /// Measure the speed of training and sampling on this machine.
    Bench(bench::BenchArgs),
    /// Compare the results of every device with 64-bit reference results.
    #[command(name = "compare-backends")]
    Compare(compare::CompareArgs),
    /// Estimate the memory, the arithmetic and the time that a recipe needs.
    Plan(plan::PlanArgs),
    /// Write one HTML page about a run.
    Report(report::ReportArgs),
    /// List the devices of this machine.
    Devices(devices::DevicesArgs),
    /// Make a model folder from weights of another program.
    Import(import::ImportArgs),
    /// Write the weights of a model for another program.
    Export(export::ExportArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:
  mm completions bash > ~/.local/share/bash-completion/completions/mm
  mm completions fish > ~/.config/fish/completions/mm.fish")]
    Completions {
        /// The shell that will read the script.
        shell: clap_complete::Shell,
    },
}

impl Args {
    /// Runs the command; `matches` are the arguments in the order in which they were given.
    pub fn run(self, matches: &ArgMatches) -> Result<(), Failure> {
        match self.command {
            Command::Init(args) => init::run(&args),
            Command::Train(args) => train::run(&args),
            Command::Distill(args) => distill::run(&args),
            Command::Generate(args) => {
                let matches = matches.subcommand_matches("generate").expect("this was chosen");
                generate::run(&args, &generate::prompt_order(matches))
            }
            Command::Read(args) => read::run(&args),
            Command::Draw(args) => draw::run(&args),
            Command::Edit(args) => edit::run(&args),
            Command::Sample(args) => sample::run(&args),
            Command::Interpolate(args) => interpolate::run(&args),
            #[cfg(feature = "serve")]
            Command::Serve(args) => serve::run(&args),
            Command::Eval(args) => {
                eval::run(&args, matches.subcommand_matches("eval").expect("this was chosen"))
            }
            Command::Codec(args) => codec::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Data(args) => data::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Compare(args) => compare::run(&args),
            Command::Plan(args) => plan::run(&args),
            Command::Report(args) => report::run(&args),
            Command::Devices(args) => devices::run(&args),
            Command::Import(args) => import::run(&args),
            Command::Export(args) => export::run(&args),
            Command::Completions { shell } => {
                let mut script = vec![]; // clap itself panics where its reader is gone
                clap_complete::generate(shell, &mut Self::command(), "mm", &mut script);
                write_out(format_args!("{}", String::from_utf8_lossy(&script)));
                Ok(())
            }
        }
    }
}
