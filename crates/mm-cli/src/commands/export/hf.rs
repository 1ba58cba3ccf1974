//! `mm export hf`: a model folder for the Python library `transformers`.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use mm_import::hf::{HfError, SHARD_BYTES, WeightType, write};
use mm_model::folder::write_atomic;
use mm_model::parameters::weights_of;

use super::card::{Card, Results, SAMPLES};
use crate::device;
use crate::files::{free, free_folder};
use crate::model::load;
use crate::terminal::{Failure, failed, say};

#[derive(Debug, Parser)]
pub struct HfArgs {
    /// Model folder.
    model: PathBuf,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the weights that are written.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DtypeArg,
    /// File of what `mm eval --json` printed, for the model card; may be given several times.
    #[arg(long, value_name = "FILE")]
    results: Vec<PathBuf>,
    /// License of the weights, by its name on the Hub, for the model card.
    #[arg(long, value_name = "L", default_value = "other")]
    license: String,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DtypeArg {
    /// 32-bit floats, as they are.
    F32,
    /// 16 bits with the range of 32-bit floats.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl From<DtypeArg> for WeightType {
    fn from(dtype: DtypeArg) -> Self {
        match dtype {
            DtypeArg::F32 => Self::F32,
            DtypeArg::Bf16 => Self::Bf16,
            DtypeArg::F16 => Self::F16,
        }
    }
}

/// An export that stopped.
enum Stopped {
    Model(HfError),
    File(Failure),
}

impl From<HfError> for Stopped {
    fn from(why: HfError) -> Self {
        Self::Model(why)
    }
}

pub fn run(args: &HfArgs) -> Result<(), Failure> {
    let (dtype, out) = (args.dtype.into(), &args.out);
    let results = args.results.iter().map(|path| results(path)).collect::<Result<Vec<_>, _>>()?;
    free_folder(out)?;
    for name in ["config.json", "model.safetensors", "README.md", SAMPLES] {
        free(&out.join(name), args.force)?;
    }
    let model = load(&args.model, &device::open("auto")?)?;
    let recipe = fs_err::read_to_string(args.model.join("recipe.toml")).ok();
    let samples = last_samples(&args.model);
    let weights = weights_of(&model.model);
    fs_err::create_dir_all(out)?;
    let mut take = |name: &str, bytes: &[u8]| {
        write_atomic(&out.join(name), bytes).map_err(|why| Stopped::File(why.into()))
    };
    write(&model, &weights, dtype, SHARD_BYTES, &mut take).map_err(|why| match why {
        Stopped::File(why) => why,
        Stopped::Model(why) => {
            let what = format!("cannot export `{}` for transformers", args.model.display());
            Failure::because(what, why)
        }
    })?;
    let parameters = weights.values().map(|weight| weight.values.len()).sum();
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let card = Card {
        name: &name,
        license: &args.license,
        model: &model,
        parameters,
        recipe: recipe.as_deref(),
        results: &results,
        has_samples: samples.is_some(),
    };
    write_atomic(&out.join("README.md"), card.to_string().as_bytes())?;
    if let Some(samples) = samples {
        fs_err::copy(samples, out.join(SAMPLES))?;
    }
    say!("{}", out.display());
    Ok(())
}

/// Reads what `mm eval --json` printed.
fn results(path: &Path) -> Result<Results, Failure> {
    let text = fs_err::read_to_string(path)?;
    let wrong = |found: &str| {
        failed!("`{}` is {found}, wanted an object that `mm eval --json` printed", path.display())
    };
    let found: serde_json::Value =
        serde_json::from_str(&text).map_err(|why| wrong(&format!("no JSON ({why})")))?;
    let serde_json::Value::Object(values) = found else { return Err(wrong("no JSON object")) };
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Results { name, values })
}

/// Returns the newest grid of samples of the run that a model folder lies in.
fn last_samples(model: &Path) -> Option<PathBuf> {
    let folder = fs_err::canonicalize(model).ok()?.parent()?.join("samples");
    let files = fs_err::read_dir(folder).ok()?.filter_map(Result::ok).map(|file| file.path());
    let grid = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("step-") && name.ends_with(".png") && !name.contains("raw")
    };
    files.filter(grid).max()
}
