//! The process that computes on one device, and how another process starts it and reads its
//! numbers.
//!
//! Each device has a process, because the type of its numbers is chosen once per process, because a
//! driver may crash, and because peak memory is measured per process.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use super::checks::{CHECKS, Check};
use super::numbers::{Numbers, On};
use crate::terminal::{Failure, failed, say};
use crate::{device, host};

/// How the numbers of a device are computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The program that computes.
    pub program: PathBuf,
    /// The name that `--device` takes.
    pub device: String,
    /// Whether it computes in 64-bit floats, as the reference does.
    pub wide: bool,
    /// Whether it computes with the reference operations instead of the fused kernels.
    pub reference_operations: bool,
}

/// The result of one check.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The index of the check in [`CHECKS`].
    pub check: usize,
    /// Whether the device lacks the type in which the check computes; nothing was computed then.
    pub lacks: bool,
    /// The numbers that the check computed.
    pub results: Vec<Numbers>,
    /// The seconds of the first run, with the compilation of kernels.
    pub seconds: f64,
    /// The seconds of the second run.
    pub again: f64,
    /// Whether the second run gave the same bits.
    pub repeats: bool,
    /// The highest resident memory of the process during the check in MiB, where the system tells
    /// it.
    pub peak_mib: Option<f64>,
    /// The memory that the device's allocator holds after the check in MiB, where the backend tells
    /// it.
    pub held_mib: Option<f64>,
}

/// A check that ended its process.
#[derive(Debug)]
pub struct Crash {
    /// The index of the check in [`CHECKS`].
    pub check: usize,
    /// The exit status and the last message.
    pub why: String,
}

/// The results of all checks of a device.
#[derive(Debug)]
pub struct Ended {
    /// The results of the checks that ended.
    pub measured: Vec<Measured>,
    /// The checks that ended their process, with the last message.
    pub crashed: Vec<Crash>,
}

/// Computes the checks from `skip` on, and prints a line of JSON for each.
pub fn work(name: &str, wide: bool, skip: usize) -> Result<(), Failure> {
    let mut device = device::open(name)?;
    if wide {
        device
            .configure(FloatDType::F64)
            .map_err(|why| failed!("`{name}` does not calculate in f64: {why:?}"))?;
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
    host::reset_peak_memory();
    let start = Instant::now();
    let results = compute()?;
    let seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let repeats = on.reference || compute()? == results;
    let again = start.elapsed().as_secs_f64();
    let held = on.device.memory_pool_usage().map(|usage| usage.bytes_reserved);
    let held_mib = held.map(|bytes| bytes as f64 / f64::from(1 << 20));
    let peak_mib = host::peak_memory_mib();
    Ok(Measured { check: index, lacks, results, seconds, again, repeats, peak_mib, held_mib })
}

/// Runs all checks in a process of their own. Where one crashes, another process continues after
/// it.
pub fn measure(setup: &Setup) -> Result<Ended, Failure> {
    let mut ended = Ended { measured: vec![], crashed: vec![] };
    let mut next = 0;
    while next < CHECKS.len() {
        let crash = run_from(setup, next, &mut ended.measured)?;
        next = ended.measured.last().map_or(0, |last| last.check + 1).max(next);
        let Some(why) = crash else { break };
        ended.crashed.push(Crash { check: next, why });
        next += 1;
    }
    Ok(ended)
}

/// Runs a worker from a check on; returns the exit status and the last message if it failed.
fn run_from(
    setup: &Setup,
    skip: usize,
    found: &mut Vec<Measured>,
) -> Result<Option<String>, Failure> {
    let mut command = Command::new(&setup.program);
    command.args(["compare-backends", "--worker", &setup.device, "--skip", &skip.to_string()]);
    if setup.wide {
        command.arg("--wide");
    }
    command.env("MM_KERNELS", if setup.reference_operations { "reference" } else { "fused" });
    let mut worker = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stderr = worker.stderr.take().map(BufReader::new);
    let message = std::thread::spawn(move || last_message(stderr));
    for line in BufReader::new(worker.stdout.take().expect("piped")).lines() {
        match serde_json::from_str(&line?) {
            Ok(measured) => found.push(measured),
            Err(_) => break, // cut off by a crash
        }
    }
    let status = worker.wait()?;
    let message = message.join().unwrap_or_default();
    Ok((!status.success()).then(|| format!("{status}: {message}")))
}

/// Returns the line of an output that says best what went wrong: an error, the line after the place
/// of a panic, or the last line.
pub fn last_message(output: Option<impl BufRead>) -> String {
    let lines: Vec<String> =
        output.into_iter().flat_map(BufRead::lines).map_while(Result::ok).collect();
    let panicked = lines.iter().position(|line| line.contains("panicked at"));
    let error = lines.iter().find(|line| line.starts_with("error: "));
    let told = error.or(panicked.and_then(|at| lines.get(at + 1))).or(lines.last());
    told.map_or_else(String::new, |line| line.chars().take(200).collect())
}
