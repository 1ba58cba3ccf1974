//! `mm eval --task golden`: an imported network against what the seed author's own layers computed.

use std::path::Path;

use mm_eval::golden::{Golden, compare};

use crate::args::EvalArgs;
use crate::commands::load_on;
use crate::device;
use crate::report::{Failure, say};

pub fn run(args: &EvalArgs, file: &Path) -> Result<(), Failure> {
    let bytes = fs_err::read(file)?;
    let cannot = |why| {
        let said = format!("cannot compare with `{}`", file.display());
        Failure::failed(anyhow::Error::new(why).context(said))
    };
    let golden = Golden::parse(&bytes).map_err(cannot)?;
    let device = device::open(&args.sampling.device)?.autodiff();
    let checkpoint = load_on(&args.model, &device)?;
    let found = compare(&checkpoint.model, &checkpoint.config, &golden).map_err(cannot)?;
    for line in &found {
        let (name, absolute, relative) = (&line.name, line.absolute, line.relative);
        match args.json {
            true => say!(
                "{}",
                serde_json::json!({ "name": name, "absolute": absolute, "relative": relative })
            ),
            false => say!("{name}: absolute {absolute:.2e}, relative {relative:.2e}"),
        }
    }
    let past = found.iter().filter(|line| !line.within(args.tolerance)).count();
    if past == 0 {
        return Ok(());
    }
    Err(Failure::failed(anyhow::anyhow!(
        "{past} of {} arrays differ by more than {:e} of their largest number",
        found.len(),
        args.tolerance
    )))
}
