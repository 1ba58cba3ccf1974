//! Where a run goes on after its end, what may have changed meanwhile, and who may go on with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mm_patch::Image;
use tempfile::TempDir;

use crate::{QUICK, device, done, mm, model, refused, run, text};

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

/// A finished run over twelve images in `folder/images`.
fn of_images(folder: &Path) -> PathBuf {
    let [images, out] = ["images", "run"].map(|name| folder.join(name));
    fs_err::create_dir(&images).unwrap();
    for at in 0..12_u8 {
        let image = Image::filled(32, 32, [at * 20; 3]).encode_png();
        fs_err::write(images.join(format!("{at}.png")), image).unwrap();
        fs_err::write(images.join(format!("{at}.txt")), at.to_string()).unwrap();
    }
    let data = format!("data={{ source = \"folder\", path = '{}' }}", images.display());
    let mut args = vec!["train", "glyphs", "--device", device(), "--out", out.to_str().unwrap()];
    args.extend(["--set", &data]);
    args.extend(QUICK);
    done(&args);
    out
}

#[test]
fn data_or_a_recipe_that_cannot_be_read_are_told_and_no_checkpoint_is_blamed() {
    let folder = tempfile::tempdir().unwrap();
    let out = of_images(folder.path());
    let [here, away] = ["images", "away"].map(|name| folder.path().join(name));
    fs_err::rename(&here, &away).unwrap();
    let said = refused(1, &resume(&out));
    assert!(said.contains("images") && !said.contains("checkpoint"), "{said}");
    fs_err::rename(&away, &here).unwrap();
    edit(&out, "keep = 2", "keep = 0");
    let said = refused(2, &resume(&out));
    assert!(
        said.contains("recipe.toml`\n  caused by: `run.keep` is 0, wanted at least 1"),
        "{said}"
    );
}

#[test]
fn what_was_changed_since_the_checkpoint_is_said_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = of_images(folder.path());
    edit(&out, "prediction = \"clean\"", "prediction = \"velocity\"");
    let said = refused(2, &resume(&out));
    let wanted =
        "`model.prediction` is \"velocity\", wanted \"clean\" as in the checkpoint of step 6";
    assert!(said.contains("recipe.toml`: ") && said.contains(wanted), "{said}");
    assert!(said.contains("hint: set it back"), "{said}");
    edit(&out, "prediction = \"velocity\"", "prediction = \"clean\"");
    edit(&out, "\nlr = 0.002", "\nlr = 0.001");
    for name in ["3.png", "3.txt"] {
        fs_err::remove_file(folder.path().join("images").join(name)).unwrap();
    }
    let output = mm(&resume(&out));
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("done after 6 steps"), "{said}");
    assert!(said.contains("the recipe was changed: `optimizer.lr` is 0.001, was 0.002"), "{said}");
    assert!(said.contains("the data is not what the checkpoint saw: "), "{said}");
}

#[test]
fn a_run_that_loses_its_weights_is_no_run_that_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = ["train", "glyphs", "--device", device(), "--out", out.to_str().unwrap()];
    let lost = ["--set", "optimizer.lr=1e300"];
    let said = refused(1, &[&args[..], &QUICK, &lost].concat());
    assert!(said.contains("error: after step 6 the weights are not finite"), "{said}");
    assert!(
        said.contains("hint: a smaller `optimizer.lr`") && !said.contains("done after"),
        "{said}"
    );
    assert!(!out.join("model").exists());
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}

fn copy_of_run() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(run(), folder.path());
    folder
}

#[test]
fn no_run_trains_over_what_was_learned() {
    let folder = copy_of_run();
    let out = folder.path();
    let weights = out.join("model/model.safetensors");
    let before = fs_err::read(&weights).unwrap();

    let model = out.join("model");
    let said = refused(2, &resume(&model));
    assert!(said.contains("is a model folder") && said.contains(out.to_str().unwrap()), "{said}");

    fs_err::remove_dir_all(out.join("checkpoints")).unwrap();
    let said = refused(1, &resume(out));
    assert!(said.contains("has a trained model and no checkpoint"), "{said}");
    assert!(said.contains("--init"), "{said}");

    fs_err::remove_file(out.join("recipe.toml")).unwrap();
    let said = refused(2, &["train", "glyphs", "--steps", "1", "--out", out.to_str().unwrap()]);
    assert!(said.contains("exists already and holds a model"), "{said}");
    assert_eq!(fs_err::read(&weights).unwrap(), before);
    assert!(!model.join("checkpoints").exists());
}

#[test]
fn a_finished_run_whose_model_is_gone_gets_it_back() {
    let folder = copy_of_run();
    let out = folder.path();
    let weights = out.join("model/model.safetensors");
    let before = fs_err::read(&weights).unwrap();
    fs_err::remove_dir_all(out.join("model")).unwrap();
    let output = mm(&resume(out));
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("was not there: written anew"), "{said}");
    assert_eq!(fs_err::read(&weights).unwrap(), before);
}

#[test]
fn a_path_of_the_command_line_means_the_same_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs_err::create_dir(&images).unwrap();
    for shade in 0..12 {
        let image = Image::filled(16, 16, [shade; 3]).encode_png();
        fs_err::write(images.join(format!("{shade}.png")), image).unwrap();
    }
    let data = r#"data={ source = "folder", path = "images", captions = "none" }"#;
    let mut args = vec!["train", "glyphs", "--device", device(), "--out", "run", "--set", data];
    args.extend(QUICK);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    let output = command.current_dir(folder.path()).args(&args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = mm(&resume(&folder.path().join("run")));
    assert!(output.status.success(), "{}", text(&output.stderr));
}
