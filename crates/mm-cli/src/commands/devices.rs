//! `mm devices`: what this machine can compute on, and what this build could if it had more features.

use burn::prelude::Device;
use burn::tensor::FloatDType;

use crate::args::DevicesArgs;
use crate::device::{self, BACKENDS, Entry, Found, Kind};
use crate::report::{Failure, say};

/// What is told of one device.
#[derive(Debug, serde::Serialize)]
struct Line {
    name: String,
    backend: &'static str,
    kind: &'static str,
    part: String,
    /// What kernels are compiled to.
    kernels: String,
    /// MiB of memory, where the system tells.
    memory_mib: Option<u64>,
    /// The floating-point types that it calculates in.
    types: Vec<&'static str>,
}

/// Runs the command.
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
            "not compiled in: {features}; cargo build --release -p mm-cli --features NAME adds one"
        );
    }
    let entries: Vec<Entry> = found.into_iter().map(|found| found.entry).collect();
    if let Ok((at, why)) = device::choose("auto", &entries) {
        say!("--device auto takes {}: {}", entries[at].name, why.unwrap_or_default());
    }
    Ok(())
}

fn line(found: &Found) -> Line {
    let Found { entry, device } = found;
    let of_processor = matches!(entry.kind, Kind::Processor | Kind::Software);
    let [part, fingerprint] = device::identity(device).unwrap_or_else(|| {
        [processor().unwrap_or_else(|| "this processor".to_owned()), String::new()]
    });
    let kernels = device::language(entry.backend, &fingerprint);
    Line {
        name: entry.name.clone(),
        backend: entry.backend,
        kind: entry.kind.words(),
        part,
        kernels,
        memory_mib: of_processor.then(host_memory_mib).flatten(),
        types: types(device),
    }
}

/// The floating-point types that a device calculates in.
fn types(device: &Device) -> Vec<&'static str> {
    let all = [
        ("f64", FloatDType::F64),
        ("f32", FloatDType::F32),
        ("f16", FloatDType::F16),
        ("bf16", FloatDType::BF16),
    ];
    all.into_iter().filter(|(_, kind)| device.supports_dtype(*kind)).map(|(name, _)| name).collect()
}

/// All lines under one another.
fn table(lines: &[Line]) -> String {
    let memory = |mib: Option<u64>| match mib {
        Some(mib) => format!("{:.1} GiB", mib as f64 / 1024.0),
        None => "not told".to_owned(),
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

/// The processor as it names itself, where the system says it (Linux).
fn processor() -> Option<String> {
    let text = fs_err::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Memory of the machine, where the system says it (Linux).
fn host_memory_mib() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
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
        let alone = ["vulkan", "metal"].iter().all(|other| !device::compiled().contains(other));
        if alone {
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
name      kind           memory    types    kernels  part
wgpu:0    graphics card  1.5 GiB   f32 f16  WGSL     a card
wgpu:cpu  graphics card  not told  f32 f16  WGSL     a card";
        let lines = [device("wgpu:0", Some(1536)), device("wgpu:cpu", None)];
        assert_eq!(format!("\n{}", table(&lines)), wanted);
    }
}
