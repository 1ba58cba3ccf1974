//! Flags of `mm import`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
pub struct ImportArgs {
    #[command(subcommand)]
    pub format: ImportFormat,
}

#[derive(Debug, Subcommand)]
pub enum ImportFormat {
    /// The network of ddpm-gau.py, its weights under Keras's names; sizes are those of the tensors.
    #[command(
        after_help = "Example:\n  mm import keras-ddpm faces.safetensors --image 128 --patch 8 --bgr --out faces"
    )]
    KerasDdpm {
        /// A safetensors file; names may have the prefix `w/`.
        file: PathBuf,
        /// Side of a picture, pixels.
        #[arg(long, value_name = "N")]
        image: usize,
        /// Side of a patch, pixels.
        #[arg(long, value_name = "P")]
        patch: usize,
        /// The model folder to write.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The weights saw blue first, as cv2 reads pictures: red and blue change places.
        #[arg(long)]
        bgr: bool,
        /// Replace a model that is there already.
        #[arg(long)]
        force: bool,
    },
}
