//! Where a run goes on after its end, what may have changed meanwhile, and who may go on with it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{QUICK, device, done, mm, model, text};

/// A long run without checkpoints that has begun to train.
fn begun(out: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    command.args(["train", "glyphs", "--device", device(), "--out", out.to_str().unwrap()]);
    command.args(&QUICK[..QUICK.len() - 2]).args(["--steps", "100000"]).args(more);
    command.args(["--set", "run.checkpoint_every=100000", "--set", "run.sample_every=100000"]);
    let mut process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while fs_err::read_to_string(out.join("metrics.jsonl")).unwrap_or_default().is_empty() {
        assert!(process.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    process
}

fn kill(mut process: Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

fn resume(out: &Path) -> [&str; 6] {
    ["train", "--resume", "--device", device(), "--out", out.to_str().unwrap()]
}

/// Replaces words in the recipe of a run.
fn edit(run: &Path, from: &str, to: &str) {
    let path = run.join("recipe.toml");
    let recipe = fs_err::read_to_string(&path).unwrap();
    assert!(recipe.contains(from), "{recipe}");
    fs_err::write(&path, recipe.replace(from, to)).unwrap();
}

#[test]
fn a_run_that_is_being_trained_is_left_alone_until_its_process_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let [out, page] = ["run", "page.html"].map(|name| folder.path().join(name));
    let process = begun(&out, &[]);
    let second = mm(&resume(&out));
    let report = mm(&["report", out.to_str().unwrap(), "--out", page.to_str().unwrap()]);
    kill(process);
    let said = text(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("another process is training in `{}`", out.display())),
        "{said}"
    );
    assert!(said.contains("hint: wait until it has ended"), "{said}");
    assert!(report.status.success(), "{}", text(&report.stderr));
    edit(&out, "steps = 100000", "steps = 2");
    let third = mm(&resume(&out));
    let said = text(&third.stderr);
    assert!(third.status.success() && said.contains("done after 2 steps"), "{said}");
}

#[test]
fn a_run_from_a_model_that_is_killed_before_its_first_checkpoint_starts_at_the_model_again() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    let model = model();
    let mut args = vec!["train", "glyphs", "--init", &model, "--device", device()];
    args.extend(["--out", whole.to_str().unwrap()]);
    args.extend(QUICK);
    done(&args);
    kill(begun(&cut, &["--init", &model]));
    edit(&cut, "steps = 100000", "steps = 6");
    let output = mm(&resume(&cut));
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("done after 6 steps"), "{said}");
    let numbers = |run: &Path| fs_err::read(run.join("model/model.safetensors")).unwrap();
    assert!(numbers(&whole) == numbers(&cut), "the run did not start at the model");
}
