//! `mm report`: a run as one HTML page without other files: curves, sample grids, numbers, recipe.
//! The page and the event files of TensorBoard are made from `metrics.jsonl`.

mod chart;
mod history;
mod page;
pub mod tensorboard;

use std::path::{Path, PathBuf};

use clap::Parser;
use mm_model::folder::write_atomic;

use crate::files::free_file;
use crate::terminal::{Failure, say, usage};
use history::History;
use page::{Grid, Page};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm report runs/glyphs
  mm report runs/glyphs --out glyphs.html --grids 4")]
pub struct ReportArgs {
    /// Run folder; the run can be finished or in progress.
    run: PathBuf,
    /// HTML file to write [default: report.html in the run folder, which is replaced].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Number of sample grids, spread over the run; the newest is always one of them.
    #[arg(long, value_name = "N", default_value_t = 8)]
    grids: usize,
    /// Replace the file of --out if it exists.
    #[arg(long, requires = "out")]
    force: bool,
}

pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    let recipe = args.run.join("recipe.toml");
    if !recipe.is_file() {
        let found = args.run.display();
        return Err(usage!("`{found}` is not a run folder: it has no `recipe.toml`"));
    }
    let out = match &args.out {
        Some(out) => free_file(out, args.force).map(|()| out.clone())?,
        None => args.run.join("report.html"),
    };
    let recipe = fs_err::read_to_string(recipe)?;
    let log = args.run.join("metrics.jsonl");
    let log = if log.is_file() { fs_err::read_to_string(log)? } else { String::new() };
    let history = History::parse(&log);
    let grids = grids(&args.run.join("samples"), args.grids)?;
    let name = fs_err::canonicalize(&args.run)?;
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let page = Page { name: &name, recipe: &recipe, history: &history, grids: &grids };
    write_atomic(&out, page.html().as_bytes())?;
    say!("{}", out.display());
    Ok(())
}

/// Reads `most` sample grids of the folder at most, spread over the run, the newest last.
fn grids(folder: &Path, most: usize) -> Result<Vec<Grid>, Failure> {
    let mut found: Vec<(u64, PathBuf)> = vec![];
    if folder.is_dir() {
        for entry in fs_err::read_dir(folder)? {
            let path = entry?.path();
            let step = path.file_stem().and_then(|name| name.to_str()?.strip_prefix("step-"));
            let step = step.and_then(|step| step.parse().ok());
            if let Some(step) = step.filter(|_| path.extension().is_some_and(|end| end == "png")) {
                found.push((step, path));
            }
        }
    }
    found.sort();
    let shown = most.min(found.len());
    let mut grids = vec![];
    for at in 0..shown {
        let (step, path) = &found[(at + 1) * found.len() / shown - 1];
        let text = path.with_extension("txt");
        let text = if text.is_file() { fs_err::read_to_string(text)? } else { String::new() };
        grids.push(Grid { step: *step, png: fs_err::read(path)?, text });
    }
    Ok(grids)
}
