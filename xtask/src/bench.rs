//! `cargo xtask bench` times every shape of `mm bench` at one and at two threads; with arguments it
//! runs `mm bench` with them.
//!
//! With `--against-torch` the same networks are also timed in PyTorch, turn by turn.
//! `cargo xtask bench serve` measures the server.

mod serve;
mod torch;

use std::{ffi::OsString, path::Path, process::ExitCode};

use anyhow::Result;
use serde_json::Value;
#[cfg(test)]
use serde_json::json;
use xshell::{Shell, cmd};

use crate::{flags, mm};

/// Names what both sides can run.
const SHAPES: [&str; 6] = ["gau-256", "gau-768", "packed", "unet", "codec", "sampling"];
/// Names the types that blocks multiply in.
const PRECISIONS: [&str; 2] = ["f32", "bf16"];

impl flags::Bench {
    /// Builds and measures.
    pub fn run(&self, sh: &Shell, args: &[OsString]) -> Result<ExitCode> {
        if args.first().is_some_and(|first| first == "serve") {
            return serve::run(sh, &args[1..]);
        }
        if args.iter().any(|arg| arg == "--against-torch") {
            return torch::run(sh, args);
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
    println!(
        "shape      type threads    s/step   tokens/s   GFLOP/s   of a large product   peak MiB"
    );
    let mut records = vec![];
    for shape in SHAPES.into_iter().chain(["recipe"]) {
        for threads in [1, 2] {
            for precision in PRECISIONS {
                let record = ours(sh, &program, shape, precision, threads, STEPS)?;
                println!("{}", record_line(&record));
                records.push(record);
            }
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
        "{:10} {:4} {:7} {:9.4} {:10.0} {:>9} {:>18} % {:>10}",
        record["shape"].as_str().unwrap_or_default(),
        record["precision"].as_str().unwrap_or_default(),
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

/// Times a shape in one type of products.
fn ours(
    sh: &Shell,
    program: &Path,
    shape: &str,
    precision: &str,
    threads: usize,
    steps: usize,
) -> Result<Value> {
    let (threads, steps, pin) = (threads.to_string(), steps.to_string(), pinned(sh, threads));
    let out = cmd!(
        sh,
        "env {pin...} {program} bench --shape {shape} --precision {precision} --threads {threads} --steps {steps} --json"
    );
    Ok(serde_json::from_str(&out.quiet().read()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_a_dash() {
        let record = json!({ "shape": "recipe", "precision": "f32", "threads": 2, "median": 0.05,
            "tokens_per_second": 16000.0, "gflops": null, "sgemm_gflops": 100.0, "peak_mib": 198.0 });
        let line = record_line(&record);
        assert!(line.ends_with("-                  - %      198.0"), "{line}");
    }
}
