//! Flags of `mm generate`, `mm read` and `mm draw`.

use std::path::PathBuf;

use clap::Parser;

use super::SamplingArgs;

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
