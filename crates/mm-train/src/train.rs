//! The training loop.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use mm_model::HostBatch;

use crate::batch::Batches;
use crate::memory::within_memory;
use crate::metrics::{
    LINE_EVERY, MetricLine, MetricsLog, Speed, ValidationLine, write_raw_samples, write_samples,
};
use crate::rollback::{RolledBack, check_finite, roll_back};
use crate::state::RunFolder;
use crate::step::{StepReport, Training};
use crate::validate::{Validation, validate};
use crate::watch::BestBy;
use crate::{TrainError, memory};
use mm_eval::sample_grid;

/// Batches that the data thread may be ahead.
const AHEAD: usize = 3;

/// What happens in a run, for whoever shows it.
#[derive(Debug)]
pub enum Happening<'a> {
    /// A step was taken; tokens and images a second are averages since the line before.
    Step {
        /// The step's numbers.
        report: &'a StepReport,
        /// How fast it goes.
        speed: Speed,
        /// Whether the step is a line of `metrics.jsonl`.
        logged: bool,
    },
    /// A sample grid was written here.
    Samples(&'a std::path::Path),
    /// A checkpoint was written here.
    Saved(&'a std::path::Path),
    /// The averaged weights were measured on held-out documents; whether they are the best so far.
    Measured(&'a Validation, bool),
    /// Steps kept failing, so the run goes on from an earlier checkpoint.
    RolledBack(&'a RolledBack),
}

/// The number of steps that fit `seconds` on this device: a few steps are taken and thrown away, and a twentieth of the time
/// is left for samples and checkpoints.
pub fn steps_in(
    recipe: &crate::Recipe,
    device: &burn::prelude::Device,
    seconds: f64,
) -> Result<u64, TrainError> {
    const WARM: u64 = 3;
    const MEASURED: u64 = 20;
    let mut training = Training::start(recipe.clone(), device)?;
    memory::check(&training, 1)?;
    let data = training.data.clone();
    let tokenizer = training.tokenizer.clone();
    let mut batches = Batches::new(recipe, &data, &tokenizer);
    let mut start = Instant::now();
    for step in 0..WARM + MEASURED {
        if step == WARM {
            start = Instant::now();
        }
        let batch = batches.batch(step)?;
        within_memory(&recipe.run, step, || training.step(&batch))?;
    }
    let one = start.elapsed().as_secs_f64() / MEASURED as f64;
    Ok(((seconds * 0.95 / one) as u64).max(1))
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps were taken.
    Complete,
    /// It was asked to stop; a checkpoint holds what was learnt.
    Stopped,
    /// Measurements on held-out documents brought no gain for as long as `run.patience` says.
    Stalled,
}

/// Trains from where `training` stands to the recipe's last step, or until `on` returns false; then a checkpoint is written.
///
/// If steps keep being skipped, or a weight is not finite where a checkpoint would be taken, the run is rolled back to its newest
/// checkpoint once; after that, or without a checkpoint, it ends with an error and its checkpoints stay. Of several ranks the first
/// writes, and all stop at the same step. A run that the machine's memory would not hold is refused.
pub fn train(
    training: &mut Training,
    folder: &RunFolder,
    on: &mut dyn FnMut(Happening<'_>) -> bool,
) -> Result<Ending, TrainError> {
    memory::check(training, training.ranks.count)?;
    loop {
        match until_it_fails(training, folder, on) {
            Ok(ending) => return Ok(ending),
            Err(why) => {
                let done = roll_back(training, folder, why)?;
                let go_on = on(Happening::RolledBack(&done));
                if !training.ranks.all(go_on) {
                    return Ok(Ending::Stopped);
                }
            }
        }
    }
}

/// Does `work` with the batches of some steps, which are prepared on a thread of their own, a few ahead.
pub fn with_batches<R>(
    mut batches: Batches<'_>,
    steps: Range<u64>,
    work: impl FnOnce(Receiver<Result<Vec<HostBatch>, TrainError>>) -> R,
) -> R {
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(AHEAD);
        // The sender is dropped with the thread, which ends the receiver's loop.
        scope.spawn(move || {
            for step in steps {
                if send.send(batches.batch(step)).is_err() {
                    return;
                }
            }
        });
        work(receive)
    })
}

/// Trains to an end or an error.
fn until_it_fails(
    training: &mut Training,
    folder: &RunFolder,
    on: &mut dyn FnMut(Happening<'_>) -> bool,
) -> Result<Ending, TrainError> {
    let recipe = training.recipe.clone();
    let data = training.data.clone();
    let tokenizer = training.tokenizer.clone();
    let first = training.progress.step;
    let ranks = training.ranks.clone();
    let batches = Batches::new(&recipe, &data, &tokenizer).of_rank(ranks.rank, ranks.count)?;
    with_batches(batches, first..recipe.run.steps, |receive| run(training, folder, receive, on))
}

fn run(
    training: &mut Training,
    folder: &RunFolder,
    batches: Receiver<Result<Vec<HostBatch>, TrainError>>,
    on: &mut dyn FnMut(Happening<'_>) -> bool,
) -> Result<Ending, TrainError> {
    let every = training.recipe.run.clone();
    let ranks = training.ranks.clone();
    let step = training.progress.step;
    let mut log = ranks.writes().then(|| MetricsLog::open(&folder.metrics(), step)).transpose()?;
    let mut meter = Meter::new(training);
    let mut saved = (training.progress.step > 0).then_some(training.progress.step); // where a resumed run was taken up
    let mut go_on = true;
    while go_on
        && training.progress.step < every.steps
        && !training.progress.watch.is_stalled(&every)
    {
        let asked = Instant::now();
        let Ok(batch) = batches.recv() else { break };
        meter.waited += asked.elapsed();
        let batch = batch.map_err(|why| saved_first(why, training, (folder, saved), on))?;
        let step = training.progress.step;
        let report = within_memory(&every, step, || training.step(&batch))?;
        meter.count(&report, training.added);
        training.progress.milliseconds = meter.milliseconds();
        let line = meter.line(&report);
        let last = report.step == every.steps;
        let logged = report.step % LINE_EVERY == 0 || report.skipped || last;
        go_on &= on(Happening::Step { report: &report, speed: line.speed, logged });
        if logged {
            if let Some(log) = &mut log {
                log.write(&line)?;
            }
            meter.restart();
        }
        if every.validate_every > 0 && (report.step % every.validate_every == 0 || last) {
            // Every rank measures the same weights on the same documents; all must take the same way.
            let better = ranks.all(measure(training, folder, &mut log, on)?);
            if better && every.best != BestBy::None {
                saved = Some(report.step);
                go_on &= save(training, folder, on)?;
            }
        }
        if (report.step % every.sample_every == 0 || last) && ranks.writes() {
            go_on &= on(Happening::Samples(&write_grids(training, folder, report.step)?));
        }
        // A checkpoint taken between failing steps would be no good one to go back to.
        let due = report.step % every.checkpoint_every == 0 && saved != Some(report.step);
        if due && !report.skipped {
            saved = Some(report.step);
            go_on &= save(training, folder, on)?;
        }
        go_on = ranks.all(go_on);
    }
    if saved != Some(training.progress.step) {
        save(training, folder, on)?;
    }
    Ok(match training.progress.step >= every.steps {
        true => Ending::Complete,
        false if training.progress.watch.is_stalled(&every) => Ending::Stalled,
        false => Ending::Stopped,
    })
}

/// Writes a grid of samples, and another of the weights as they are if the recipe asks for it.
fn write_grids(training: &Training, folder: &RunFolder, step: u64) -> Result<PathBuf, TrainError> {
    let (count, seed) = (training.recipe.sample.count, training.recipe.seed);
    let (grid, text) = sample_grid(&training.averaged(), &training.data, count, seed)?;
    let path = write_samples(&folder.samples(), step, &grid, &text)?;
    if training.recipe.run.raw_samples {
        let (raw, _) = sample_grid(&training.raw(), &training.data, count, seed)?;
        write_raw_samples(&path, &raw)?;
    }
    Ok(path)
}

/// Measures the averaged weights and writes them as the best model if they are; whether they are the best so far.
fn measure(
    training: &mut Training,
    folder: &RunFolder,
    log: &mut Option<MetricsLog>,
    on: &mut dyn FnMut(Happening<'_>) -> bool,
) -> Result<bool, TrainError> {
    let found = validate(training)?;
    if let Some(log) = log {
        log.write(&ValidationLine { step: found.step, validation: &found })?;
    }
    let by = training.recipe.run.best;
    let better = training.progress.watch.measured(&found, by);
    if better && by != BestBy::None {
        check_finite(training)?; // the number may be of other weights than those that are lost
        if training.ranks.writes() {
            folder.save_best(training)?;
        }
    }
    on(Happening::Measured(&found, better));
    Ok(better)
}

/// Writes a checkpoint, on the rank that writes, once all ranks hold the same weights and these are finite.
fn save(
    training: &Training,
    folder: &RunFolder,
    on: &mut dyn FnMut(Happening<'_>) -> bool,
) -> Result<bool, TrainError> {
    training.ranks.agree(training.progress.step, &training.model)?;
    check_finite(training)?; // on all ranks, so that they take the same way
    if !training.ranks.writes() {
        return Ok(true);
    }
    Ok(on(Happening::Saved(&folder.save(training)?)))
}

/// The error of a batch that cannot be made, once what was learnt since the checkpoint of step `saved` is in another: a run that
/// its data end loses nothing. Several ranks save nothing, since the others do not know of it; nor does a run whose steps fail.
fn saved_first(
    why: TrainError,
    training: &Training,
    (folder, saved): (&RunFolder, Option<u64>),
    on: &mut dyn FnMut(Happening<'_>) -> bool,
) -> TrainError {
    let progress = &training.progress;
    let new = progress.step > 0 && saved != Some(progress.step);
    if new && training.ranks.count == 1 && progress.skipped_in_a_row == 0 {
        let _ = save(training, folder, on); // the first error is the one to report
    }
    why
}

/// Times and counts since the last line.
struct Meter {
    before: u64,
    start: Instant,
    since: Instant,
    waited: Duration,
    /// Of adding gradients up, where there are several ranks.
    added: Option<Duration>,
    /// Of gradients, added up in a step.
    bytes: Option<usize>,
    tokens: usize,
    images: usize,
}

impl Meter {
    fn new(training: &Training) -> Self {
        let now = Instant::now();
        Self {
            before: training.progress.milliseconds,
            start: now,
            since: now,
            waited: Duration::ZERO,
            added: None,
            bytes: (training.ranks.count > 1).then(|| training.bytes_a_step()),
            tokens: 0,
            images: 0,
        }
    }

    fn count(&mut self, report: &StepReport, added: Option<Duration>) {
        self.added = added.map(|time| self.added.unwrap_or_default() + time);
        self.tokens += report.tokens;
        self.images += report.images;
    }

    fn milliseconds(&self) -> u64 {
        self.before + self.start.elapsed().as_millis() as u64
    }

    fn line<'a>(&self, report: &'a StepReport) -> MetricLine<'a> {
        let seconds = self.since.elapsed().as_secs_f64().max(1e-9);
        MetricLine {
            report,
            seconds: self.milliseconds() as f64 / 1e3,
            speed: Speed {
                tokens_per_second: self.tokens as f64 / seconds,
                images_per_second: self.images as f64 / seconds,
                data_wait: self.waited.as_secs_f64() / seconds,
                gradient_sum: self.added.map(|added| added.as_secs_f64() / seconds),
                gradient_bytes: self.bytes,
            },
        }
    }

    fn restart(&mut self) {
        self.since = Instant::now();
        (self.waited, self.added) = (Duration::ZERO, None);
        (self.tokens, self.images) = (0, 0);
    }
}
