//! What must not change a run: a kill, a full disk, the number of threads, the kernels, its length.

use std::path::Path;
use std::process::{Command, Output};

use crate::{QUICK, done, model, text};

/// The last of the checkpoints of a run, and the model it ended with.
fn ending(run: &Path) -> Vec<Vec<u8>> {
    ["checkpoints/step-000000030/average.safetensors", "model/model.safetensors"]
        .map(|file| fs_err::read(run.join(file)).unwrap())
        .into()
}

#[test]
fn a_run_that_is_killed_and_resumed_ends_with_the_bits_of_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let args = |out: &Path| -> Vec<String> {
        let mut args = vec!["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()];
        args.extend(&QUICK[..QUICK.len() - 1]);
        args.push("30");
        args.into_iter().map(String::from).collect()
    };
    let whole = folder.path().join("whole");
    done(&args(&whole).iter().map(String::as_str).collect::<Vec<_>>());
    let cut = folder.path().join("cut");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    let mut running = command.args(args(&cut)).stderr(std::process::Stdio::null()).spawn().unwrap();
    for wait in [1, 7, 20] {
        // Killed some moments after a whole checkpoint is there, once in a while inside the writing
        // of the next.
        let whole = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("step-");
        let names = || fs_err::read_dir(cut.join("checkpoints")).into_iter().flatten().flatten();
        while running.try_wait().unwrap().is_none()
            && !names().any(|entry| whole(&entry.file_name()))
        {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::thread::sleep(std::time::Duration::from_millis(wait));
        running.kill().unwrap();
        running.wait().unwrap();
        let resume = ["train", "--device", "flex", "--resume", "--out", cut.to_str().unwrap()];
        running = Command::new(env!("CARGO_BIN_EXE_mm"))
            .args(resume)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
    }
    assert!(running.wait().unwrap().success());
    assert_eq!(ending(&whole), ending(&cut));
}

/// Losses and final weights of a short run with a variable set.
fn trained_with(variable: (&str, &str), shards: &str) -> (Vec<f64>, Vec<u8>) {
    trained_in("f32", variable, shards)
}

/// Losses and final weights of such a run, whose blocks multiply in this type.
fn trained_in(precision: &str, variable: (&str, &str), shards: &str) -> (Vec<f64>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let shards = format!("run.micro_batches={shards}");
    let mut args = vec!["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()];
    let precision = format!("run.precision={precision}");
    args.extend(["--set", &shards, "--set", &precision]);
    args.extend(&QUICK[..QUICK.len() - 1]);
    args.push("40");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    let output = command.args(args).env(variable.0, variable.1).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let metrics = fs_err::read_to_string(out.join("metrics.jsonl")).unwrap();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let losses = metrics.lines().filter_map(|text| line(text)["loss"].as_f64()).collect();
    (losses, fs_err::read(out.join("model/model.safetensors")).unwrap())
}

#[test]
fn training_gives_the_same_bits_with_one_thread_and_with_two() {
    for shards in ["1", "2"] {
        let one = trained_with(("RAYON_NUM_THREADS", "1"), shards);
        assert_eq!(one, trained_with(("RAYON_NUM_THREADS", "2"), shards));
    }
}

#[test]
fn training_gives_the_same_bits_with_more_threads_than_micro_batches_in_both_types() {
    for precision in ["f32", "bf16"] {
        let one = trained_in(precision, ("RAYON_NUM_THREADS", "1"), "2");
        for threads in ["3", "8"] {
            assert_eq!(one, trained_in(precision, ("RAYON_NUM_THREADS", threads), "2"));
        }
    }
}

#[test]
fn fused_kernels_train_as_reference_operations_do() {
    let (fused, _) = trained_with(("MM_KERNELS", "fused"), "2");
    let (reference, _) = trained_with(("MM_KERNELS", "reference"), "2");
    assert_eq!(fused.len(), 4);
    for (fused, reference) in fused.iter().zip(&reference) {
        assert!((fused - reference).abs() <= 1e-3 * reference.abs(), "{fused} and {reference}");
    }
    assert_ne!(fused, reference, "the kernels were not used");
}

/// Runs `mm` where no file may grow beyond some blocks: the writes fail as on a full disk.
#[cfg(unix)]
fn mm_on_a_full_disk(blocks: usize, args: &[&str]) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let program = env!("CARGO_BIN_EXE_mm");
    Command::new("sh").args(["-c", &script, program]).args(args).output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_one_clear_error_and_leaves_nothing_under_a_final_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args = vec!["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()];
    args.extend(QUICK);
    let output = mm_on_a_full_disk(96, &args); // samples fit, a checkpoint does not
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && said.contains("File too large"), "{said}");
    assert!(said.contains("checkpoints/.step-000000004.tmp"), "{said}");
    let left = |path: &str| fs_err::read_dir(out.join(path)).map_or(0, Iterator::count);
    assert_eq!((left("checkpoints"), left("model")), (0, 0));

    let drawn = folder.path().join("drawn.png");
    let args = ["draw", &model(), "red K on yellow", "--out", drawn.to_str().unwrap()];
    let output = mm_on_a_full_disk(0, &args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("drawn.png") && said.contains("File too large"), "{said}");
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1, "the run alone is left");
}

/// Resident memory of a process in KiB.
#[cfg(target_os = "linux")]
fn resident(process: u32) -> Option<usize> {
    let status = fs_err::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(target_os = "linux")]
#[test]
fn memory_stays_flat_over_a_thousand_steps() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args = vec!["train", "glyphs", "--device", "flex", "--out", out.to_str().unwrap()];
    args.extend(&QUICK[..QUICK.len() - 1]);
    args.extend([
        "1200",
        "--set",
        "run.checkpoint_every=100000",
        "--set",
        "run.sample_every=100000",
    ]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    let mut running = command.args(args).stderr(std::process::Stdio::null()).spawn().unwrap();
    let (mut early, mut late) = (0, 0);
    while running.try_wait().unwrap().is_none() {
        let lines = fs_err::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
        let step = 10 * lines.lines().count(); // a line every ten steps
        match resident(running.id()) {
            Some(now) if (150..200).contains(&step) => early = now.max(early),
            Some(now) if (1150..1200).contains(&step) => late = now.max(late),
            _ => {}
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(running.wait().unwrap().success());
    assert!(early > 0 && late > 0, "memory was seen early and late");
    assert!(late < early + early / 20 + 2048, "{early} KiB became {late} KiB");
}
