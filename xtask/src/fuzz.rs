//! `cargo xtask fuzz` gives the parsers of outside bytes ever new inputs, guided by the code that
//! each input reaches, and prints what each target ran, reached and found.
//!
//! The parsers are instrumented for libFuzzer, which the stable compiler can do. The package in
//! `tests/fuzz` takes the versions of the workspace's lock file, so what is tried is what is used.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use xshell::{Shell, cmd};

use crate::{flags, mm};

const PACKAGE: &str = "tests/fuzz";
const CORPUS: &str = "tests/fuzz/corpus";

/// Makes the compiler count every edge and tell comparisons to libFuzzer; `fuzzing` switches off
/// the checksums of some decoders, which no mutation would get past.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";

/// The longest input, and what ends a run: seconds for an input, and MiB of memory.
const LIMITS: [&str; 3] = ["-max_len=65536", "-timeout=10", "-rss_limit_mb=2048"];

/// Begins the line of the number of inputs that were tried.
const TRIED: &str = "stat::number_of_executed_units:";

impl flags::Fuzz {
    /// Builds once and runs one target or all, one after another; fails if any found something.
    pub fn run(&self, sh: &Shell) -> Result<()> {
        let lock = Path::new(PACKAGE).join("Cargo.lock");
        sh.copy_file("Cargo.lock", &lock)?;
        let manifest = format!("--manifest-path={PACKAGE}/Cargo.toml");
        let folder = mm::target(sh)?.join("fuzz");
        if self.check {
            let check = cmd!(sh, "cargo clippy {manifest} --all-targets --target-dir {folder}");
            return Ok(check.args(["--", "-D", "warnings"]).run()?);
        }
        let all = names(sh)?;
        let chosen = match &self.target {
            None => all,
            Some(name) if all.contains(name) => vec![name.clone()],
            Some(name) => bail!("there is no target `{name}`, there are {}", all.join(", ")),
        };
        let minutes = self.minutes.unwrap_or(15.0);
        ensure!(minutes > 0.0, "`--minutes` is {minutes}, wanted more than 0");
        let program = build(sh, &manifest, &folder)?;
        let (corpus, mut found) = (sh.current_dir().join(CORPUS), vec![]);
        println!("{HEADING}");
        for name in chosen {
            let run = Run { program: &program, folder: &folder, seeds: &corpus.join(&name) };
            let log = run.fuzz(&name, minutes)?;
            println!("{}", row(&name, &log));
            found.extend(finds(&folder, &name)?);
        }
        if found.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
        bail!(
            "{} inputs end the process or take too long; each is mended and goes to {CORPUS}:\n  {}",
            found.len(),
            list.join("\n  ")
        )
    }
}

/// Returns the targets: the folders of the corpus.
fn names(sh: &Shell) -> Result<Vec<String>> {
    let folders = sh.read_dir(CORPUS)?;
    let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    Ok(folders.iter().filter_map(name).collect())
}

fn build(sh: &Shell, manifest: &str, folder: &Path) -> Result<PathBuf> {
    let version = cmd!(sh, "rustc -vV").read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` names no host")?;
    // With a target named, the flags leave build scripts alone.
    let build = cmd!(sh, "cargo build {manifest} --target {host} --target-dir {folder}");
    build.env("RUSTFLAGS", FLAGS).run()?;
    Ok(folder.join(host).join("debug").join(format!("parsers{}", env::consts::EXE_SUFFIX)))
}

/// What a run of libFuzzer needs.
struct Run<'a> {
    program: &'a Path,
    /// Takes what it finds, outside the repository.
    folder: &'a Path,
    /// Holds the first inputs.
    seeds: &'a Path,
}

impl Run<'_> {
    /// Runs a target until its time is over or an input ends it; returns what libFuzzer printed.
    fn fuzz(&self, name: &str, minutes: f64) -> Result<String> {
        let (kept, finds) = (self.folder.join("corpus").join(name), self.folder.join("finds"));
        let log = self.folder.join("logs").join(name);
        for made in [&kept, &finds, &self.folder.join("logs")] {
            fs::create_dir_all(made)?;
        }
        let status = Command::new(self.program)
            .env("FUZZ_TARGET", name)
            .args(LIMITS)
            .arg(format!("-max_total_time={}", (60.0 * minutes).ceil()))
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/{name}-", finds.display()))
            .args([&kept, self.seeds])
            .stderr(fs::File::create(&log)?.into_file())
            .status()
            .with_context(|| format!("cannot start `{}`", self.program.display()))?;
        let log = fs::read_to_string(log)?;
        ensure!(log.contains(TRIED), "`{name}` ended with {status}:\n{log}");
        Ok(log)
    }
}

fn finds(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let prefix = format!("{name}-");
    let entries = fs::read_dir(folder.join("finds"))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    let of_target = |path: &PathBuf| {
        path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix))
    };
    Ok(paths.into_iter().filter(of_target).collect())
}

const HEADING: &str = "\
| target | inputs tried | edges | features | corpus |
| --- | --- | --- | --- | --- |";

/// Makes the line of a target from what libFuzzer printed.
fn row(name: &str, log: &str) -> String {
    let last = log.lines().rev().find(|line| line.contains(" cov: ")).unwrap_or_default();
    let after = |word: &str| {
        last.split_whitespace().skip_while(|found| *found != word).nth(1).unwrap_or("?")
    };
    let tried = log.lines().find_map(|line| line.strip_prefix(TRIED));
    let tried = tried.map_or("?", str::trim);
    format!("| {name} | {tried} | {} | {} | {} |", after("cov:"), after("ft:"), after("corp:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_target_is_what_libfuzzer_said_last() {
        let log = "\
#2\tINITED cov: 10 ft: 11 corp: 1/5b exec/s: 0 rss: 40Mb
#65536\tpulse  cov: 104 ft: 309 corp: 27/9Kb lim: 163 exec/s: 32768 rss: 60Mb
Done 70000 runs in 3 second(s)
stat::number_of_executed_units: 70000
";
        assert_eq!(row("gif", log), "| gif | 70000 | 104 | 309 | 27/9Kb |");
        assert_eq!(row("gif", ""), "| gif | ? | ? | ? | ? |");
    }
}
