//! `mm import hf` and `mm import list`: published models, whose kind is found from their files.

use std::io::Write;
use std::path::PathBuf;

use clap::Parser;
use mm_import::hf::WeightType;
use mm_import::kinds::{KINDS, kind_of, open};
use mm_import::published::{ImportError, ImportProgress, Imported, Source};
use mm_model::folder::{save_all_but_weights, write_atomic, write_atomic_in_pieces};

use crate::commands::export::DtypeArg;
use crate::commands::import::recipe::recipe_of;
use crate::files::free;
use crate::loading::LoadingBar;
use crate::terminal::{Failure, grouped, say};

#[derive(Debug, Parser)]
#[command(after_help = "`mm import list` says which kinds are known. Examples:
  mm import hf downloads/fuyu-8b --out fuyu
  mm import hf downloads/fuyu-8b --out fuyu --dtype f32")]
pub struct HfArgs {
    /// Folder of the published model, as it is on the Hub; or a file of weights.
    path: PathBuf,
    /// Model folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the weights that are written [default: the type of each published tensor].
    #[arg(long, value_enum)]
    dtype: Option<DtypeArg>,
    /// Replace a model folder that exists.
    #[arg(long)]
    force: bool,
}

pub fn run(args: &HfArgs) -> Result<(), Failure> {
    let out = &args.out;
    free(out, args.force)?;
    let failed = |why: ImportError| {
        let failure = Failure::because(format!("cannot import `{}`", args.path.display()), why);
        failure.hint("`mm import list` says which published models are known")
    };
    let source = Source::new(&args.path).map_err(failed)?;
    let kind = kind_of(&source).map_err(failed)?;
    let mut imported = open(&source).map_err(failed)?;
    let recipe = recipe_of(&imported)?;
    let is_new = !out.exists();
    fs_err::create_dir_all(out)?;
    let dtype = args.dtype.map(WeightType::from);
    let mut bar = LoadingBar::new("writing");
    let show = &mut |progress: ImportProgress| bar.show(progress.done, progress.all);
    let write = &mut |file: &mut dyn Write| imported.write_weights(dtype, file, show);
    // The weights come first: what is wrong with one leaves no half of a model behind.
    write_atomic_in_pieces(&out.join("model.safetensors"), write).map_err(|why| {
        if is_new {
            let _ = fs_err::remove_dir(out); // the first error is the one to report
        }
        failed(why)
    })?;
    let Imported { config, tokenizer, generation, .. } = &imported;
    save_all_but_weights(out, config, tokenizer, generation)?;
    if let Some(recipe) = recipe {
        write_atomic(&out.join("recipe.toml"), toml::to_string_pretty(&recipe)?.as_bytes())?;
    }
    let numbers = |shape: &[usize]| shape.iter().product::<usize>();
    let parameters = imported.weights.iter().map(|plan| numbers(&plan.shape)).sum();
    say!("{}: {}, {} parameters", out.display(), kind.name, grouped(parameters));
    Ok(())
}

/// Prints what is known.
pub fn list() {
    let widest = KINDS.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
    for kind in KINDS {
        say!("{:widest$}  {}", kind.name, kind.models);
        say!("{:widest$}  {}", "", kind.form);
    }
    say!("{:widest$}  Su Jianlin's ddpm-gau.py: `mm import keras-ddpm`", "keras-ddpm");
}
