//! Several processes under `mpirun` train as one does. Where there is no `mpirun`, or the program
//! was built without MPI, each test says so and ends; `cargo xtask ci` builds it with the feature
//! where it can.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::{QUICK, text};

/// `mpirun` on this machine, for as many processes as wanted, also as root and on fewer cores.
fn mpirun(count: usize) -> Command {
    let mut command = Command::new("mpirun");
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.args(["-np", &count.to_string(), "--oversubscribe", "--bind-to", "none"]);
    command.arg(env!("CARGO_BIN_EXE_mm")).stdin(Stdio::null());
    command
}

/// Whether processes can be connected here; if not, the reason is printed.
fn connected() -> bool {
    let probe =
        mpirun(2).args(["train", "--resume", "--device", "flex", "--out", "nowhere"]).output();
    let reason = match &probe {
        Err(why) => format!("`mpirun` does not start: {why}"),
        Ok(output) => match text(&output.stderr) {
            said if said.contains("built without MPI") => "built without MPI".to_owned(),
            said if said.contains("nowhere") => return true,
            said => panic!("mpirun said {said}"),
        },
    };
    eprintln!(
        "skipped, {reason}: xtask/scripts/install-optional.sh and `--features mpi` make it run"
    );
    false
}

/// One sum a rank, in 32 bits: sums in another order differ by a last bit, of which rounding to 16
/// bits would make more.
pub const ONE_SUM: [&str; 4] = ["--set", "run.micro_batches=1", "--set", "run.precision=\"f32\""];

fn train(mut command: Command, out: &Path, more: &[&str]) -> Output {
    command.args(["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()]);
    command.args(&QUICK[..QUICK.len() - 2]).args(ONE_SUM).args(more);
    command.output().unwrap()
}

fn mm() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mm"))
}

/// Losses, then the weights of the averages, of a run.
fn numbers(run: &Path) -> Vec<f64> {
    let metrics = fs_err::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let mut numbers: Vec<f64> =
        metrics.lines().map(|text| line(text)["loss"].as_f64().unwrap()).collect();
    let bytes = fs_err::read(run.join("model/model.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let weights = bytes[8 + header..].as_chunks::<4>().0;
    numbers.extend(weights.iter().map(|four| f64::from(f32::from_le_bytes(*four))));
    numbers
}

/// The largest difference of two runs, in units of the larger of 1 and the number's size.
pub fn apart(one: &Path, other: &Path) -> f64 {
    let (one, other) = (numbers(one), numbers(other));
    assert_eq!(one.len(), other.len());
    let pairs = one.iter().zip(&other);
    pairs.map(|(one, other)| (one - other).abs() / one.abs().max(1.0)).fold(0.0, f64::max)
}

#[test]
fn two_processes_with_half_the_batch_train_as_one_with_the_whole() {
    if !connected() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let more =
        ["--steps", "50", "--set", "run.checkpoint_every=25", "--set", "run.sample_every=50"];
    assert!(train(mm(), &one, &more).status.success());
    let output = train(mpirun(2), &two, &more);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("2 ranks; every step sums") && said.matches("done after 50").count() == 1
    );
    let apart = apart(&one, &two);
    eprintln!("one process and two are {apart:e} apart after 50 steps");
    assert!(apart < 1e-5, "{apart:e} apart");
}

#[test]
fn what_all_processes_refuse_is_said_once() {
    if !connected() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = train(mpirun(2), &out, &["--minutes", "1"]);
    let said = text(&output.stderr);
    assert_eq!(said.matches("`--minutes` measures one process and 2 were started").count(), 1);
    assert_eq!(output.status.code(), Some(2), "{said}");
}

/// The processes that `mpirun` with this id has started, by their ranks.
#[cfg(target_os = "linux")]
fn ranks_of(launcher: u32) -> Vec<Option<u32>> {
    let mut found = vec![None, None];
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let read = |name: &str| fs_err::read(entry.path().join(name)).unwrap_or_default();
        let status = String::from_utf8_lossy(&read("status")).into_owned();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
        let variables = read("environ");
        let rank = variables
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(b"OMPI_COMM_WORLD_RANK="));
        if let (true, Some(rank)) = (parent == Some(&launcher.to_string()), rank) {
            let rank: usize = String::from_utf8_lossy(rank).parse().unwrap();
            found[rank] = Some(id);
        }
    }
    found
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_dies_ends_the_others_within_seconds_and_the_run_goes_on_with_another_number() {
    if !connected() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for victim in [1, 0] {
        let out = folder.path().join(format!("victim-{victim}"));
        let mut command = mpirun(2);
        command.args(["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()]);
        command.args(&QUICK[..QUICK.len() - 2]);
        command.args([
            "--steps",
            "100000",
            "--set",
            "run.micro_batches=1",
            "--set",
            "run.sample_every=1000",
        ]);
        let mut launcher = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let saved = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("step-");
        let names = || fs_err::read_dir(out.join("checkpoints")).into_iter().flatten().flatten();
        while !names().any(|entry| saved(&entry.file_name())) {
            assert!(launcher.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        let ranks = ranks_of(launcher.id());
        let killed = Instant::now();
        let id = ranks[victim].unwrap().to_string();
        assert!(Command::new("kill").args(["-KILL", &id]).status().unwrap().success());
        assert!(!launcher.wait().unwrap().success());
        // The launcher may be gone a moment before the processes that it ended.
        // One whose first thread has ended keeps its files and their locks until the last one has.
        let status = |id: &u32| fs_err::read_to_string(format!("/proc/{id}/status"));
        let threads =
            |id: &u32| fs_err::read_dir(format!("/proc/{id}/task")).map_or(0, Iterator::count);
        let alive = |id: &u32| {
            status(id).is_ok_and(|status| !status.contains("State:\tZ")) || threads(id) > 1
        };
        while ranks.iter().flatten().any(alive) && killed.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = killed.elapsed();
        eprintln!("rank {victim} was killed, all were gone after {took:.1?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        // Shortened, so that it ends: the rest with one process, which takes up what two have left.
        let recipe = fs_err::read_to_string(out.join("recipe.toml")).unwrap();
        let newest = names().map(|entry| entry.file_name()).filter(|name| saved(name)).max();
        let newest: u64 = newest.unwrap().to_string_lossy()[5..].parse().unwrap();
        let steps = format!("steps = {}", newest + 4);
        fs_err::write(out.join("recipe.toml"), recipe.replace("steps = 100000", &steps)).unwrap();
        let resume = ["train", "--resume", "--device", "flex", "--out", out.to_str().unwrap()];
        let output = mm().args(resume).output().unwrap();
        let said = text(&output.stderr);
        assert!(said.contains(&format!("done after {} steps", newest + 4)), "{said}");
        assert!(!said.contains("not whole"), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_launcher_that_gets_sigterm_leaves_a_run_that_goes_on() {
    if !connected() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = mpirun(2);
    command.args(["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()]);
    command.args(&QUICK[..QUICK.len() - 2]).args([
        "--steps",
        "100000",
        "--set",
        "run.micro_batches=1",
    ]);
    command.args(["--set", "run.sample_every=100000", "--set", "run.checkpoint_every=100000"]);
    let said = folder.path().join("said");
    command.stderr(fs_err::File::create(&said).unwrap().into_file());
    let mut launcher = command.spawn().unwrap();
    while fs_err::read_to_string(out.join("metrics.jsonl")).unwrap_or_default().is_empty() {
        assert!(launcher.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = launcher.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let status = launcher.wait().unwrap();
    let said = fs_err::read_to_string(said).unwrap();
    assert!(said.contains("stopped after "), "{status} {said}");
    let names = fs_err::read_dir(out.join("checkpoints")).unwrap().flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    assert!(names.len() == 1 && names[0].to_string_lossy().starts_with("step-"), "{names:?}");
}
