//! `cargo xtask mm ARGS` builds the release program and runs it: with the backend that its
//! `--device` needs, and with the reader of networks where `--features` names one.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::flags;

impl flags::Mm {
    /// Builds and runs, in the folder the command was typed in.
    pub fn run(&self, sh: &Shell, args: &[OsString]) -> Result<ExitCode> {
        build_and_run(sh, args)
    }
}

/// Builds `mm` for the device that `args` name and runs it with them; returns its exit code.
pub fn build_and_run(sh: &Shell, args: &[OsString]) -> Result<ExitCode> {
    let program = build_with(sh, features_of(args)?)?;
    attached(Command::new(program).args(args))
}

/// Builds the release program with the feature that `device` needs; returns its path.
pub fn build(sh: &Shell, device: Option<&str>) -> Result<PathBuf> {
    let feature = device.map(feature_of).transpose()?.flatten();
    build_with(sh, feature.into_iter().collect())
}

/// Builds the release program with these features beside the default ones; returns its path.
pub fn build_with(sh: &Shell, features: Vec<&str>) -> Result<PathBuf> {
    let features = (!features.is_empty()).then(|| format!("--features={}", features.join(",")));
    cmd!(sh, "cargo build --release -p mm-cli {features...}").run()?;
    let program = format!("mm{}", std::env::consts::EXE_SUFFIX);
    Ok(target(sh)?.join("release").join(program))
}

/// Runs a command on this very terminal, keyboard included; returns its exit code.
pub fn attached(command: &mut Command) -> Result<ExitCode> {
    let status =
        command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Returns where cargo builds: `target`, unless the reader's own settings say otherwise.
pub fn target(sh: &Shell) -> Result<PathBuf> {
    let metadata = cmd!(sh, "cargo metadata --no-deps --format-version 1").quiet().read()?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let folder = metadata["target_directory"]
        .as_str()
        .context("`cargo metadata` names no `target_directory`")?;
    Ok(folder.into())
}

/// Returns the feature of `mm-cli` that turns a device's backend on; the processor's is on by
/// default.
pub fn feature_of(device: &str) -> Result<Option<&'static str>> {
    const FEATURES: [&str; 4] = ["vulkan", "wgpu", "metal", "cuda"];
    let backend = device.split(':').next().unwrap_or_default();
    match FEATURES.into_iter().find(|feature| *feature == backend) {
        Some(feature) => Ok(Some(feature)),
        None if ["flex", "cpu", "auto"].contains(&backend) => Ok(None),
        None => {
            bail!("no device is called `{device}`, there are flex, vulkan, wgpu, metal and cuda")
        }
    }
}

/// Returns the features of `mm-cli` that a command line of `mm` needs.
fn features_of(args: &[OsString]) -> Result<Vec<&'static str>> {
    let device = match device_of(args) {
        Some(device) => feature_of(&device)?,
        None => None,
    };
    let onnx = value_of(args, "--features").map(|_| "onnx");
    Ok(device.into_iter().chain(onnx).collect())
}

/// Returns what `--device` says in a command line of `mm`.
pub fn device_of(args: &[OsString]) -> Option<String> {
    value_of(args, "--device")
}

/// Returns what stands behind a flag, or behind its `=`.
fn value_of(args: &[OsString], flag: &str) -> Option<String> {
    let mut args = args.iter().map(|arg| arg.to_string_lossy());
    while let Some(arg) = args.next() {
        let Some(rest) = arg.strip_prefix(flag) else { continue };
        if rest.is_empty() {
            return args.next().map(String::from);
        }
        if let Some(value) = rest.strip_prefix('=') {
            return Some(value.into());
        }
    }
    None
}

/// Runs a command whose progress is of no interest; returns what it prints, unless it fails.
pub fn quietly(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot start `mm`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed:\n{said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_device(line: &str, device: Option<&str>) {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert_eq!(device_of(&args).as_deref(), device, "{line}");
    }

    #[test]
    fn the_device_is_found_in_both_spellings() {
        check_device("draw m --device cuda:0 --seed 1", Some("cuda:0"));
        check_device("draw m --device=vulkan", Some("vulkan"));
        check_device("draw m --device", None);
        check_device("draw m", None);
    }

    #[test]
    fn a_device_needs_the_feature_of_its_name_and_the_processor_none() {
        assert_eq!(feature_of("cuda:1").unwrap(), Some("cuda"));
        assert_eq!(feature_of("flex").unwrap(), None);
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let features = |line: &str| features_of(&words(line)).unwrap();
        assert_eq!(features("eval m --task kid --features n.onnx"), ["onnx"]);
        assert_eq!(features("eval m --features=n.onnx --device wgpu:0"), ["wgpu", "onnx"]);
        assert!(features("train glyphs --device flex").is_empty());
        let error = feature_of("coda").unwrap_err().to_string();
        assert_eq!(
            error,
            "no device is called `coda`, there are flex, vulkan, wgpu, metal and cuda"
        );
    }
}
