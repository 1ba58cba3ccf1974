//! Flags, nothing else. They choose recipe, device, seed and output; everything else is in the recipe.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use mm_diffusion::Sampler;
use mm_train::data::Split;

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
    /// Measure a model on examples it was never trained on.
    Eval(EvalArgs),
    /// Say what a model folder, an image or a recipe's data hold.
    Inspect(InspectArgs),
    /// Look at data and make tokenizers.
    Data(DataArgs),
    /// Time training and sampling on this machine.
    Bench(BenchArgs),
    /// Print a completion script.
    Completions {
        /// The shell that will read it.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm train glyphs --out runs/glyphs
  mm train glyphs --out runs/quick --minutes 5 --set optimizer.rate=0.001
  mm train my-pictures.toml --out runs/mine --device wgpu
  mm train --out runs/glyphs --resume")]
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
    /// Replace one value of the recipe, such as optimizer.rate=0.001.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// How images are drawn and tokens chosen.
#[derive(Debug, Parser)]
pub struct SamplingArgs {
    /// Where to compute: auto, flex, vulkan, wgpu, metal, cuda:0.
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// Denoising steps of an image [default: the recipe's, or 10].
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// ddpm, ddim, ddim:ETA, dpm++2m, euler or heun [default: the recipe's, or euler].
    #[arg(long, value_name = "S")]
    pub sampler: Option<Sampler>,
    /// How much an image is drawn towards its prompt; 1 is not at all [default: the recipe's, or 3].
    #[arg(long, value_name = "G")]
    pub guidance: Option<f64>,
    /// Seed of the noise and of the tokens.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// 0 always takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f32,
    /// Choose among the K likeliest tokens.
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Choose among the fewest tokens that together have this probability.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Leave out tokens less likely than this share of the likeliest.
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,
    /// Most tokens to write.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_tokens: usize,
}

#[derive(Debug, Parser)]
#[command(after_help = "Texts and images are taken in the order in which they stand. Examples:
  mm generate runs/glyphs/model --text \"red K on yellow\" --out made
  mm generate runs/glyphs/model --image a.png --image b.png
  mm generate runs/glyphs/model --image a.png --text \"red\" --json")]
pub struct GenerateArgs {
    /// The model folder.
    pub model: PathBuf,
    /// A piece of the prompt.
    #[arg(long, value_name = "T")]
    pub text: Vec<String>,
    /// A picture of the prompt.
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// Where images are written, as image-1.png and so on.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Answers to make, each with a seed of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: usize,
    /// Most images to draw.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub max_images: usize,
    /// A text that ends the answer; may be given more than once.
    #[arg(long, value_name = "S")]
    pub stop: Vec<String>,
    /// Print one JSON object an answer instead of plain text.
    #[arg(long)]
    pub json: bool,
    /// Replace files that are there already.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  mm read runs/glyphs/model k.png e.jpg")]
pub struct ReadArgs {
    /// The model folder.
    pub model: PathBuf,
    /// The pictures.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  mm draw runs/glyphs/model \"red K on yellow\" --out k.png --count 4"
)]
pub struct DrawArgs {
    /// The model folder.
    pub model: PathBuf,
    /// What to draw.
    pub caption: String,
    /// The picture, png, jpg, webp or bmp by its ending; with --count, a sheet of them.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Width and height in pixels [default: the recipe's].
    #[arg(long, value_name = "WxH")]
    pub size: Option<String>,
    /// Pictures to draw.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: usize,
    /// Magnify every pixel by this factor.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub zoom: usize,
    /// Replace a file that is there already.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Task {
    /// Captions read word for word.
    Read,
    /// Glyphs drawn, judged by the nearest template.
    Draw,
    /// Losses.
    Loss,
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
#[command(after_help = "Example:\n  mm eval runs/glyphs/model --task read --count 200")]
pub struct EvalArgs {
    /// The model folder.
    pub model: PathBuf,
    /// What to measure.
    #[arg(long, value_enum)]
    pub task: Task,
    /// Examples.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub count: usize,
    /// Which part of the data.
    #[arg(long, value_enum, default_value = "held-out")]
    pub part: Part,
    /// The recipe that names the data [default: the one beside the model].
    #[arg(long, value_name = "RECIPE")]
    pub recipe: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub sampling: SamplingArgs,
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

#[derive(Debug, Parser)]
pub struct DataArgs {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// List the recipes that come with the program, or print one.
    Recipes {
        /// The recipe to print.
        name: Option<String>,
    },
    /// Train a tokenizer on a recipe's captions.
    Tokenizer {
        /// A recipe or a TOML file.
        recipe: String,
        /// The tokenizer.json to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Number of ids, instead of the recipe's.
        #[arg(long, value_name = "N")]
        vocab: Option<usize>,
        /// Replace a file that is there already.
        #[arg(long)]
        force: bool,
    },
    /// Write a sheet of examples as a picture, and their captions to standard output.
    Sheet {
        /// A recipe or a TOML file.
        recipe: String,
        /// The picture to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Examples.
        #[arg(long, value_name = "N", default_value_t = 48)]
        count: usize,
        /// Which part of the data.
        #[arg(long, value_enum, default_value = "train")]
        part: Part,
        /// Replace a file that is there already.
        #[arg(long)]
        force: bool,
    },
}

/// A piece of the prompt of `mm generate`: which of `--text` or `--image`, and which one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    Text(usize),
    Image(usize),
}

/// The order in which `--text` and `--image` were given.
pub fn prompt_order(matches: &clap::ArgMatches) -> Vec<Piece> {
    let places = |name: &str| matches.indices_of(name).into_iter().flatten().collect::<Vec<_>>();
    let texts = places("text").into_iter().enumerate().map(|(which, at)| (at, Piece::Text(which)));
    let images =
        places("image").into_iter().enumerate().map(|(which, at)| (at, Piece::Image(which)));
    let mut pieces: Vec<(usize, Piece)> = texts.chain(images).collect();
    pieces.sort_by_key(|(at, _)| *at);
    pieces.into_iter().map(|(_, piece)| piece).collect()
}

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
