//! `cargo xtask compare-backends` builds `mm` with the features that the devices need, runs
//! `mm compare-backends`, and joins the tables of several builds.
//!
//! `vulkan` and `metal` are built apart from the others: with one of them compiled in, the device
//! `wgpu` too would use its compiler instead of WebGPU's shading language. `fusion` and `autotune`
//! change every graphics backend, so each is a build of its own as well.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::{chart, flags, mm};

/// One build of the program and the devices that it compares; it compares all that it finds if none
/// is named.
#[derive(Debug, Clone, PartialEq)]
struct Build {
    features: Vec<String>,
    devices: Vec<String>,
    /// Holds those of the features that are ways of computing.
    ways: Vec<String>,
}

/// The programs to build: first the one that compares, with flex for the numbers to compare with,
/// then those that only compute.
#[derive(Debug, Clone, PartialEq)]
struct Plan {
    /// Holds the devices that share a build.
    first: Build,
    others: Vec<Build>,
}

impl flags::CompareBackends {
    /// Builds, runs, joins the tables; fails if a comparison did.
    pub fn run(&self, sh: &Shell) -> Result<ExitCode> {
        let Plan { first, others } = plan(self.devices.as_deref(), self.with.as_deref())?;
        if let Some(steps) = self.losses {
            return self.losses(sh, &first, steps);
        }
        let scratch = sh.create_temp_dir()?;
        let built = self.build(sh, &first, true)?;
        let compares = scratch.path().join("mm"); // the next build writes over the original
        sh.copy_file(&built, &compares)?;
        let mut joined = Joined { rows: vec![], markdown: heading(sh, &compares)?, failed: false };
        if self.devices.is_none() || !first.devices.is_empty() {
            joined.add(sh, &compares, &first, None)?;
        }
        for build in &others {
            let computes = self.build(sh, build, false)?;
            joined.add(sh, &compares, build, Some(&computes))?;
        }
        if let Some(path) = &self.json {
            sh.write_file(path, serde_json::to_string_pretty(&joined.rows)?)?;
        }
        if let Some(path) = &self.markdown {
            sh.write_file(path, joined.markdown)?;
        }
        Ok(if joined.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Builds the program with these features, with flex or without; returns its path.
    fn build(&self, sh: &Shell, build: &Build, flex: bool) -> Result<PathBuf> {
        let mut flags = vec![format!("--features={}", build.features.join(","))];
        flags.extend((!flex).then(|| "--no-default-features".to_owned()));
        flags.extend(self.release.then(|| "--release".to_owned()));
        if !self.as_tested {
            cmd!(sh, "cargo build -p mm-cli {flags...}").run()?;
        }
        let program = format!("mm{}", std::env::consts::EXE_SUFFIX);
        let folder = if self.release { "release" } else { "debug" };
        Ok(mm::target(sh)?.join(folder).join(program))
    }

    /// Trains on every device from the same seed and draws the losses.
    fn losses(&self, sh: &Shell, build: &Build, steps: u64) -> Result<ExitCode> {
        let out = self.out.as_deref().context("`--losses` needs `--out FILE`")?;
        let program = self.build(sh, build, true)?;
        let (devices, steps) = (build.devices.join(","), steps.to_string());
        let devices = (!devices.is_empty()).then(|| format!("--devices={devices}"));
        let types = self.types.as_ref().map(|types| format!("--types={types}"));
        let losses =
            cmd!(sh, "{program} compare-backends {devices...} --losses {steps} {types...}");
        let csv = losses.env("XDG_RUNTIME_DIR", runtime_folder()).read()?;
        sh.write_file(out.with_extension("csv"), format!("{csv}\n"))?;
        let what = if self.types.is_some() { "in every type" } else { "on every backend" };
        let title = format!("Loss of {steps} training steps from the same seed {what}");
        let curves = chart::curves(&csv)?;
        let losses = chart::Chart { title: &title, x: "step", y: "loss", curves, doubling: false };
        sh.write_file(out.with_extension("svg"), chart::svg(&losses)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Joins the tables of all builds.
struct Joined {
    rows: Vec<Value>,
    markdown: String,
    failed: bool,
}

impl Joined {
    /// Runs a comparison and adds its table; `computes` is the program that has the devices, if it
    /// is another.
    fn add(
        &mut self,
        sh: &Shell,
        compares: &Path,
        build: &Build,
        computes: Option<&Path>,
    ) -> Result<()> {
        let scratch = sh.create_temp_dir()?;
        let [json, markdown] = ["json", "md"].map(|ending| scratch.path().join(ending));
        let mut compare = Command::from(sh.cmd(compares));
        compare.arg("compare-backends").env("XDG_RUNTIME_DIR", runtime_folder());
        compare.arg("--json").arg(&json).arg("--markdown").arg(&markdown);
        for (flag, values) in [("--devices", &build.devices), ("--ways", &build.ways)] {
            if !values.is_empty() {
                compare.args([flag, &values.join(",")]);
            }
        }
        if let Some(computes) = computes {
            compare.arg("--program").arg(computes);
        }
        self.failed |= mm::attached(&mut compare)? != ExitCode::SUCCESS;
        if !sh.path_exists(&json) {
            return Ok(());
        }
        let heading = if self.rows.is_empty() { 0 } else { 2 };
        self.rows.extend(serde_json::from_str::<Vec<Value>>(&sh.read_file(json)?)?);
        let lines = sh.read_file(markdown)?;
        self.markdown.extend(lines.lines().skip(heading).flat_map(|line| [line, "\n"]));
        Ok(())
    }
}

/// Returns the builds that these devices and ways of computing need, in the order in which they
/// run.
fn plan(devices: Option<&str>, ways: Option<&str>) -> Result<Plan> {
    let mut plain = match devices {
        None => vec![Build { features: vec!["wgpu".into()], devices: vec![], ways: vec![] }],
        Some(devices) => {
            let devices: Vec<&str> = devices.split(',').collect();
            ensure!(devices.iter().all(|device| !device.is_empty()), "`--devices` names no device");
            let apart = [None, Some("vulkan"), Some("metal")];
            let builds = apart.into_iter().map(|apart| build_of(&devices, apart));
            builds.collect::<Result<Vec<_>>>()?
        }
    };
    let mut with_ways = vec![];
    for way in ways.into_iter().flat_map(|ways| ways.split(',')) {
        let ways: Vec<String> = way.split('+').map(String::from).collect();
        ensure!(
            ways.iter().all(|way| ["fusion", "autotune"].contains(&&**way)),
            "`--with {way}` is unknown, there are fusion and autotune"
        );
        for build in &plain {
            let mut build = Build { ways: ways.clone(), ..build.clone() };
            build.features.extend(ways.clone());
            build.devices.retain(|device| device != "flex"); // it knows no such ways
            with_ways.push(build);
        }
    }
    let first = plain.remove(0);
    let mut others: Vec<Build> = plain.into_iter().chain(with_ways).collect();
    others.retain(|build| devices.is_none() || !build.devices.is_empty());
    Ok(Plan { first, others })
}

/// Returns the build of the devices whose backend is built apart from the others, or of those that
/// share a build.
fn build_of(devices: &[&str], apart: Option<&str>) -> Result<Build> {
    let mut build = Build { features: vec![], devices: vec![], ways: vec![] };
    for device in devices {
        let feature = mm::feature_of(device)?;
        let own = feature.filter(|feature| ["vulkan", "metal"].contains(feature));
        if own != apart {
            continue;
        }
        build.devices.push((*device).to_owned());
        let feature = feature.map(String::from);
        build.features.extend(feature.filter(|feature| !build.features.contains(feature)));
    }
    Ok(build)
}

/// Says above the table when it was made, with which versions, and on which devices.
fn heading(sh: &Shell, program: &Path) -> Result<String> {
    let date = cmd!(sh, "date -u +%Y-%m-%d").quiet().ignore_status().read()?;
    let compiler = cmd!(sh, "rustc --version").quiet().read()?;
    let burn = version_of("burn", &sh.read_file("Cargo.lock")?)?;
    let devices = cmd!(sh, "{program} devices").quiet().ignore_stderr().read()?;
    Ok(format!("Made on {date} with Burn {burn} and {compiler}.\n\n```text\n{devices}\n```\n\n"))
}

/// Returns the version of a package in the text of `Cargo.lock`.
fn version_of(name: &str, lock: &str) -> Result<String> {
    let heading = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != heading).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = "));
    Ok(version
        .with_context(|| format!("`Cargo.lock` has no `{name}`"))?
        .trim_matches('"')
        .to_owned())
}

/// Returns a folder for what drivers leave while they run; lavapipe complains where none is named.
fn runtime_folder() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// Says why there is no Vulkan device in software here; returns nothing if there seems to be one.
pub fn no_software_vulkan(sh: &Shell) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("lavapipe is looked for on Linux alone".to_owned());
    }
    let libraries = ["ldconfig", "/sbin/ldconfig"]
        .into_iter()
        .find_map(|program| cmd!(sh, "{program} -p").quiet().ignore_stderr().read().ok());
    if !libraries.is_some_and(|libraries| libraries.contains("libvulkan.so.1")) {
        return Some("there is no Vulkan loader, Debian's `libvulkan1`".to_owned());
    }
    let drivers = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"]
        .into_iter()
        .flat_map(|folder| sh.read_dir(folder).unwrap_or_default());
    let lavapipe = |path: PathBuf| path.to_string_lossy().contains("lvp_icd");
    let found = drivers.into_iter().any(lavapipe);
    (!found).then(|| "there is no lavapipe, Debian's `mesa-vulkan-drivers`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(devices: Option<&str>, ways: Option<&str>, wanted: &[(&str, &str, &str)]) {
        let words = |text: &str| text.split_terminator(',').map(String::from).collect();
        let build = |&(features, devices, ways): &(&str, &str, &str)| Build {
            features: words(features),
            devices: words(devices),
            ways: words(ways),
        };
        let Plan { first, others } = plan(devices, ways).unwrap();
        let found: Vec<Build> = std::iter::once(first).chain(others).collect();
        let wanted: Vec<Build> = wanted.iter().map(build).collect();
        assert_eq!(found, wanted, "{devices:?} with {ways:?}");
    }

    #[test]
    fn one_build_serves_all_devices_but_those_that_change_the_others() {
        check(None, None, &[("wgpu", "", "")]);
        check(Some("flex"), None, &[("", "flex", "")]);
        check(Some("vulkan"), None, &[("", "", ""), ("vulkan", "vulkan", "")]);
        check(
            Some("flex,wgpu:cpu,vulkan,wgpu:0,cuda:0"),
            None,
            &[("wgpu,cuda", "flex,wgpu:cpu,wgpu:0,cuda:0", ""), ("vulkan", "vulkan", "")],
        );
    }

    #[test]
    fn every_way_of_computing_is_one_more_build_without_the_processor() {
        check(
            Some("flex,cuda:0"),
            Some("fusion,fusion+autotune"),
            &[
                ("cuda", "flex,cuda:0", ""),
                ("cuda,fusion", "cuda:0", "fusion"),
                ("cuda,fusion,autotune", "cuda:0", "fusion,autotune"),
            ],
        );
        check(None, Some("fusion"), &[("wgpu", "", ""), ("wgpu,fusion", "", "fusion")]);
        check(Some("flex"), Some("fusion"), &[("", "flex", "")]);
        assert!(plan(None, Some("fuse")).is_err());
        assert!(plan(Some("tpu"), None).is_err());
    }

    #[test]
    fn a_version_is_read_from_the_lock_file() {
        let lock = "[[package]]\nname = \"burner\"\nversion = \"9\"\n\n[[package]]\nname = \"burn\"\nversion = \"0.22.1\"\n";
        assert_eq!(version_of("burn", lock).unwrap(), "0.22.1");
        assert!(version_of("bur", lock).is_err());
    }
}
