//! Steps about which the device decides end where steps do that the host reads one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mm_model::parameters::{Weights, weights_of};
use mm_model::{Batch, HostBatch, Losses, Model};
use mm_train::batch::Batches;
use mm_train::{
    Ending, Objective, Progress, RecipeObjective, RunFolder, StepReport, TermConfig, TrainEvent,
    train,
};

use crate::common::{device, start, tiny};

/// The objective of the recipe, which is not a number in some of the batches.
#[derive(Debug)]
struct Broken {
    inner: RecipeObjective,
    /// How many batches were computed.
    batches: AtomicUsize,
    /// Which of them are broken.
    broken: Vec<usize>,
}

impl Objective for Broken {
    fn terms(&self) -> Vec<TermConfig> {
        self.inner.terms()
    }

    fn counts(&self, batch: &HostBatch) -> Vec<usize> {
        self.inner.counts(batch)
    }

    fn losses(&self, model: &Model, batch: &Batch) -> Losses {
        let mut losses = self.inner.losses(model, batch);
        if self.broken.contains(&self.batches.fetch_add(1, Ordering::Relaxed)) {
            for term in &mut losses.list {
                term.value = term.value.clone() * f32::NAN;
            }
        }
        losses
    }
}

/// Whether the device of the tests gives the same bits for the same work, however it is asked.
fn exact() -> bool {
    mm_kernels::has_fused_blocks(&device())
}

/// What steps did, and what they left.
struct Trained {
    reports: Vec<StepReport>,
    raw: Weights,
    averaged: Weights,
    progress: Progress,
}

/// Takes steps of one micro-batch each, of which some are broken, and reads every so many.
fn trained(changes: &[(&str, &str)], broken: &[usize], steps: u64, every: u64) -> Trained {
    let one = [("run.micro_batches", "1"), ("run.steps", "40")];
    let mut training = start(&[&one, changes].concat());
    let (recipe, data) = (training.recipe.clone(), training.data.clone());
    let tokenizer = training.tokenizer.clone();
    let inner = RecipeObjective::new(&recipe);
    let (batches, broken) = (AtomicUsize::new(0), broken.to_vec());
    if !broken.is_empty() {
        training = training.with_objective(Arc::new(Broken { inner, batches, broken }));
    }
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    let mut reports = vec![];
    for step in 0..steps {
        let batch = batches.batch(step).unwrap();
        if every == 1 {
            reports.push(training.step(&batch).unwrap());
            continue;
        }
        training.step_unread(&batch).unwrap();
        assert_eq!(training.next_step(), step + 1);
        if (step + 1).is_multiple_of(every) || step + 1 == steps {
            let read = training.read_steps();
            assert!(read.failed.is_none());
            reports.extend(read.reports);
        }
    }
    let [raw, averaged] =
        [training.raw(), training.averaged()].map(|loaded| weights_of(&loaded.model));
    Trained { reports, raw, averaged, progress: training.progress }
}

fn assert_near(one: f64, other: f64, what: &str) {
    let near = one == other || (one - other).abs() <= 1e-3 * one.abs().max(other.abs()).max(1e-3);
    assert!(near || (one.is_nan() && other.is_nan()), "{what}: {one} and {other}");
}

/// Asserts that both did the same, to the bit where the device allows.
fn assert_same(one: &Trained, other: &Trained) {
    assert_eq!(one.reports.len(), other.reports.len());
    for (one, other) in one.reports.iter().zip(&other.reports) {
        assert_eq!((one.step, one.skipped, one.lr), (other.step, other.skipped, other.lr));
        assert_eq!(one.loss_scale, other.loss_scale, "step {}", one.step);
        assert_near(one.loss, other.loss, "loss");
        assert_near(one.gradient, other.gradient, "gradient");
        assert_eq!(one.levels.is_some(), other.levels.is_some());
        if exact() {
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
    }
    let counts = |of: &Trained| (of.progress.updates, of.progress.skipped, of.progress.step);
    assert_eq!(counts(one), counts(other));
    for (one, other) in [(&one.raw, &other.raw), (&one.averaged, &other.averaged)] {
        assert!(!exact() || one == other, "the weights are not the same");
        for (name, weight) in one {
            for (a, b) in weight.values.iter().zip(&other[name].values) {
                assert!((a - b).abs() < 2e-3, "{name}: {a} and {b}");
            }
        }
    }
}

#[test]
fn a_curve_that_is_read_every_ten_steps_equals_one_that_is_read_at_each() {
    for changes in [
        &[("optimizer.emas", "[0.5]")][..],
        &[("optimizer.clip", "0.05"), ("optimizer.ema_start", "short")],
        &[("optimizer.kind", "lamb"), ("optimizer.lr", "1e-3")],
        &[("run.grad_accum_steps", "2"), ("optimizer.clip", "inf")],
    ] {
        let each = trained(changes, &[], 24, 1);
        assert!(each.reports.iter().all(|report| !report.skipped));
        assert_same(&each, &trained(changes, &[], 24, 10));
    }
}

#[test]
fn a_batch_that_is_not_a_number_changes_no_weight_no_moment_and_no_average() {
    let none = trained(&[], &[], 0, 10);
    let only = trained(&[], &[0, 1, 2], 3, 10);
    assert_eq!(only.raw, none.raw);
    assert_eq!(only.averaged, none.averaged);
    assert_eq!((only.progress.updates, only.progress.skipped), (0, 3));
    assert!(only.reports.iter().all(|report| report.skipped && report.loss.is_nan()));
    // What follows shows the moments, their time, and the weight of averages.
    for changes in [
        &[("optimizer.ema_start", "short")][..],
        &[("optimizer.kind", "lamb"), ("optimizer.lr", "1e-3")],
    ] {
        let broken = [0, 1, 5, 11, 12];
        let each = trained(changes, &broken, 24, 1);
        assert_eq!(each.progress.skipped, 5);
        assert_same(&each, &trained(changes, &broken, 24, 10));
        assert_same(&each, &trained(changes, &broken, 24, 4));
    }
}

#[test]
fn a_spike_among_unread_steps_is_undone_and_skipped() {
    let spiky = [("run.spike", "1.0000001")];
    let each = trained(&spiky, &[], 30, 1);
    assert!(each.progress.skipped > 0);
    assert_same(&each, &trained(&spiky, &[], 30, 10));
}

#[test]
fn in_f16_an_overflow_halves_the_scale_of_the_loss_and_the_step_is_skipped() {
    let f16 = [("run.precision", "f16")];
    if !device().supports_dtype(burn::tensor::FloatDType::F16) {
        return;
    }
    let broken = [1, 3];
    let each = trained(&f16, &broken, 12, 1);
    let scales = each.reports.iter().map(|report| report.loss_scale.unwrap());
    let [first, half, quarter] = [65536.0, 32768.0, 16384.0];
    let wanted = [&[first, first, half, half][..], &[quarter; 8]].concat();
    assert_eq!(scales.collect::<Vec<_>>(), wanted);
    assert_eq!(each.progress.loss_scale.unwrap().factor, quarter);
    assert_eq!(each.progress.skipped_in_a_row, 0, "a smaller scale may help");
    assert_same(&each, &trained(&f16, &broken, 12, 10));
    // The scale divides out: gradients are about those in 32 bits.
    let wide = trained(&[], &broken, 12, 1);
    for (narrow, wide) in each.reports.iter().zip(&wide.reports).filter(|(one, _)| !one.skipped) {
        let apart = (narrow.gradient / wide.gradient - 1.0).abs();
        assert!(apart < 0.05, "{} and {}", narrow.gradient, wide.gradient);
    }
}

#[test]
fn a_run_in_f16_that_was_stopped_ends_with_the_scale_and_weights_of_a_whole_one() {
    let changes = [("run.precision", "f16"), ("run.read_every", "5"), ("run.steps", "12")];
    if !device().supports_dtype(burn::tensor::FloatDType::F16) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| RunFolder::create(&folder.path().join(name), &tiny(&changes)).unwrap();
    let whole = open("whole");
    let mut training = start(&changes);
    assert_eq!(training.reads_every(), 5);
    assert_eq!(train(&mut training, &whole, &mut |_| true).unwrap(), Ending::Complete);
    let cut = open("cut");
    let stop = &mut |event: TrainEvent<'_>| !matches!(event, TrainEvent::Step { report, .. } if report.step == 3);
    let mut stopped = start(&changes);
    assert_eq!(train(&mut stopped, &cut, stop).unwrap(), Ending::Stopped);
    assert_eq!(stopped.progress.step, 5, "it stops where it reads");
    let (mut resumed, _) = cut.resume(tiny(&changes), &device()).unwrap();
    assert_eq!(resumed.progress.loss_scale, stopped.progress.loss_scale);
    train(&mut resumed, &cut, &mut |_| true).unwrap();
    assert_eq!(resumed.progress.loss_scale, training.progress.loss_scale);
    if exact() {
        assert_eq!(weights_of(&resumed.raw().model), weights_of(&training.raw().model));
    }
}

#[test]
fn the_host_decides_where_the_device_cannot() {
    let every = |changes: &[(&str, &str)]| start(changes).reads_every();
    assert_eq!(every(&[]), if exact() { 1 } else { 10 });
    assert_eq!(every(&[("run.read_every", "7")]), 7);
    assert_eq!(every(&[("run.read_every", "7"), ("optimizer.kind", "muon")]), 1);
    let said = tiny(&[]).with("run.read_every", "11").unwrap_err().to_string();
    assert!(said.contains("`run.read_every` is 11, wanted at most 10"), "{said}");
}

#[test]
fn a_run_writes_the_same_lines_however_rarely_it_reads() {
    let lines = |every: &str| {
        let changes = [("run.read_every", every), ("run.steps", "23")];
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(&folder.path().join("run"), &tiny(&changes)).unwrap();
        let mut steps = vec![];
        let mut training = start(&changes);
        let ending = train(&mut training, &run, &mut |event| {
            if let TrainEvent::Step { report, .. } = event {
                steps.push(report.step);
            }
            true
        });
        assert_eq!(ending.unwrap(), Ending::Complete);
        assert_eq!(steps, (1..=23).collect::<Vec<u64>>());
        let text = fs_err::read_to_string(run.metrics()).unwrap();
        let line = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let lines = text.lines().map(line).map(|line| {
            let number = |key: &str| line[key].as_f64().unwrap();
            let keys = ["step", "loss", "gradient", "tokens", "lr"];
            keys.map(|key| format!("{:.4}", number(key)))
        });
        lines.collect::<Vec<_>>()
    };
    let each = lines("1");
    assert_eq!(each.len(), 3);
    assert_eq!(lines("10"), each);
    assert_eq!(lines("4"), each);
}
