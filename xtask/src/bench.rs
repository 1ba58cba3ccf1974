//! `cargo xtask bench` times every shape of `mm bench` at one and at two threads; with arguments it
//! runs `mm bench` with them.
//!
//! With `--against-torch` the same networks are also timed in PyTorch
//! (`xtask/bench/torch/bench.py`), turn by turn, and the table says how many times as fast `mm` is.
//! `cargo xtask bench serve` measures the server.

mod serve;

use std::{collections::BTreeMap, ffi::OsString, path::Path, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use xshell::{Shell, cmd};

use crate::{flags, mm};

/// Names what both sides can run.
const SHAPES: [&str; 4] = ["gau-256", "gau-768", "packed", "sampling"];
/// Names PyTorch's ways to run it; it is compared at the best of the first two and of the last two.
const MODES: [&str; 4] = ["eager", "sdpa", "compile", "compile-sdpa"];

impl flags::Bench {
    /// Builds and measures.
    pub fn run(&self, sh: &Shell, args: &[OsString]) -> Result<ExitCode> {
        if args.first().is_some_and(|first| first == "serve") {
            return serve::run(sh, &args[1..]);
        }
        if args.iter().any(|arg| arg == "--against-torch") {
            return against_torch(sh, args);
        }
        if args.is_empty() {
            return everything(sh);
        }
        let bench = OsString::from("bench");
        mm::build_and_run(sh, &[&[bench], args].concat())
    }
}

/// Times every shape at one and at two threads, each in a process of its own so that its peak
/// memory is its own.
fn everything(sh: &Shell) -> Result<ExitCode> {
    const STEPS: usize = 8;
    let program = mm::build(sh, None)?;
    println!("shape      threads    s/step   tokens/s   GFLOP/s   of a large product   peak MiB");
    let mut records = vec![];
    for shape in SHAPES.into_iter().chain(["recipe"]) {
        for threads in [1, 2] {
            let record = ours(sh, &program, shape, threads, STEPS)?;
            println!("{}", record_line(&record));
            records.push(record);
        }
    }
    write_records(sh, &records)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes one line of the table of [`everything`].
fn record_line(record: &Value) -> String {
    let number = |name: &str| record[name].as_f64();
    let shown = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
    let share = number("gflops").zip(number("sgemm_gflops")).map(|(ours, all)| 100.0 * ours / all);
    format!(
        "{:10} {:7} {:9.4} {:10.0} {:>9} {:>18} % {:>10}",
        record["shape"].as_str().unwrap_or_default(),
        record["threads"],
        number("median").unwrap_or(f64::NAN),
        number("tokens_per_second").unwrap_or(f64::NAN),
        shown(number("gflops")),
        shown(share),
        shown(number("peak_mib"))
    )
}

/// Writes what was measured as JSON.
fn write_records(sh: &Shell, records: &[Value]) -> Result<()> {
    let path = sh.current_dir().join("target/bench.json");
    sh.write_file(&path, serde_json::to_string_pretty(records)?)?;
    println!("\nevery step's seconds and the peak memory: {}", path.display());
    Ok(())
}

/// Returns what stands behind a flag, such as N behind `--rounds N`.
fn option(args: &[OsString], name: &str) -> Option<String> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).map(|value| value.to_string_lossy().into_owned())
}

fn against_torch(sh: &Shell, args: &[OsString]) -> Result<ExitCode> {
    let number = |name: &str, default: usize| match option(args, name) {
        Some(text) => text.parse().with_context(|| format!("`{name} {text}` is not a number")),
        None => Ok(default),
    };
    let (rounds, steps) = (number("--rounds", 3)?.max(1), number("--steps", 5)?.max(1));
    let shapes: Vec<String> = match option(args, "--shape") {
        Some(shape) if SHAPES.contains(&shape.as_str()) => vec![shape],
        Some(shape) => bail!("no shape is called `{shape}`, there are {}", SHAPES.join(", ")),
        None => SHAPES.map(String::from).into(),
    };
    let program = mm::build(sh, None)?;
    let python = match option(args, "--python") {
        Some(python) => python.into(),
        None => python_with_torch(sh)?,
    };
    let mut records = vec![];
    println!(
        "shape      threads  mm s/step   torch s/step: {}   mm is faster than eager, than compiled (least to most)",
        MODES.join(", ")
    );
    for shape in &shapes {
        for threads in [1, 2] {
            let mut runs: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
            for _ in 0..rounds {
                runs.entry("mm").or_default().push(ours(sh, &program, shape, threads, steps)?);
                for mode in MODES {
                    let run = theirs(sh, &python, shape, mode, threads, steps)?;
                    runs.entry(mode).or_default().push(run);
                }
            }
            println!("{}", table_line(shape, threads, &runs));
            records.push(json!({ "shape": shape, "threads": threads, "runs": runs }));
        }
    }
    write_records(sh, &records)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes one line of the table: medians over rounds, and the ratios round by round.
fn table_line(shape: &str, threads: usize, runs: &BTreeMap<&str, Vec<Value>>) -> String {
    let seconds = |name: &str| -> Vec<f64> {
        runs[name].iter().filter_map(|run| run["median"].as_f64()).collect()
    };
    let ours = seconds("mm");
    let times: Vec<String> =
        MODES.iter().map(|mode| format!("{:.4}", median(seconds(mode)))).collect();
    let ratio = |modes: &[&str]| {
        let best = |round: usize| {
            modes.iter().map(|mode| seconds(mode)[round]).fold(f64::INFINITY, f64::min)
        };
        let mut ratios: Vec<f64> =
            ours.iter().enumerate().map(|(round, ours)| best(round) / ours).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        format!("{:.2} ({least:.2} to {most:.2})", median(ratios))
    };
    let (eager, compiled) = (ratio(&MODES[..2]), ratio(&MODES[2..]));
    let times = times.join(" ");
    format!("{shape:10} {threads:7} {:10.4}   {times}   {eager}, {compiled}", median(ours))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the command that pins a run to cores, where `taskset` is there.
fn pinned(sh: &Shell, threads: usize) -> Vec<String> {
    match cmd!(sh, "taskset --version").quiet().ignore_stdout().ignore_stderr().run() {
        Ok(()) => vec!["taskset".into(), "-c".into(), format!("0-{}", threads - 1)],
        Err(_) => vec![],
    }
}

fn ours(sh: &Shell, program: &Path, shape: &str, threads: usize, steps: usize) -> Result<Value> {
    let (threads, steps, pin) = (threads.to_string(), steps.to_string(), pinned(sh, threads));
    let out = cmd!(
        sh,
        "env {pin...} {program} bench --shape {shape} --threads {threads} --steps {steps} --json"
    );
    Ok(serde_json::from_str(&out.quiet().read()?)?)
}

fn theirs(
    sh: &Shell,
    python: &Path,
    shape: &str,
    mode: &str,
    threads: usize,
    steps: usize,
) -> Result<Value> {
    let (threads, steps, pin) = (threads.to_string(), steps.to_string(), pinned(sh, threads));
    let out = cmd!(
        sh,
        "env {pin...} {python} xtask/bench/torch/bench.py {shape} --threads {threads} --steps {steps} --mode {mode}"
    );
    let out = out.quiet().ignore_stderr().read()?;
    let line = out.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("bench.py printed `{line}`"))
}

/// Returns the interpreter of a virtual environment under `target` with PyTorch from PyPI; the
/// environment is made if it is not there.
fn python_with_torch(sh: &Shell) -> Result<PathBuf> {
    let folder = sh.current_dir().join("target/bench-venv");
    let python = folder.join("bin/python");
    if !python.exists() {
        println!("installing PyTorch into {}", folder.display());
        cmd!(sh, "python3 -m venv {folder}").run()?;
        cmd!(sh, "{python} -m pip install --quiet torch numpy").run()?;
    }
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_a_dash() {
        let record = json!({ "shape": "recipe", "threads": 2, "median": 0.05, "tokens_per_second": 16000.0,
            "gflops": null, "sgemm_gflops": 100.0, "peak_mib": 198.0 });
        let line = record_line(&record);
        assert!(line.ends_with("-                  - %      198.0"), "{line}");
    }

    #[test]
    fn a_ratio_is_of_the_better_of_two_modes_round_by_round() {
        let times = |medians: [f64; 3]| medians.map(|median| json!({ "median": median })).to_vec();
        let mut runs = BTreeMap::from([("mm", times([1.0, 1.0, 2.0]))]);
        runs.insert("eager", times([2.0, 4.0, 4.0]));
        runs.insert("sdpa", times([3.0, 3.0, 8.0]));
        runs.insert("compile", times([1.5, 1.5, 3.0]));
        runs.insert("compile-sdpa", times([9.0, 9.0, 9.0]));
        let line = table_line("packed", 2, &runs);
        assert!(line.ends_with("2.00 (2.00 to 3.00), 1.50 (1.50 to 1.50)"), "{line}");
    }
}
