//! `mm compare-backends`: the same checks on every device, compared with the reference operations
//! in 64-bit floats.

mod checks;
mod memory;
mod network;
mod numbers;
mod operations;
mod table;
mod worker;

use std::path::{Path, PathBuf};

use clap::Parser;
use mm_backbone::Precision;
use mm_model::folder::write_atomic;

use crate::device;
use crate::model::PrecisionArg;
use crate::terminal::{Failure, failed, say, tell, usage};
use checks::{CHECKS, Check};
use numbers::{On, difference};
use table::Row;
use worker::{Ended, Setup, measure};

#[derive(Debug, Parser)]
#[command(
    after_help = "Every device runs the same checks in a process of its own. The results are compared with those
of the reference operations in 64-bit floats on flex. The exit code is 1 if the results of a device
differ too much, or if a device crashed or is not present.

Examples:
  mm compare-backends
  mm compare-backends --devices flex,wgpu:cpu --json differences.json
  mm compare-backends --losses 200 > losses.csv
  mm compare-backends --losses 300 --types f32,bf16,f16 > losses.csv
  mm compare-backends --devices wgpu --memory"
)]
pub struct CompareArgs {
    /// Devices to compare, separated by commas [default: every device that is present].
    #[arg(long, value_name = "D,D", value_delimiter = ',')]
    devices: Vec<String>,
    /// Compare devices of another build of this program, which need not have flex.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Words that the table adds to the names of devices, such as `fusion` for a build with it.
    #[arg(long, value_name = "W,W", value_delimiter = ',')]
    ways: Vec<String>,
    /// Also write the table as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the table as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Instead of the checks, print the loss of N training steps on every device, as CSV.
    #[arg(long, value_name = "N", conflicts_with_all = ["json", "markdown"])]
    losses: Option<u64>,
    /// Types that blocks multiply in, separated by commas: a column of losses for each that a
    /// device has.
    #[arg(long, value_enum, value_name = "T,T", value_delimiter = ',', requires = "losses")]
    #[arg(default_value = "f32")]
    types: Vec<PrecisionArg>,
    /// Instead of the checks, run single operations, each in a process of its own, to find the one
    /// with which a driver crashes.
    #[arg(long, conflicts_with_all = ["json", "markdown", "losses"])]
    operations: bool,
    /// Instead of the checks, measure the memory of a forward and a backward pass over 256, 1024
    /// and 4096 tokens: in recorded operations, with attention in tiles, and with blocks computed
    /// again.
    #[arg(long, conflicts_with_all = ["json", "markdown", "losses", "operations"])]
    memory: bool,
    /// Run the checks on one device and print its numbers, as a worker process does.
    #[arg(long, hide = true, value_name = "D")]
    worker: Option<String>,
    /// Compute in 64-bit floats, in a worker process.
    #[arg(long, hide = true, requires = "worker")]
    wide: bool,
    /// Compute this operation instead of the checks, in a worker process.
    #[arg(long, hide = true, requires = "worker", value_name = "I")]
    operation: Option<usize>,
    /// Measure the memory of this many tokens instead of the checks, in a worker process.
    #[arg(long, hide = true, requires = "worker", value_name = "N")]
    tokens: Option<usize>,
    /// Compute blocks again in the backward pass, in a worker process.
    #[arg(long, hide = true, requires = "tokens")]
    again: bool,
    /// Leave out the first checks, in a worker process.
    #[arg(long, hide = true, requires = "worker", default_value_t = 0)]
    skip: usize,
}

pub fn run(args: &CompareArgs) -> Result<(), Failure> {
    if let Some(device) = &args.worker {
        return match (args.operation, args.tokens) {
            (Some(operation), _) => operations::work(device, operation),
            (None, Some(tokens)) => memory::work(device, tokens, args.again),
            (None, None) => worker::work(device, args.wide, args.skip),
        };
    }
    let devices = devices(args)?;
    if let Some(steps) = args.losses {
        return losses(&devices, &args.types, steps);
    }
    if args.operations {
        return operations::all(&devices);
    }
    if args.memory {
        return memory::all(&devices);
    }
    let rows = compare(&devices, args)?;
    if let Some(path) = &args.json {
        write(path, &serde_json::to_string_pretty(&rows)?)?;
    }
    if let Some(path) = &args.markdown {
        let lines: Vec<String> = rows.iter().map(table::line).collect();
        write(path, &format!("{}\n{}\n", table::HEADING, lines.join("\n")))?;
    }
    match rows.iter().filter(|row| !row.passed()).count() {
        0 => Ok(()),
        count => Err(failed!("{count} of {} comparisons failed", rows.len())),
    }
}

/// Returns the devices that were asked for, each of which must be present; or all that are present.
fn devices(args: &CompareArgs) -> Result<Vec<String>, Failure> {
    if args.devices.is_empty() {
        let present = device::present(&device::compiled());
        let names = present.into_iter().map(|found| found.entry.name);
        return Ok(names.filter(|name| name != "flex" || args.program.is_none()).collect());
    }
    if args.program.is_some() {
        return Ok(args.devices.clone()); // the other program checks them
    }
    args.devices.iter().map(|name| Ok(device::find(name)?.entry.name)).collect()
}

/// Compares all devices with the reference, and prints each row when it is done.
fn compare(devices: &[String], args: &CompareArgs) -> Result<Vec<Row>, Failure> {
    if !device::compiled().contains(&"flex") {
        return Err(usage!(
            "the comparison needs the feature `flex`, which this build does not have"
        ));
    }
    let own = std::env::current_exe()?;
    let other = args.program.clone().unwrap_or_else(|| own.clone());
    let setup = |device: &str, reference_operations| Setup {
        program: other.clone(),
        device: device.to_owned(),
        wide: false,
        reference_operations,
    };
    tell!("computing the reference: reference operations in 64-bit floats on flex");
    let reference = measure(&Setup { program: own, wide: true, ..setup("flex", true) })?;
    if let Some(crash) = reference.crashed.first() {
        let name = CHECKS[crash.check].name;
        return Err(failed!("the reference of `{name}` failed: {}", crash.why));
    }
    say!("{}", table::HEADING);
    let mut rows = vec![];
    for device in devices {
        let kernels = if device == "flex" { &[false, true][..] } else { &[false] };
        for &reference_operations in kernels {
            let setup = setup(device, reference_operations);
            let ended = measure(&setup)?;
            for row in rows_of(&title(&setup, &args.ways), &ended, &reference) {
                say!("{}", table::line(&row));
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// Returns the name of a device in the table, with how it computes.
fn title(setup: &Setup, ways: &[String]) -> String {
    if setup.device == "flex" {
        let reference = setup.reference_operations;
        return format!(
            "flex, {}",
            if reference { "reference operations" } else { "fused kernels" }
        );
    }
    std::iter::once(&setup.device).chain(ways).map(String::as_str).collect::<Vec<_>>().join(" + ")
}

/// Makes a row for every check.
fn rows_of(title: &str, ended: &Ended, reference: &Ended) -> Vec<Row> {
    let row = |index: usize, check: &Check| {
        let base = Row::new(title.to_owned(), check.name, check.tolerance);
        let measured = ended.measured.iter().find(|measured| measured.check == index);
        let wanted = reference.measured.iter().find(|wanted| wanted.check == index);
        let crash = ended.crashed.iter().find(|crash| crash.check == index);
        match (measured, wanted) {
            (Some(measured), Some(_)) if measured.lacks => base.lacking(),
            (Some(measured), Some(wanted)) => {
                base.compared(measured, difference(&measured.results, &wanted.results))
            }
            _ => base.failed(crash.map_or("was not reached", |crash| &crash.why)),
        }
    };
    CHECKS.iter().enumerate().map(|(index, check)| row(index, check)).collect()
}

/// Prints the losses of the same training on every device and in every type that it has, one column
/// each.
fn losses(devices: &[String], types: &[PrecisionArg], steps: u64) -> Result<(), Failure> {
    let (mut names, mut columns) = (vec![], vec![]);
    for name in devices {
        let device = device::open(name)?;
        for precision in types.iter().map(|kind| kind.precision()) {
            if !device.supports_dtype(precision.dtype()) {
                tell!("`{name}` does not calculate in {}", precision.name());
                continue;
            }
            let on = On { device: device.clone(), reference: false };
            columns.push(checks::losses(&on, precision, steps)?);
            names.push(match precision {
                Precision::F32 => name.clone(),
                _ => format!("{name} {}", precision.name()),
            });
        }
    }
    say!("step,{}", names.join(","));
    for step in 0..steps as usize {
        let losses: Vec<String> = columns.iter().map(|column| column[step].to_string()).collect();
        say!("{},{}", step + 1, losses.join(","));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(write_atomic(path, text.as_bytes())?)
}
