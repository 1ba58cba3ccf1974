//! The process that computes on one device, and how another starts it and reads its numbers.
//!
//! A process for each device, because the kind of its numbers is chosen once for all, because a driver may crash, and
//! because peak memory is a process's own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use super::checks::{CHECKS, Check, On};
use super::numbers::Numbers;
use crate::device;
use crate::report::{Failure, say};

/// How the numbers of a device are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// The program that computes.
    pub program: PathBuf,
    /// What `--device` takes.
    pub device: String,
    /// In 64-bit floats, as the numbers that others are compared with.
    pub wide: bool,
    /// Without the kernels of our own.
    pub ordinary: bool,
}

/// What one check gave.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Which check, by its place in [`CHECKS`].
    pub check: usize,
    /// Whether the device lacks the type that the check computes in; nothing was computed then.
    pub lacks: bool,
    /// What it computed.
    pub numbers: Vec<Numbers>,
    /// The first time, with the compilation of kernels.
    pub seconds: f64,
    /// The second time.
    pub again: f64,
    /// Whether the second time gave the same bits.
    pub repeats: bool,
    /// Highest resident memory of the process during the check, MiB, where the system tells.
    pub peak_mib: Option<f64>,
    /// Memory that the device's allocator holds after it, MiB, where the backend tells.
    pub held_mib: Option<f64>,
}

/// How the checks of a device ended.
#[derive(Debug)]
pub struct Ended {
    /// What was measured.
    pub measured: Vec<Measured>,
    /// Checks that ended their process, and how.
    pub crashed: Vec<(usize, String)>,
}

/// Computes the checks from `skip` on and prints a line of JSON for each.
pub fn work(name: &str, wide: bool, skip: usize) -> Result<(), Failure> {
    let mut device = device::open(name)?;
    if wide {
        device.configure(FloatDType::F64).map_err(|why| {
            Failure::failed(anyhow::anyhow!("`{name}` does not calculate in f64: {why:?}"))
        })?;
    }
    let on = On { device, reference: wide };
    for (index, check) in CHECKS.iter().enumerate().skip(skip) {
        say!("{}", serde_json::to_string(&measured(&on, index, check)?)?);
    }
    Ok(())
}

/// Runs one check twice.
fn measured(on: &On, index: usize, check: &Check) -> Result<Measured, Failure> {
    let lacks = check.needs.is_some_and(|kind| !on.reference && !on.device.supports_dtype(kind));
    let compute = || if lacks { Ok(vec![]) } else { (check.run)(on) };
    reset_peak();
    let start = Instant::now();
    let numbers = compute()?;
    let seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let repeats = on.reference || compute()? == numbers;
    let again = start.elapsed().as_secs_f64();
    let held = on.device.memory_pool_usage().map(|usage| usage.bytes_reserved);
    let held_mib = held.map(|bytes| bytes as f64 / f64::from(1 << 20));
    let peak_mib = peak_mib();
    Ok(Measured { check: index, lacks, numbers, seconds, again, repeats, peak_mib, held_mib })
}

/// Runs all checks in processes of their own; where one crashes, the next goes on behind it.
pub fn measure(way: &Way) -> Result<Ended, Failure> {
    let mut ended = Ended { measured: vec![], crashed: vec![] };
    let mut next = 0;
    while next < CHECKS.len() {
        let crash = run_from(way, next, &mut ended.measured)?;
        next = ended.measured.last().map_or(0, |last| last.check + 1).max(next);
        let Some(crash) = crash else { break };
        ended.crashed.push((next, crash));
        next += 1;
    }
    Ok(ended)
}

/// Runs a worker from a check on; says how it ended if that was not well.
fn run_from(way: &Way, skip: usize, found: &mut Vec<Measured>) -> Result<Option<String>, Failure> {
    let mut command = Command::new(&way.program);
    command.args(["compare-backends", "--worker", &way.device, "--skip", &skip.to_string()]);
    if way.wide {
        command.arg("--wide");
    }
    command.env("MM_KERNELS", if way.ordinary { "reference" } else { "fused" });
    let mut worker = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stderr = worker.stderr.take().map(BufReader::new);
    let words = std::thread::spawn(move || last_words(stderr));
    for line in BufReader::new(worker.stdout.take().expect("piped")).lines() {
        match serde_json::from_str(&line?) {
            Ok(measured) => found.push(measured),
            Err(_) => break, // cut off by a crash
        }
    }
    let status = worker.wait()?;
    let words = words.join().unwrap_or_default();
    Ok((!status.success()).then(|| format!("{status}: {words}")))
}

/// The line of an output that says best what went wrong: an error, the one behind a panic's place, or the last.
pub fn last_words(output: Option<impl BufRead>) -> String {
    let lines: Vec<String> =
        output.into_iter().flat_map(BufRead::lines).map_while(Result::ok).collect();
    let panicked = lines.iter().position(|line| line.contains("panicked at"));
    let error = lines.iter().find(|line| line.starts_with("error: "));
    let told = error.or(panicked.and_then(|at| lines.get(at + 1))).or(lines.last());
    told.map_or_else(String::new, |line| line.chars().take(200).collect())
}

/// Makes the system count the peak anew (Linux).
fn reset_peak() {
    let _ = fs_err::write("/proc/self/clear_refs", "5"); // where it does not work, the peak is that of all checks so far
}

/// The highest resident memory of this process, where the system says it (Linux).
fn peak_mib() -> Option<f64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
