//! Flags of `mm data`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{CheckArgs, Part};

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
    /// Read all of a source once: counts, sizes, lengths, and what is broken.
    Check(CheckArgs),
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
