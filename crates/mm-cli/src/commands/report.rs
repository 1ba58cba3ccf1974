//! `mm report`: a run as one HTML page that needs nothing beside it: curves, sample grids over time, numbers, recipe.

mod chart;
mod history;
mod page;

use std::path::{Path, PathBuf};

use mm_model::folder::write_atomic;

use crate::args::ReportArgs;
use crate::output::free;
use crate::report::{Failure, say, usage};
use history::History;
use page::{Grid, Page};

/// Runs the command.
pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    let recipe = args.run.join("recipe.toml");
    if !recipe.is_file() {
        let found = args.run.display();
        return Err(usage!("`{found}` is no run folder: it has no `recipe.toml`"));
    }
    let out = match &args.out {
        Some(out) => free(out, args.force).map(|()| out.clone())?,
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

/// At most `most` sample grids, spread over those of the folder, the newest last.
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
    let spread = |at: usize| (at + 1) * found.len() / shown - 1;
    let read = |(step, path): &(u64, PathBuf)| {
        let text = path.with_extension("txt");
        let text = if text.is_file() { fs_err::read_to_string(text)? } else { String::new() };
        Ok(Grid { step: *step, png: fs_err::read(path)?, text })
    };
    (0..shown).map(|at| read(&found[spread(at)])).collect()
}
