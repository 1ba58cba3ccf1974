//! `mm export`: a model for another program.

mod card;
mod hf;
#[cfg(feature = "serve")]
pub mod web;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use mm_import::keras::{swap_red_and_blue, write};
use mm_model::folder::write_atomic;
use mm_model::parameters::weights_of;

pub use hf::DtypeArg;

use crate::device;
use crate::files::free_file;
use crate::model::load;
use crate::terminal::{Failure, say, tell};

#[derive(Debug, Parser)]
pub struct ExportArgs {
    #[command(subcommand)]
    format: ExportFormat,
}

#[derive(Debug, Subcommand)]
enum ExportFormat {
    /// Weights of the network of Su Jianlin's `ddpm-gau.py`, under the names of Keras.
    #[command(after_help = "Example:\n  mm export keras-ddpm faces --out faces.safetensors")]
    KerasDdpm(KerasArgs),
    /// A folder for the Python library transformers, with the network as PyTorch code and a model
    /// card.
    #[command(after_help = "Example:
  mm eval runs/glyphs/model --task draw --json > draw.json
  mm export hf runs/glyphs/model --out glyphs-hf --results draw.json --license cc-by-4.0
  python -c 'from transformers import AutoModel; AutoModel.from_pretrained(\"glyphs-hf\", trust_remote_code=True)'")]
    Hf(hf::HfArgs),
    /// A site of plain files that runs the model in the visitor's browser.
    #[cfg(feature = "serve")]
    #[command(
        after_help = "The compiled program comes from `cargo xtask web`; see docs/browser.md.

Examples:
  mm export web runs/glyphs/model --out site
  python3 -m http.server --directory site"
    )]
    Web(web::WebArgs),
}

#[derive(Debug, Parser)]
struct KerasArgs {
    /// Model folder.
    model: PathBuf,
    /// Safetensors file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Swap red and blue, for programs that read blue first, as cv2 does.
    #[arg(long)]
    bgr: bool,
    /// Replace a file that exists.
    #[arg(long)]
    force: bool,
}

pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    match &args.format {
        ExportFormat::KerasDdpm(args) => keras(args),
        ExportFormat::Hf(args) => hf::run(args),
        #[cfg(feature = "serve")]
        ExportFormat::Web(args) => web::run(args),
    }
}

fn keras(args: &KerasArgs) -> Result<(), Failure> {
    let KerasArgs { model, out, bgr, force } = args;
    free_file(out, *force)?;
    let loaded = load(model, &device::open("auto")?)?;
    let mut weights = weights_of(&loaded.model);
    if *bgr {
        swap_red_and_blue(&mut weights);
    }
    let (file, left_out) = write(&loaded.config, &weights).map_err(|why| {
        let what = format!("cannot export `{}` as a network of ddpm-gau.py", model.display());
        Failure::because(what, why)
    })?;
    write_atomic(out, &file)?;
    for name in left_out {
        tell!("left out `{name}`: the network of ddpm-gau.py has no weights for text");
    }
    say!("{}", out.display());
    Ok(())
}
