//! Flags of `mm eval --task fid`, `kid`, `nearest` and `bpd`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use mm_eval::quality::{Layout, NetworkSettings, Trace};

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LayoutArg {
    /// Batch, colours, height, width.
    Nchw,
    /// Batch, height, width, colours.
    Nhwc,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TraceArg {
    /// Along one random direction a picture.
    Hutchinson,
    /// Along every direction: for small pictures.
    Exact,
}

impl From<TraceArg> for Trace {
    fn from(trace: TraceArg) -> Self {
        match trace {
            TraceArg::Hutchinson => Self::Hutchinson,
            TraceArg::Exact => Self::Exact,
        }
    }
}

/// How pictures are judged.
#[derive(Debug, Parser)]
pub struct QualityArgs {
    /// Real pictures to compare with: a folder, without captions [default: the recipe's data].
    #[arg(long, value_name = "DIR", help_heading = "Pictures (fid, kid, nearest)")]
    pub real: Option<PathBuf>,
    /// Real pictures to take [default: twice --count; nearest: all, at most 100000].
    #[arg(long, value_name = "N", help_heading = "Pictures (fid, kid, nearest)")]
    pub real_count: Option<usize>,
    /// The sheet of drawings over their nearest real pictures (nearest).
    #[arg(long, value_name = "FILE", help_heading = "Pictures (fid, kid, nearest)")]
    pub out: Option<PathBuf>,
    /// Replace a file that is there already: --out, --keep-features.
    #[arg(long, help_heading = "Pictures (fid, kid, nearest)")]
    pub force: bool,
    /// The network that makes features of pictures; NAME.toml beside NAME.onnx may hold the flags below.
    #[arg(long, value_name = "FILE.onnx", help_heading = "Features (fid, kid)")]
    pub features: Option<PathBuf>,
    /// Where features are kept, by a hash of what made them [default: features, beside the model folder].
    #[arg(long, value_name = "DIR", help_heading = "Features (fid, kid)")]
    pub cache: Option<PathBuf>,
    /// Keep the features of all four sets of pictures and the subsets of kid, so that tests/reference/fid_kid.py repeats the numbers.
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Features (fid, kid)")]
    pub keep_features: Option<PathBuf>,
    /// Width and height of the network's input [default: as its file says].
    #[arg(long, value_name = "WxH", value_parser = size, help_heading = "Features (fid, kid)")]
    pub input_size: Option<[usize; 2]>,
    /// Taken from every byte, one number or one a colour [default: 127.5].
    #[arg(long, value_name = "M", value_parser = colours, help_heading = "Features (fid, kid)")]
    pub mean: Option<[f32; 3]>,
    /// What the rest is divided by, one number or one a colour [default: 127.5].
    #[arg(long, value_name = "S", value_parser = colours, help_heading = "Features (fid, kid)")]
    pub scale: Option<[f32; 3]>,
    /// Order of the network's input [default: as its file says].
    #[arg(long, value_enum, help_heading = "Features (fid, kid)")]
    pub layout: Option<LayoutArg>,
    /// The network's output to take [default: its first].
    #[arg(long, value_name = "NAME", help_heading = "Features (fid, kid)")]
    pub output: Option<String>,
    /// How the divergence of the flow is found (bpd).
    #[arg(long, value_enum, default_value = "hutchinson", help_heading = "Likelihood (bpd)")]
    pub trace: TraceArg,
}

impl QualityArgs {
    /// What the flags say about the network.
    pub fn settings(&self) -> NetworkSettings {
        let layout = self.layout.map(|layout| match layout {
            LayoutArg::Nchw => Layout::Nchw,
            LayoutArg::Nhwc => Layout::Nhwc,
        });
        let Self { input_size: size, mean, scale, output, .. } = self;
        NetworkSettings { size: *size, mean: *mean, scale: *scale, layout, output: output.clone() }
    }
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').and_then(|(width, height)| {
        Some([
            width.parse().ok().filter(|side| *side > 0)?,
            height.parse().ok().filter(|side| *side > 0)?,
        ])
    });
    sides.ok_or_else(|| "wanted WIDTHxHEIGHT such as 224x224".to_owned())
}

fn colours(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match numbers.as_deref() {
        Ok([one]) => Ok([*one; 3]),
        Ok([red, green, blue]) => Ok([*red, *green, *blue]),
        _ => Err("wanted one number, or three with commas such as 123.7,116.3,103.5".to_owned()),
    }
}
