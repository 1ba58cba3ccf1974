//! N steps equal k steps, a checkpoint, a new process's resume, and N - k steps: bit for bit.

use std::path::Path;
use std::sync::OnceLock;

use mm_kernels::InstructionSet;
use mm_model::parameters::{Weight, weights_of};
use mm_train::{Ending, Recipe, RunFolder, TrainError, TrainEvent, Training, train};
use tempfile::TempDir;

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
    let stop_after_7 = &mut |event: TrainEvent<'_>| !matches!(event, TrainEvent::Step { report, .. } if report.step == 7);
    assert_eq!(train(&mut training, &cut, stop_after_7).unwrap(), Ending::Stopped);
    assert_eq!(training.progress.step, 7);
    drop((training, cut)); // as the end of a process does

    let (cut, recipe) = RunFolder::open(&folder.path().join("cut")).unwrap();
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
fn a_run_from_a_model_has_the_model_as_its_checkpoint_of_step_0_until_newer_ones_take_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let model = start(&[("seed", "4")]).averaged();
    let begin = || Training::from_model(tiny(&[]), &model, &device()).unwrap();
    let at = |name: &str| folder.path().join(name);
    // What a start that ended before there was a recipe has left is no part of the run.
    fs_err::create_dir_all(at("cut/checkpoints/step-000000000/of another model")).unwrap();
    let [whole, cut] =
        ["whole", "cut"].map(|name| RunFolder::create_from(&at(name), &begin()).unwrap());
    train(&mut begin(), &whole, &mut |_| true).unwrap();
    assert!(!cut.is_untrained().unwrap() && !cut.model().exists());
    let (mut resumed, notes) = cut.resume(tiny(&[]), &device()).unwrap();
    assert_eq!((resumed.progress.step, notes), (0, vec![]));
    assert_eq!(weights_of(&resumed.averaged().model), weights_of(&model.model));
    train(&mut resumed, &cut, &mut |_| true).unwrap();
    assert_eq!(bits(&whole, 12), bits(&cut, 12));
    assert!(!at("cut/checkpoints/step-000000000").exists(), "`run.keep` is 2");
}

/// A run with checkpoints 10 and 12, trained once for all tests.
fn finished() -> &'static RunFolder {
    static RUN: OnceLock<(TempDir, RunFolder)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(&folder.path().join("run"), &tiny(&[])).unwrap();
        train(&mut start(&[]), &run, &mut |_| true).unwrap();
        (folder, run)
    });
    run
}

/// Steps from which that run goes on after harm to the newest, and the notes about it.
fn resumed_after(harm: impl Fn(&Path)) -> (u64, Vec<String>) {
    let run = finished();
    let copy = tempfile::tempdir().unwrap();
    fs_err::copy(run.path().join("recipe.toml"), copy.path().join("recipe.toml")).unwrap();
    for step in ["step-000000010", "step-000000012"] {
        let [from, to] = [run.path(), copy.path()].map(|at| at.join("checkpoints").join(step));
        fs_err::create_dir_all(&to).unwrap();
        for entry in fs_err::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs_err::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    harm(&copy.path().join("checkpoints/step-000000012"));
    let (run, recipe) = RunFolder::open(copy.path()).unwrap();
    let (resumed, notes) = run.resume(recipe, &device()).unwrap();
    (resumed.progress.step, notes)
}

fn check_skipped(harm: impl Fn(&Path), file: &str, why: &str) {
    let (step, notes) = resumed_after(harm);
    assert_eq!((step, notes.len()), (10, 1), "{notes:?}");
    let file = format!("step-000000012/{file}");
    assert!(notes[0].contains(&file) && notes[0].contains(why), "{notes:?}");
}

#[test]
fn a_newest_checkpoint_that_is_not_whole_is_skipped_by_name_and_reason() {
    assert_eq!(resumed_after(|_| ()), (12, vec![]));
    let files = [
        "model.bpk",
        "optimizer.bpk",
        "average.safetensors",
        "tokenizer.json",
        "recipe.toml",
        "progress.json",
    ];
    for file in files {
        let rewrite = |at: &Path, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs_err::read(at.join(file)).unwrap();
            change(&mut bytes);
            fs_err::write(at.join(file), bytes).unwrap();
        };
        let turned = |bytes: &mut Vec<u8>| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        };
        check_skipped(|at| rewrite(at, &turned), file, "its content has changed");
        let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
        check_skipped(|at| rewrite(at, &cut), file, "were written");
        check_skipped(|at| fs_err::remove_file(at.join(file)).unwrap(), file, "is missing");
    }
    check_skipped(|at| fs_err::write(at.join("checksums.json"), "{").unwrap(), "checksums", "EOF");
}

#[test]
fn a_checkpoint_without_checksums_is_taken_with_a_note_and_must_still_be_readable() {
    let unseal = |at: &Path| fs_err::remove_file(at.join("checksums.json")).unwrap();
    let (step, notes) = resumed_after(unseal);
    assert_eq!((step, notes.len()), (12, 1));
    assert!(notes[0].ends_with("has no checksums and is taken as it is"), "{notes:?}");
    let cut = |at: &Path| {
        unseal(at);
        fs_err::write(at.join("optimizer.bpk"), b"cut short").unwrap();
    };
    check_skipped(cut, "optimizer.bpk", "");
}

#[test]
fn a_checkpoint_that_does_not_tell_its_data_is_taken() {
    let forget = |at: &Path| {
        fs_err::remove_file(at.join("checksums.json")).unwrap();
        let path = at.join("progress.json");
        let mut progress: serde_json::Value =
            serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        assert!(progress.as_object_mut().unwrap().remove("data").unwrap()["checksum"].is_u64());
        fs_err::write(path, progress.to_string()).unwrap();
    };
    let (step, notes) = resumed_after(forget);
    assert_eq!((step, notes.len()), (12, 1), "{notes:?}");
}

#[test]
fn a_resume_on_a_processor_with_other_instructions_is_told() {
    let own = serde_json::to_value(InstructionSet::of_this_processor()).unwrap();
    let other = if own == "avx2" { "avx512" } else { "avx2" };
    let moved = |at: &Path| {
        fs_err::remove_file(at.join("checksums.json")).unwrap();
        let path = at.join("progress.json");
        let mut progress: serde_json::Value =
            serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        assert_eq!(progress["instructions"], own);
        progress["instructions"] = other.into();
        fs_err::write(path, progress.to_string()).unwrap();
    };
    let (step, notes) = resumed_after(moved);
    assert_eq!((step, notes.len()), (12, 2), "{notes:?}");
    let own = own.as_str().unwrap();
    let said = format!("this processor computes with {own}, the one before with {other}: ");
    assert!(notes[1].starts_with(&said), "{notes:?}");
}

#[test]
fn what_was_changed_in_the_recipe_is_said_or_refused_where_the_checkpoint_depends_on_it() {
    let resume = |changes: &[(&str, &str)]| finished().resume(tiny(changes), &device());
    let (resumed, notes) = resume(&[("run.steps", "20"), ("seed", "9")]).unwrap();
    assert_eq!((resumed.progress.step, resumed.recipe.run.steps), (12, 20));
    let said = ["`run.steps` is 20, was 12", "`seed` is 9, was 3"];
    assert!(notes.iter().zip(said).all(|(note, said)| note.ends_with(said)), "{notes:?}");
    assert_eq!(notes.len(), 2);
    for (key, value) in [
        ("model.prediction", "velocity"),
        ("model.backbone.width", "64"),
        ("optimizer.kind", "muon"),
        ("optimizer.emas", "[0.5]"),
        ("optimizer.lora.rank", "2"),
    ] {
        let said = resume(&[(key, value)]).err().unwrap();
        let named = matches!(&said, TrainError::Changed { field, step: 12, .. } if field == key);
        assert!(named, "{said}");
    }
}

#[test]
fn what_is_wrong_with_the_recipe_is_told_and_no_checkpoint_is_blamed() {
    let refusal = |recipe| finished().resume(recipe, &device()).err().unwrap();
    let said = refusal(tiny(&[("optimizer.freeze", "['nothing']")])).to_string();
    assert!(said.contains("`nothing` names no parameter"), "{said}");
    let data = toml::from_str("source = 'folder'\npath = 'nowhere'").unwrap();
    let said = refusal(Recipe { data, ..tiny(&[]) });
    assert!(matches!(said, TrainError::Data(_)), "{said}");
}

#[test]
fn a_broken_later_checkpoint_takes_no_whole_ones_place() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = tiny(&[("run.keep", "1"), ("run.checkpoint_every", "5")]);
    let run = RunFolder::create(&folder.path().join("run"), &recipe).unwrap();
    let until = |last: u64| move |event: TrainEvent<'_>| !matches!(event, TrainEvent::Step { report, .. } if report.step == last);
    let mut training = start(&[("run.keep", "1"), ("run.checkpoint_every", "5")]);
    train(&mut training, &run, &mut until(5)).unwrap();
    let later = run.path().join("checkpoints/step-000000011");
    fs_err::create_dir(&later).unwrap();
    train(&mut training, &run, &mut until(6)).unwrap();
    let (resumed, notes) = run.resume(recipe, &device()).unwrap();
    assert_eq!((resumed.progress.step, notes.len()), (6, 1), "{notes:?}");
}

#[test]
fn what_a_killed_run_was_writing_is_swept_away_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path(), &tiny(&[])).unwrap();
    let half = run.path().join("checkpoints/.step-000000007.tmp");
    fs_err::create_dir(&half).unwrap();
    fs_err::write(half.join("model.bpk"), b"half").unwrap();
    let files =
        ["metrics.jsonl.tmp", "samples/step-000000004.png.tmp"].map(|at| run.path().join(at));
    files.iter().for_each(|file| fs_err::write(file, b"half").unwrap());
    let said = RunFolder::open(folder.path()).unwrap_err();
    assert!(matches!(said, TrainError::Busy { .. }), "{said}");
    assert!(half.exists(), "nothing is swept from under a process that trains");
    drop(run);
    RunFolder::open(folder.path()).unwrap();
    assert!(!half.exists() && files.iter().all(|file| !file.exists()));
    assert!(folder.path().join("recipe.toml").is_file());
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

#[test]
fn a_run_whose_weights_are_lost_ends_with_an_error_and_writes_nothing_of_them() {
    let lost = [("optimizer.lr", "1e300"), ("run.steps", "8")];
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &tiny(&lost)).unwrap();
    let said = train(&mut start(&lost), &run, &mut |_| true).unwrap_err();
    assert!(matches!(said, TrainError::Diverged { step: 8, changed: 1, .. }), "{said}");
    assert!(run.is_untrained().unwrap() && !run.model().exists());
}

#[test]
fn weights_that_are_lost_behind_a_checkpoint_take_a_run_back_to_it_once() {
    // The seventh step has the absurd rate; the end comes before ten steps were skipped.
    let lost = [
        ("optimizer.lr", "1e300"),
        ("optimizer.points", "[[5.0, 1e-303], [6.0, 1.0]]"),
        ("run.steps", "8"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &tiny(&lost)).unwrap();
    let mut back = vec![];
    let said = train(&mut start(&lost), &run, &mut |event| {
        if let TrainEvent::RolledBack(done) = event {
            back.push((done.step, done.given_up_at));
        }
        true
    });
    let said = said.unwrap_err();
    assert!(matches!(said, TrainError::Diverged { step: 8, .. }), "{said}");
    assert_eq!(back, [(5, 8)]);
    let kept = run.resume(tiny(&lost), &device()).unwrap().0;
    assert_eq!(kept.progress.step, 5);
    let finite = |weight: &Weight| weight.values.iter().all(|number| number.is_finite());
    assert!(weights_of(&kept.averaged().model).values().all(finite));
}

#[test]
fn a_run_whose_last_step_is_skipped_is_saved_with_the_good_weights_before_it() {
    // Once sixteen losses are known, one above their median is a spike.
    let spikes = [("run.spike", "1.0000001"), ("run.steps", "40")];
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &tiny(&spikes)).unwrap();
    let mut training = start(&spikes);
    let at_a_skipped_step = &mut |event: TrainEvent<'_>| !matches!(event, TrainEvent::Step { report, .. } if report.skipped);
    assert_eq!(train(&mut training, &run, at_a_skipped_step).unwrap(), Ending::Stopped);
    assert_eq!(training.progress.skipped_in_a_row, 1);
    let (kept, _) = run.resume(tiny(&spikes), &device()).unwrap();
    assert_eq!(kept.progress.step, training.progress.step);
}
