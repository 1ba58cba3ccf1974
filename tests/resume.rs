//! N steps equal k steps, a checkpoint, a new process's resume, and N - k steps: bit for bit.

use mm_train::{Ending, Happening, RunFolder, train};

use crate::common::{device, start, tiny};

/// Every file of a run's newest checkpoint that holds numbers.
fn bits(folder: &RunFolder, step: u64) -> Vec<Vec<u8>> {
    let checkpoint = folder.path().join(format!("checkpoints/step-{step:09}"));
    ["average.safetensors", "tokenizer.json"]
        .map(|name| fs_err::read(checkpoint.join(name)).unwrap())
        .to_vec()
}

/// Weights as they are in memory, from the record: ids differ between runs, numbers must not.
fn numbers(folder: &RunFolder) -> Vec<u8> {
    fs_err::read(folder.model().join("model.safetensors")).unwrap()
}

fn check_resume(optimizer: &str) {
    let folder = tempfile::tempdir().unwrap();
    let changes = [("optimizer.kind", optimizer)];
    let open = |name: &str| RunFolder::create(&folder.path().join(name), &tiny(&changes)).unwrap();

    let whole = open("whole");
    let mut training = start(&changes);
    assert_eq!(train(&mut training, &whole, &mut |_| true).unwrap(), Ending::Complete);

    let cut = open("cut");
    let mut training = start(&changes);
    let stop_after_7 = &mut |happening: Happening<'_>| !matches!(happening, Happening::Step { report, .. } if report.step == 7);
    assert_eq!(train(&mut training, &cut, stop_after_7).unwrap(), Ending::Stopped);
    assert_eq!(training.progress.step, 7);
    drop(training);

    let (cut, recipe) = RunFolder::open(cut.path()).unwrap();
    let (mut resumed, skipped) = cut.resume(recipe, &device()).unwrap();
    assert!(skipped.is_empty());
    assert_eq!(resumed.progress.step, 7);
    assert_eq!(train(&mut resumed, &cut, &mut |_| true).unwrap(), Ending::Complete);

    assert_eq!(bits(&whole, 12), bits(&cut, 12));
    assert_eq!(numbers(&whole), numbers(&cut));
    let last = |folder: &RunFolder| {
        let text = fs_err::read_to_string(folder.metrics()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        (line["step"].clone(), line["loss"].clone(), line["gradient"].clone())
    };
    assert_eq!(last(&whole), last(&cut)); // the optimizer's state decided the last step's loss
}

#[test]
fn an_adamw_run_that_was_stopped_ends_with_the_same_bits() {
    check_resume("adamw");
}

#[test]
fn a_muon_run_that_was_stopped_ends_with_the_same_bits() {
    check_resume("muon");
}

#[test]
fn a_broken_newest_checkpoint_is_skipped_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &tiny(&[])).unwrap();
    train(&mut start(&[]), &run, &mut |_| true).unwrap();
    let newest = run.path().join("checkpoints/step-000000012/optimizer.bpk");
    fs_err::write(&newest, b"cut short").unwrap();
    let (resumed, skipped) = run.resume(tiny(&[]), &device()).unwrap();
    assert_eq!(resumed.progress.step, 10);
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].contains("step-000000012"), "{skipped:?}");
}

#[test]
fn only_the_last_checkpoints_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &tiny(&[])).unwrap();
    train(&mut start(&[]), &run, &mut |_| true).unwrap();
    let mut names: Vec<String> = fs_err::read_dir(run.path().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["step-000000010", "step-000000012"]);
}

#[test]
fn a_folder_that_holds_a_run_is_not_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    RunFolder::create(folder.path(), &tiny(&[])).unwrap();
    let error = RunFolder::create(folder.path(), &tiny(&[])).unwrap_err().to_string();
    assert!(error.ends_with("exists already and holds a run"), "{error}");
}

#[test]
fn an_empty_run_folder_says_that_there_is_nothing_to_resume() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), &tiny(&[])).unwrap();
    let error = run.resume(tiny(&[]), &device()).err().unwrap().to_string();
    assert!(error.ends_with("holds no whole checkpoint"), "{error}");
}
