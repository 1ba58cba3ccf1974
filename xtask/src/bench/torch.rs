//! `cargo xtask bench --against-torch`: the networks of `mm bench` in `mm` and in PyTorch
//! (`xtask/bench/torch/bench.py`), turn by turn, in every way that each has.
//!
//! PyTorch runs eagerly or compiled, with plain or fused attention, each in 32-bit floats, in
//! 32-bit floats with the AVX-512 code of MKL, which on AMD's processors it does not choose by
//! itself, and under autocast to bfloat16. `mm` is compared with the best of all, in 32 bits with
//! the best that computes in 32 bits.

use std::{collections::BTreeMap, ffi::OsString, path::Path, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use xshell::{Shell, cmd};

use super::{PRECISIONS, SHAPES, median, option, ours, pinned, write_records};
use crate::mm;

/// Names PyTorch's ways to run a network.
const MODES: [&str; 4] = ["eager", "sdpa", "compile", "compile-sdpa"];
/// Names what each way is run with: as installed, with MKL's AVX-512 code, under autocast.
const KINDS: [&str; 3] = ["f32", "mkl", "bf16"];

/// How much is measured.
struct Plan {
    shapes: Vec<String>,
    threads: Vec<usize>,
    rounds: usize,
    steps: usize,
    /// Ways of PyTorch such as `compile-bf16`.
    ways: Vec<String>,
}

impl Plan {
    fn new(args: &[OsString]) -> Result<Self> {
        let number = |name: &str, default: usize| match option(args, name) {
            Some(text) => text.parse().with_context(|| format!("`{name} {text}` is not a number")),
            None => Ok(default),
        };
        let all: Vec<String> =
            KINDS.iter().flat_map(|kind| MODES.map(|mode| format!("{mode}-{kind}"))).collect();
        Ok(Self {
            shapes: chosen(args, "--shape", &SHAPES.map(String::from))?,
            threads: match number("--threads", 0)? {
                0 => vec![1, 2],
                threads => vec![threads],
            },
            rounds: number("--rounds", 3)?.max(1),
            steps: number("--steps", 5)?.max(1),
            ways: chosen(args, "--ways", &all)?,
        })
    }
}

/// Returns the values behind a flag, divided by commas, or all.
fn chosen(args: &[OsString], name: &str, all: &[String]) -> Result<Vec<String>> {
    let Some(text) = option(args, name) else { return Ok(all.to_vec()) };
    let names: Vec<String> = text.split(',').map(String::from).collect();
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        bail!("`{name} {unknown}` is unknown, there are {}", all.join(", "));
    }
    Ok(names)
}

/// Measures and prints a line a round, then the ratios.
pub(super) fn run(sh: &Shell, args: &[OsString]) -> Result<ExitCode> {
    let plan = Plan::new(args)?;
    let program = mm::build(sh, None)?;
    let python = match option(args, "--python") {
        Some(python) => python.into(),
        None => python_with_torch(sh)?,
    };
    let unlock = unlock(sh);
    if unlock.is_none() {
        println!("no C compiler: the ways with MKL's AVX-512 code are left out");
    }
    let mut records = vec![];
    for shape in &plan.shapes {
        for &threads in &plan.threads {
            let mut runs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for round in 0..plan.rounds {
                for precision in PRECISIONS {
                    let run = ours(sh, &program, shape, precision, threads, plan.steps)?;
                    runs.entry(format!("mm {precision}")).or_default().push(run);
                }
                for way in &plan.ways {
                    let (mode, kind) = way.rsplit_once('-').expect("a mode and a kind");
                    let library = match (kind, &unlock) {
                        ("mkl", None) => continue,
                        ("mkl", library) => library.as_deref(),
                        _ => None,
                    };
                    let one = Theirs { shape, mode, kind, threads, steps: plan.steps };
                    let run = one.time(sh, &python, library)?;
                    runs.entry(way.clone()).or_default().push(run);
                }
                println!("{}", round_line(shape, threads, round, &runs));
            }
            println!("{}", summary(shape, threads, &runs));
            records.push(json!({ "shape": shape, "threads": threads, "runs": runs }));
        }
    }
    write_records(sh, &records)?;
    Ok(ExitCode::SUCCESS)
}

fn seconds(runs: &BTreeMap<String, Vec<Value>>, name: &str) -> Vec<f64> {
    runs[name].iter().filter_map(|run| run["median"].as_f64()).collect()
}

/// Returns the fastest way of PyTorch in a round and its seconds; with `f32`, of those in 32 bits.
fn best(runs: &BTreeMap<String, Vec<Value>>, round: usize, f32: bool) -> Option<(&str, f64)> {
    let ways =
        runs.keys().filter(|name| !(name.starts_with("mm ") || f32 && name.ends_with("bf16")));
    let times = ways.map(|name| (name.as_str(), seconds(runs, name)[round]));
    times.min_by(|one, other| one.1.total_cmp(&other.1))
}

/// Says how long everything took in a round.
fn round_line(
    shape: &str,
    threads: usize,
    round: usize,
    runs: &BTreeMap<String, Vec<Value>>,
) -> String {
    let times: Vec<String> =
        runs.keys().map(|name| format!("{name} {:.4}", seconds(runs, name)[round])).collect();
    let best = best(runs, round, false).map_or("none", |(name, _)| name);
    format!("{shape}, {threads} threads, round {}: {}; best: {best}", round + 1, times.join(", "))
}

/// Says how many times as fast `mm` is: medians over the rounds, with the least and the most.
fn summary(shape: &str, threads: usize, runs: &BTreeMap<String, Vec<Value>>) -> String {
    let ratio = |precision: &str, f32: bool| {
        let ours = seconds(runs, &format!("mm {precision}"));
        let mut ratios: Vec<f64> = (0..ours.len())
            .filter_map(|round| best(runs, round, f32).map(|(_, theirs)| theirs / ours[round]))
            .collect();
        ratios.sort_by(f64::total_cmp);
        match ratios[..] {
            [least, .., most] => format!("{:.2} ({least:.2} to {most:.2})", median(ratios)),
            [only] => format!("{only:.2}"),
            [] => "-".to_owned(),
        }
    };
    let own = seconds(runs, "mm f32").into_iter().zip(seconds(runs, "mm bf16"));
    let own = median(own.map(|(wide, narrow)| wide / narrow).collect());
    format!(
        "{shape}, {threads} threads: f32 {} times as fast as the best PyTorch in f32, bf16 {} times \
         as fast as the best of all and {own:.2} times as fast as f32",
        ratio("f32", true),
        ratio("bf16", false)
    )
}

/// One run of PyTorch.
struct Theirs<'a> {
    shape: &'a str,
    mode: &'a str,
    kind: &'a str,
    threads: usize,
    steps: usize,
}

impl Theirs<'_> {
    fn time(&self, sh: &Shell, python: &Path, library: Option<&Path>) -> Result<Value> {
        let Self { shape, mode, kind, threads, steps } = self;
        let pin = pinned(sh, *threads);
        let (threads, steps) = (threads.to_string(), steps.to_string());
        let set = library.map(|library| format!("LD_PRELOAD={}", library.display()));
        let more: &[&str] = if *kind == "bf16" { &["--bf16"] } else { &[] };
        let out = cmd!(
            sh,
            "env {set...} {pin...} {python} xtask/bench/torch/bench.py {shape} --threads {threads} --steps {steps} --mode {mode} {more...}"
        );
        let out = out.quiet().ignore_stderr().read()?;
        let line = out.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("bench.py printed `{line}`"))
    }
}

/// Makes a library that tells MKL that the processor is one of Intel's, on which it uses AVX-512,
/// or nothing without a C compiler. Variables of the environment no longer change its choice.
fn unlock(sh: &Shell) -> Option<PathBuf> {
    let folder = sh.current_dir().join("target");
    let (source, library) = (folder.join("unlock-mkl.c"), folder.join("unlock-mkl.so"));
    sh.write_file(&source, "int mkl_serv_intel_cpu_true(void) { return 1; }\n").ok()?;
    let made = cmd!(sh, "cc -shared -fPIC -o {library} {source}").quiet().ignore_stderr().run();
    made.ok().map(|()| library)
}

/// Returns the interpreter of a virtual environment under `target` with PyTorch and diffusers from
/// PyPI; the environment is made if it is not there.
fn python_with_torch(sh: &Shell) -> Result<PathBuf> {
    let folder = sh.current_dir().join("target/bench-venv");
    let python = folder.join("bin/python");
    if !python.exists() {
        println!("installing PyTorch into {}", folder.display());
        cmd!(sh, "python3 -m venv {folder}").run()?;
        cmd!(sh, "{python} -m pip install --quiet torch numpy diffusers").run()?;
    }
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_the_best_of_all_ways_round_by_round() {
        let times = |medians: [f64; 3]| medians.map(|median| json!({ "median": median })).to_vec();
        let mut runs = BTreeMap::from([("mm f32".to_owned(), times([1.0, 1.0, 2.0]))]);
        runs.insert("mm bf16".to_owned(), times([0.5, 0.5, 0.5]));
        runs.insert("eager-f32".to_owned(), times([2.0, 4.0, 4.0]));
        runs.insert("compile-mkl".to_owned(), times([3.0, 3.0, 8.0]));
        runs.insert("eager-bf16".to_owned(), times([1.5, 0.5, 3.0]));
        let said = summary("packed", 2, &runs);
        assert!(said.contains("f32 2.00 (2.00 to 3.00) times"), "{said}");
        assert!(said.contains("bf16 3.00 (1.00 to 6.00) times"), "{said}");
        assert!(said.ends_with("and 2.00 times as fast as f32"), "{said}");
        assert!(round_line("packed", 2, 1, &runs).ends_with("best: eager-bf16"));
    }

    #[test]
    fn an_unknown_way_or_shape_is_refused_by_name() {
        let args = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let plan = Plan::new(&args("--ways compile-bf16,eager-f32 --shape packed")).unwrap();
        assert_eq!((plan.ways.len(), plan.shapes.len(), plan.threads.len()), (2, 1, 2));
        let said = Plan::new(&args("--ways eager")).err().unwrap().to_string();
        assert!(said.starts_with("`--ways eager` is unknown, there are eager-f32, "), "{said}");
    }
}
