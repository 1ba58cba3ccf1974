//! `mm data`: recipes, tokenizers, and what the data of a recipe holds.

mod check;
mod show;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use mm_data::{DataSet, Split};
use mm_eval::{contact_sheet, examples};
use mm_model::folder::write_atomic;
use mm_patch::Image;
use mm_text::Tokenizer;

use crate::files::{format_of, free_file, most_of, pixels_on_sheet, within, write_image};
use crate::recipes;
use crate::terminal::{Failure, say, usage, write_out};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm data recipes                                       lists the recipes
  mm data recipes glyphs > mine.toml                    a recipe to change
  mm data check images/                                 what a folder holds, and what is broken
  mm data sheet emoji-32 --out sheet.png")]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// List the recipes that are part of the program, or print one of them.
    #[command(after_help = "Examples:
  mm data recipes
  mm data recipes glyphs > mine.toml")]
    Recipes {
        /// Name of the recipe to print.
        name: Option<String>,
    },
    /// Train a tokenizer on the captions of a recipe's data.
    #[command(after_help = "Example:
  mm data tokenizer emoji-32 --vocab 600 --out tokenizer.json")]
    Tokenizer {
        /// Name of a recipe, or a TOML file.
        recipe: String,
        /// File to write, such as tokenizer.json.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Number of token ids, instead of the recipe's.
        #[arg(long, value_name = "N")]
        vocab: Option<usize>,
        /// Replace a file that exists.
        #[arg(long)]
        force: bool,
    },
    /// Read a whole source once: count its records, and list bad ones.
    Check(check::CheckArgs),
    /// Write the pixels that the model sees of one record, and print its caption.
    Show(show::ShowArgs),
    /// Write a sheet of images of a recipe's data, and print their captions.
    Sheet(SheetArgs),
}

#[derive(Debug, Parser)]
#[command(after_help = "Example:
  mm data sheet emoji-32 --count 24 --split held-out --out sheet.png")]
struct SheetArgs {
    /// Name of a recipe, or a TOML file.
    recipe: String,
    /// Image file to write: png, jpg, webp or bmp.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Number of images.
    #[arg(long, value_name = "N", default_value_t = 48)]
    count: usize,
    /// Split of the data.
    #[arg(long, alias = "part", value_enum, default_value = "train")]
    split: SplitArg,
    /// Replace a file that exists.
    #[arg(long)]
    force: bool,
}

/// A split of the data on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SplitArg {
    /// Records that are never used for training.
    HeldOut,
    /// Records that are used for training.
    Train,
}

impl From<SplitArg> for Split {
    fn from(split: SplitArg) -> Self {
        match split {
            SplitArg::HeldOut => Self::HeldOut,
            SplitArg::Train => Self::Train,
        }
    }
}

pub fn run(args: &DataArgs) -> Result<(), Failure> {
    match &args.command {
        DataCommand::Recipes { name: Some(name) } => print(name),
        DataCommand::Recipes { name: None } => {
            for (name, text) in recipes::EMBEDDED {
                let first = text.lines().next().unwrap_or_default();
                say!("{name}: {}", first.trim_start_matches("# "));
            }
            Ok(())
        }
        DataCommand::Tokenizer { recipe, out, vocab, force } => {
            train_tokenizer(recipe, out, *vocab, *force)
        }
        DataCommand::Check(args) => check::run(args),
        DataCommand::Show(args) => show::run(args),
        DataCommand::Sheet(args) => write_sheet(args),
    }
}

fn print(name: &str) -> Result<(), Failure> {
    let found = recipes::EMBEDDED.iter().find(|(known, _)| *known == name);
    let (_, text) = found.ok_or_else(|| {
        let guess = recipes::guess(name);
        usage!("there is no recipe `{name}`{guess}").hint("`mm data recipes` lists them")
    })?;
    write_out(format_args!("{text}"));
    Ok(())
}

fn train_tokenizer(
    recipe: &str,
    out: &Path,
    vocab: Option<usize>,
    force: bool,
) -> Result<(), Failure> {
    free_file(out, force)?;
    let recipe = recipes::find(recipe)?;
    let data = DataSet::open(&recipe.data, recipe.image)?;
    let captions = data.captions();
    let tokenizer = Tokenizer::train(captions.clone().into_iter(), vocab.unwrap_or(recipe.vocab))
        .map_err(Failure::usage)?;
    write_atomic(out, tokenizer.to_json().as_bytes())?;
    let bytes: usize = captions.iter().map(|caption| caption.len()).sum();
    let tokens: usize = captions.iter().map(|caption| tokenizer.encode(caption).len()).sum();
    say!(
        "{}: {} token ids, {:.2} bytes per token",
        out.display(),
        tokenizer.vocab(),
        bytes as f64 / tokens.max(1) as f64
    );
    Ok(())
}

fn write_sheet(args: &SheetArgs) -> Result<(), Failure> {
    free_file(&args.out, args.force)?;
    format_of(&args.out)?;
    let recipe = recipes::find(&args.recipe)?;
    let most = most_of(pixels_on_sheet(recipe.image.width, recipe.image.height));
    within("--count", args.count, most)?;
    let data = DataSet::open(&recipe.data, recipe.image)?;
    let shown = examples(&data, args.split.into(), args.count, recipe.seed)?;
    for example in &shown {
        say!("{}", example.caption);
    }
    let images: Vec<Image> = shown.into_iter().map(|example| example.image).collect();
    write_image(&args.out, &contact_sheet(&images, &[]))
}
