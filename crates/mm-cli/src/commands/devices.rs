//! `mm devices`: the devices of this machine, and the features that would add backends.

use burn::prelude::Device;
use burn::tensor::FloatDType;
use clap::Parser;

use crate::device::{self, BACKENDS, Entry, Found, Identity, Kind};
use crate::host;
use crate::terminal::{Failure, say};

#[derive(Debug, Parser)]
#[command(
    after_help = "The first column is the name that --device takes. The types are those in which the device
calculates; training and sampling use f32 unless the recipe sets run.precision.

Examples:
  mm devices
  mm devices --json"
)]
pub struct DevicesArgs {
    /// Print one JSON object for each device.
    #[arg(long)]
    json: bool,
}

/// What is printed about one device.
#[derive(Debug, serde::Serialize)]
struct Line {
    name: String,
    backend: &'static str,
    kind: &'static str,
    /// The model of the card or the processor.
    part: String,
    /// The language that kernels are compiled to.
    kernels: String,
    /// The memory in MiB, where the system tells it.
    memory_mib: Option<u64>,
    /// The floating-point types in which the device calculates.
    types: Vec<&'static str>,
}

pub fn run(args: &DevicesArgs) -> Result<(), Failure> {
    let compiled = device::compiled();
    let found = device::present(&compiled);
    let lines: Vec<Line> = found.iter().map(line).collect();
    if args.json {
        for line in &lines {
            say!("{}", serde_json::to_string(line)?);
        }
        return Ok(());
    }
    say!("{}", table(&lines));
    say!("compiled in: {}", device::features().join(", "));
    let absent: Vec<&str> =
        BACKENDS.into_iter().filter(|backend| !compiled.contains(backend)).collect();
    if !absent.is_empty() {
        let features = absent.join(", ");
        say!(
            "not compiled in: {features}; `cargo build --release -p mm-cli --features NAME` adds one"
        );
    }
    let entries: Vec<Entry> = found.into_iter().map(|found| found.entry).collect();
    if let Some((entry, reason)) = device::automatic(&entries) {
        say!("--device auto takes {}: {reason}", entry.name);
    }
    Ok(())
}

fn line(found: &Found) -> Line {
    let Found { entry, device } = found;
    let of_processor = matches!(entry.kind, Kind::Processor | Kind::Software);
    let Identity { name: part, fingerprint } =
        device::identity(device).unwrap_or_else(|| Identity {
            name: host::processor().unwrap_or_else(|| "this processor".to_owned()),
            fingerprint: String::new(),
        });
    Line {
        name: entry.name.clone(),
        backend: entry.backend,
        kind: entry.kind.words(),
        part,
        kernels: device::language(entry.backend, &fingerprint),
        memory_mib: of_processor.then(host::total_memory_mib).flatten(),
        types: types(device),
    }
}

/// Lists the floating-point types in which a device calculates.
fn types(device: &Device) -> Vec<&'static str> {
    let all = [
        ("f64", FloatDType::F64),
        ("f32", FloatDType::F32),
        ("f16", FloatDType::F16),
        ("bf16", FloatDType::BF16),
    ];
    all.into_iter().filter(|(_, kind)| device.supports_dtype(*kind)).map(|(name, _)| name).collect()
}

/// Aligns all lines in columns below a heading.
fn table(lines: &[Line]) -> String {
    let memory = |mib: Option<u64>| match mib {
        Some(mib) => format!("{:.1} GiB", mib as f64 / 1024.0),
        None => "unknown".to_owned(),
    };
    let mut rows = vec![["name", "kind", "memory", "types", "kernels", "part"].map(String::from)];
    rows.extend(lines.iter().map(|line| {
        let types = line.types.join(" ");
        let (kind, kernels) = (line.kind.to_owned(), line.kernels.clone());
        [line.name.clone(), kind, memory(line.memory_mib), types, kernels, line.part.clone()]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len()).filter_map(width).collect();
    let row = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_types_are_those_it_calculates_in() {
        assert_eq!(types(&Device::flex()), ["f64", "f32", "f16", "bf16"]);
    }

    #[test]
    fn kernels_are_named_by_the_language_that_they_are_compiled_to() {
        let single = ["vulkan", "metal"].iter().all(|other| !device::compiled().contains(other));
        if single {
            assert_eq!(device::language("wgpu", "spirv_65541_0"), "WGSL");
        }
        assert_eq!(device::language("vulkan", "spirv_65541_0"), "SPIR-V");
        assert_eq!(device::language("cuda", "ptx_sm90"), "PTX sm_90");
        assert_eq!(device::language("flex", ""), "machine code");
    }

    #[test]
    fn the_table_has_a_line_for_every_device_under_a_heading() {
        let device = |name: &str, memory_mib| Line {
            name: name.to_owned(),
            backend: "wgpu",
            kind: "graphics card",
            part: "a card".to_owned(),
            kernels: "WGSL".to_owned(),
            memory_mib,
            types: vec!["f32", "f16"],
        };
        let wanted = "
name      kind           memory   types    kernels  part
wgpu:0    graphics card  1.5 GiB  f32 f16  WGSL     a card
wgpu:cpu  graphics card  unknown  f32 f16  WGSL     a card";
        let lines = [device("wgpu:0", Some(1536)), device("wgpu:cpu", None)];
        assert_eq!(format!("\n{}", table(&lines)), wanted);
    }
}
