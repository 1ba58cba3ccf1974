//! `mm compare-backends`: the same checks on every device, held to ordinary operations in 64-bit floats.

mod checks;
mod difference;
mod network;
mod numbers;
mod operations;
mod table;
mod types;
mod worker;

use std::path::Path;

use mm_model::folder::write_atomic;

use crate::args::CompareArgs;
use crate::device;
use crate::report::{Failure, say, tell, usage};
use checks::{CHECKS, On};
use difference::difference;
use table::Row;
use worker::{Ended, Way, measure};

/// Runs the command.
pub fn run(args: &CompareArgs) -> Result<(), Failure> {
    if let Some(device) = &args.worker {
        return match args.operation {
            Some(operation) => operations::work(device, operation),
            None => worker::work(device, args.wide, args.skip),
        };
    }
    let devices = devices(args)?;
    if let Some(steps) = args.losses {
        return losses(&devices, steps);
    }
    if args.operations {
        return operations::all(&devices);
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
        failed => {
            let all = rows.len();
            Err(Failure::failed(anyhow::anyhow!("{failed} of {all} comparisons failed")))
        }
    }
}

/// The devices asked for, each of which must be there; all that are there if none was named.
fn devices(args: &CompareArgs) -> Result<Vec<String>, Failure> {
    if args.devices.is_empty() {
        let present = device::present(&device::compiled());
        let names = present.into_iter().map(|found| found.entry.name);
        return Ok(names.filter(|name| name != "flex" || args.program.is_none()).collect());
    }
    if args.program.is_some() {
        return Ok(args.devices.clone()); // that program knows them
    }
    args.devices.iter().map(|name| Ok(device::find(name)?.entry.name)).collect()
}

/// The rows of all devices, printed as they come.
fn compare(devices: &[String], args: &CompareArgs) -> Result<Vec<Row>, Failure> {
    if !device::compiled().contains(&"flex") {
        return Err(usage!("the comparison needs flex, which this build has not"));
    }
    let own = std::env::current_exe()?;
    let other = args.program.clone().unwrap_or_else(|| own.clone());
    let way = |device: &str, ordinary| Way {
        program: other.clone(),
        device: device.to_owned(),
        wide: false,
        ordinary,
    };
    tell!("computing the numbers to compare with: ordinary operations in 64-bit floats on flex");
    let reference = measure(&Way { program: own, wide: true, ..way("flex", true) })?;
    if let Some((check, why)) = reference.crashed.first() {
        let name = CHECKS[*check].name;
        return Err(Failure::failed(anyhow::anyhow!("the reference of `{name}` failed: {why}")));
    }
    say!("{}", table::HEADING);
    let mut rows = vec![];
    for device in devices {
        let kernels = if device == "flex" { &[false, true][..] } else { &[false] };
        for &ordinary in kernels {
            let way = way(device, ordinary);
            let ended = measure(&way)?;
            for row in rows_of(&title(&way, &args.ways), &ended, &reference) {
                say!("{}", table::line(&row));
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// What the table calls a device and its way of computing.
fn title(way: &Way, ways: &[String]) -> String {
    if way.device == "flex" {
        let kernels = if way.ordinary { "ordinary operations" } else { "own kernels" };
        return format!("flex, {kernels}");
    }
    std::iter::once(&way.device).chain(ways).map(String::as_str).collect::<Vec<_>>().join(" + ")
}

/// A row for every check.
fn rows_of(title: &str, ended: &Ended, reference: &Ended) -> Vec<Row> {
    let row = |(index, check): (usize, &checks::Check)| {
        let base = Row::new(title.to_owned(), check.name, check.tolerance);
        let measured = ended.measured.iter().find(|measured| measured.check == index);
        let wanted = reference.measured.iter().find(|wanted| wanted.check == index);
        let crashed = ended.crashed.iter().find(|(crashed, _)| *crashed == index);
        match (measured, wanted) {
            (Some(measured), Some(_)) if measured.lacks => base.lacking(),
            (Some(measured), Some(wanted)) => {
                base.compared(measured, difference(&measured.numbers, &wanted.numbers))
            }
            _ => base.failed(crashed.map_or("was not reached", |(_, why)| why)),
        }
    };
    CHECKS.iter().enumerate().map(row).collect()
}

/// Losses of the same training on every device, one column each.
fn losses(devices: &[String], steps: u64) -> Result<(), Failure> {
    let mut columns = vec![];
    for name in devices {
        let device = device::open(name)?;
        columns.push(checks::losses(&On { device, reference: false }, steps)?);
    }
    say!("step,{}", devices.join(","));
    for step in 0..steps as usize {
        let losses: Vec<String> = columns.iter().map(|column| column[step].to_string()).collect();
        say!("{},{}", step + 1, losses.join(","));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(write_atomic(path, text.as_bytes())?)
}
