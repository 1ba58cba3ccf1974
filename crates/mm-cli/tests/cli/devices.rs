//! `mm train --devices`: several devices of one process train as one does. Here both are the
//! processor.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::ranks::{ONE_SUM, apart};
use crate::{QUICK, refused, text};

/// `mm train glyphs` on these devices into `out`.
fn train(devices: &[&str], out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    command.args(["train", "glyphs", "--out", out.to_str().unwrap()]).args(devices);
    command.args(&QUICK[..QUICK.len() - 2]).args(ONE_SUM).args(more);
    command.stdin(Stdio::null());
    command
}

const TWO: [&str; 2] = ["--devices", "flex,flex"];

fn done(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = text(&stderr);
    assert!(status.success(), "{said}");
    said
}

#[test]
fn two_devices_train_as_one_does_with_the_whole_batch() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let more = ["--steps", "20", "--set", "run.checkpoint_every=10"];
    done(train(&["--device", "flex"], &one, &more));
    let said = done(train(&TWO, &two, &more));
    assert!(said.contains("2 ranks; every step sums"), "{said}");
    assert_eq!(said.matches("done after 20 steps").count(), 1, "{said}");
    let apart = apart(&one, &two);
    eprintln!("one device and two are {apart:e} apart after 20 steps");
    assert!(apart < 1e-5, "{apart:e} apart");
}

#[cfg(unix)]
#[test]
fn devices_that_get_sigterm_stop_after_the_same_step_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let more = ["--steps", "100000", "--set", "run.sample_every=100000"];
    let mut command = train(&TWO, &out, &more);
    command.args(["--set", "run.checkpoint_every=100000"]);
    let said = folder.path().join("said");
    command.stderr(fs_err::File::create(&said).unwrap().into_file());
    let mut run = command.spawn().unwrap();
    while fs_err::read_to_string(out.join("metrics.jsonl")).unwrap_or_default().is_empty() {
        assert!(run.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = run.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let status = run.wait().unwrap();
    let said = fs_err::read_to_string(said).unwrap();
    assert!(status.success() && said.matches("stopped after ").count() == 1, "{status} {said}");
    // Saving compared step and weights of both. Shortened, so that it ends, the run goes on with
    // both.
    let names = fs_err::read_dir(out.join("checkpoints")).unwrap().flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let [name] = &names[..] else { panic!("{names:?}") };
    let last = name.strip_prefix("step-").unwrap().parse::<u64>().unwrap() + 2;
    let recipe = fs_err::read_to_string(out.join("recipe.toml")).unwrap();
    let shorter = recipe.replace("steps = 100000", &format!("steps = {last}"));
    fs_err::write(out.join("recipe.toml"), shorter).unwrap();
    let mut resume = Command::new(env!("CARGO_BIN_EXE_mm"));
    resume.args(["train", "--resume", "--out", out.to_str().unwrap()]).args(TWO);
    let said = done(resume);
    assert!(said.contains(&format!("done after {last} steps")), "{said}");
}

#[test]
fn a_way_between_devices_that_there_is_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = ["train", "glyphs", "--out", out.to_str().unwrap(), "--all-reduce", "nccl"];
    let said = refused(2, &[&args[..], &TWO].concat());
    assert!(said.contains("`--all-reduce nccl`: NCCL connects devices of CUDA, found `flex`"));
    assert!(said.contains("`--all-reduce host`"), "{said}");
    assert!(!out.exists());
}

#[test]
fn a_rank_that_fails_ends_the_others_and_the_cause_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // The first rank alone finds that the folder is taken, while the second waits for it.
    fs_err::create_dir_all(&out).unwrap();
    fs_err::write(out.join("recipe.toml"), "taken").unwrap();
    let output = train(&TWO, &out, &["--steps", "4"]).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.matches("exists already and holds a run").count(), 1, "{said}");
    // There are fewer documents than devices, which is seen before there is a run.
    let (small, more) = (folder.path().join("small"), ["--steps", "4", "--set", "run.batch=1"]);
    let output = train(&TWO, &small, &more).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let why = "`--devices` names 2, which cannot share a batch of 1 documents";
    assert_eq!(said.matches(why).count(), 1, "{said}");
    assert!(!small.exists());
}

#[test]
fn devices_beside_a_device_a_launcher_or_a_time_are_usage_errors() {
    let with = |more: &[&str]| refused(2, &[&["train", "glyphs", "--out", "x"], more].concat());
    let said = with(&["--devices", "flex,flex", "--device", "flex"]);
    assert!(said.contains("--device") && said.contains("cannot be used with"), "{said}");
    let said = with(&["--devices", "flex,flex", "--minutes", "1"]);
    assert!(said.contains("`--minutes` measures one device and `--devices` names 2"), "{said}");
    assert!(with(&["--devices", "flex,tpu"]).contains("`--device tpu` is unknown"));
    let mut launched = train(&TWO, Path::new("x"), &["--steps", "1"]);
    let output = launched.env("OMPI_COMM_WORLD_SIZE", "2").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`--devices` trains in one process and 2 were started"), "{said}");
    assert!(!Path::new("x").exists());
}
