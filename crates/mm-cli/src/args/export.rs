//! Flags of `mm export`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
pub struct ExportArgs {
    #[command(subcommand)]
    pub format: ExportFormat,
}

#[derive(Debug, Subcommand)]
pub enum ExportFormat {
    /// The network of ddpm-gau.py, its weights under Keras's names.
    #[command(after_help = "Example:\n  mm export keras-ddpm faces --out faces.safetensors")]
    KerasDdpm {
        /// The model folder.
        model: PathBuf,
        /// The safetensors file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// For code that reads blue first, as cv2 does: red and blue change places.
        #[arg(long)]
        bgr: bool,
        /// Replace a file that is there already.
        #[arg(long)]
        force: bool,
    },
}
