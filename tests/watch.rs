//! A run that judges itself: held-out measurements, the best checkpoint, patience, roll-back.

use mm_data::{DataConfig, DataError};
use mm_model::Segment;
use mm_patch::Image;
use mm_train::batch::Batches;
use mm_train::{Ending, Recipe, RunFolder, TrainError, TrainEvent, Training, train};
use serde_json::Value;

use crate::common::{device, start, tiny};

fn lines(folder: &RunFolder) -> Vec<Value> {
    let text = fs_err::read_to_string(folder.metrics()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn checkpoints(folder: &RunFolder) -> Vec<u64> {
    let names = fs_err::read_dir(folder.path().join("checkpoints")).unwrap();
    let step = |name: std::ffi::OsString| name.to_str()?.strip_prefix("step-")?.parse().ok();
    let mut found: Vec<u64> = names.filter_map(|entry| step(entry.unwrap().file_name())).collect();
    found.sort_unstable();
    found
}

const MEASURED: [(&str, &str); 4] = [
    ("run.validate_every", "3"),
    ("run.validate_count", "8"),
    ("run.best", "image"),
    ("run.keep", "1"),
];

#[test]
fn a_measured_run_keeps_its_best_checkpoint_and_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| RunFolder::create(&folder.path().join(name), &tiny(&MEASURED)).unwrap();
    let whole = open("whole");
    let mut training = start(&MEASURED);
    assert_eq!(train(&mut training, &whole, &mut |_| true).unwrap(), Ending::Complete);
    let found: Vec<(u64, f64)> = lines(&whole)
        .iter()
        .filter_map(|line| Some((line["step"].as_u64()?, line["validation"]["image"].as_f64()?)))
        .collect();
    assert_eq!(found.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [3, 6, 9, 12]);
    let lowest = found.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let best = training.progress.early_stopping.best().unwrap();
    assert_eq!((best.step, best.number), *lowest);
    assert!(checkpoints(&whole).contains(&best.step), "{:?}", checkpoints(&whole));
    assert!(whole.best_model().join("model.safetensors").is_file());

    let cut = open("cut");
    let stop = &mut |happening: TrainEvent<'_>| !matches!(happening, TrainEvent::Step { report, .. } if report.step == 7);
    assert_eq!(train(&mut start(&MEASURED), &cut, stop).unwrap(), Ending::Stopped);
    let (mut resumed, _) = cut.resume(tiny(&MEASURED), &device()).unwrap();
    train(&mut resumed, &cut, &mut |_| true).unwrap();
    let validations = |folder: &RunFolder| -> Vec<Value> {
        lines(folder).into_iter().filter(|line| !line["validation"].is_null()).collect()
    };
    assert_eq!(validations(&whole), validations(&cut));
    assert_eq!(resumed.progress.early_stopping, training.progress.early_stopping);
    let model =
        |folder: &RunFolder| fs_err::read(folder.best_model().join("model.safetensors")).unwrap();
    assert_eq!(model(&whole), model(&cut));
}

#[test]
fn a_run_without_gain_ends_when_its_patience_does() {
    let changes = [
        ("run.validate_every", "1"),
        ("run.validate_count", "4"),
        ("run.patience", "2"),
        ("optimizer.lr", "1e-30"), // nothing is learned,
        ("optimizer.ema", "0.0"),  // and the average is the weights
    ];
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &tiny(&changes)).unwrap();
    let mut training = start(&changes);
    assert_eq!(train(&mut training, &run, &mut |_| true).unwrap(), Ending::EarlyStopped);
    assert_eq!(training.progress.step, 3);
    assert_eq!(train(&mut training, &run, &mut |_| true).unwrap(), Ending::EarlyStopped);
    assert_eq!(training.progress.step, 3, "and stays at its end");
}

/// A rate that is absurd from step 7 on.
const ABSURD: [(&str, &str); 3] = [
    ("optimizer.lr", "1e30"),
    ("optimizer.points", "[[1.0, 1e-33], [7.0, 1e-33], [8.0, 1.0]]"),
    ("run.steps", "60"),
];

#[test]
fn failing_steps_roll_a_run_back_once_with_a_smaller_rate_and_then_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &tiny(&ABSURD)).unwrap();
    let mut training = start(&ABSURD);
    let (mut events, mut rates) = (vec![], vec![]);
    let error = train(&mut training, &run, &mut |happening| {
        match happening {
            TrainEvent::RolledBack(done) => events.push(done.clone()),
            TrainEvent::Step { report, .. } if report.step == 6 => rates.push(report.lr),
            _ => {}
        }
        true
    });
    let said = error.unwrap_err().to_string();
    assert!(said.contains("10 steps in a row"), "{said}");
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].step, events[0].lr_factor), (5, 0.5));
    assert_eq!(rates.len(), 2);
    assert!((rates[1] / rates[0] - 0.5).abs() < 1e-12, "{rates:?}");
    let told: Vec<Value> =
        lines(&run).into_iter().filter(|line| !line["event"].is_null()).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0]["event"].as_str().unwrap().starts_with("rolled back to step 5"), "{told:?}");
    assert_eq!(checkpoints(&run), [5], "no checkpoint was taken between failing steps");
}

#[test]
fn a_spike_is_skipped_and_the_run_goes_on() {
    let changes = [("run.spike", "1.0000001"), ("run.steps", "40")];
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &tiny(&changes)).unwrap();
    let mut training = start(&changes);
    train(&mut training, &run, &mut |_| true).unwrap();
    let progress = training.progress;
    assert_eq!(progress.updates + progress.skipped, 40);
    let skipped = lines(&run).iter().filter(|line| line["skipped"] == true).count();
    assert!(skipped > 0 && skipped as u64 == progress.skipped, "{skipped} of {}", progress.skipped);
}

/// A tiny run over twelve captioned images, one a step.
fn images(path: &std::path::Path, max_bad: f64) -> Recipe {
    let recipe =
        tiny(&[("run.batch", "1"), ("run.micro_batches", "1"), ("run.checkpoint_every", "100")]);
    let config = format!("source = 'folder'\nmax_bad = {max_bad:?}\npath = '{}'", path.display());
    let data: DataConfig = toml::from_str(&config).unwrap();
    Recipe { data, ..recipe }
}

#[test]
fn a_run_that_its_data_end_is_saved_and_goes_on_with_a_higher_limit() {
    let folder = tempfile::tempdir().unwrap();
    for at in 0..12_u8 {
        let image = Image::filled(16, 16, [at * 20; 3]).encode_png();
        fs_err::write(folder.path().join(format!("{at}.png")), image).unwrap();
        fs_err::write(folder.path().join(format!("{at}.txt")), at.to_string()).unwrap();
    }
    let (strict, tolerant) = (images(folder.path(), 0.0), images(folder.path(), 1.0));
    let out = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&out.path().join("run"), &strict).unwrap();
    let mut training = Training::start(strict.clone(), &device()).unwrap();
    // The image of step 3 breaks before the run gets there.
    let document = Batches::new(&strict, &training.data, &training.tokenizer)
        .documents(3)
        .unwrap()
        .remove(0)
        .document;
    let shade = document.segments.iter().find_map(|segment| match segment {
        Segment::Image { image, .. } => Some(image.pixel(0, 0)[0]),
        Segment::Text { .. } => None,
    });
    fs_err::write(folder.path().join(format!("{}.png", shade.unwrap() / 20)), "broken").unwrap();
    let error = train(&mut training, &run, &mut |_| true).unwrap_err();
    assert!(matches!(error, TrainError::Data(DataError::TooManyBad { bad: 1, .. })), "{error}");
    assert_eq!(checkpoints(&run), [3]);
    let (mut resumed, _) = run.resume(tolerant, &device()).unwrap();
    assert_eq!(resumed.progress.step, 3);
    assert_eq!(train(&mut resumed, &run, &mut |_| true).unwrap(), Ending::Complete);
    assert_eq!(checkpoints(&run), [3, 12]);
}
