//! The training loop.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use burn::prelude::Device;
use mm_eval::sample_grid;
use mm_model::HostBatch;

use crate::TrainError;
use crate::batch::Batches;
use crate::checkpoint::RunFolder;
use crate::early_stopping::EarlyStopping;
use crate::held_out::{Validation, evaluate_held_out};
use crate::metrics::{
    MetricLine, MetricsLog, Speed, ValidationLine, write_raw_samples, write_samples,
};
use crate::plan::memory::{self, within_memory};
use crate::recipe::{BestBy, Recipe};
use crate::rollback::{RolledBack, check_finite, roll_back};
use crate::schedule::{Actions, Schedule};
use crate::step::{ReadSteps, StepReport};
use crate::training::Training;

/// The number of batches that the data thread may be ahead.
const AHEAD: usize = 3;

/// What happens in a run, for whoever shows it.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainEvent<'a> {
    /// The first batch of this session is ready after so long, and its step begins.
    FirstBatch(Duration),
    /// A step was taken; tokens and images per second are averages since the previous line.
    Step {
        /// The numbers of the step.
        report: &'a StepReport,
        /// The speed of the run.
        speed: Speed,
        /// Whether the step is a line of `metrics.jsonl`.
        logged: bool,
    },
    /// A sample grid was written to this path.
    Samples(&'a Path),
    /// A checkpoint was written to this path.
    Saved(&'a Path),
    /// The averaged weights were measured on held-out documents; says whether they are the best so
    /// far.
    Measured(&'a Validation, bool),
    /// Steps kept failing, so the run goes on from an earlier checkpoint.
    RolledBack(&'a RolledBack),
}

/// Says how a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps were taken.
    Complete,
    /// The run was asked to stop; a checkpoint holds what was learned.
    Stopped,
    /// Measurements on held-out documents brought no gain for as long as `run.patience` says.
    EarlyStopped,
}

/// Trains from where `training` stands to the last step of the recipe, or until `on` returns false;
/// then a checkpoint is written.
///
/// If steps keep being skipped, or a weight is not finite where a checkpoint would be taken, the
/// run is rolled back to its newest checkpoint once; after that, or without a checkpoint, it ends
/// with an error and its checkpoints stay. With several ranks the first one writes, and all stop at
/// the same step. A run that does not fit the memory of the machine is refused.
///
/// ```
/// use burn::prelude::Device;
/// use mm_train::{Ending, Recipe, RunFolder, Training, train};
///
/// let recipe = Recipe::from_toml(include_str!("../../mm-cli/recipes/glyphs.toml")).unwrap();
/// let small = [("image.width", "16"), ("image.height", "16"), ("model.backbone.depth", "1")];
/// let short = [("run.steps", "2"), ("run.batch", "4"), ("sample.steps", "2")];
/// let recipe = recipe.with_all(&small).unwrap().with_all(&short).unwrap();
/// let folder = tempfile::tempdir().unwrap();
/// let run = RunFolder::create(&folder.path().join("run"), &recipe).unwrap();
/// let mut training = Training::start(recipe, &Device::flex()).unwrap();
/// assert_eq!(train(&mut training, &run, &mut |_event| true).unwrap(), Ending::Complete);
/// assert!(run.model().join("model.safetensors").is_file());
/// ```
pub fn train(
    training: &mut Training,
    folder: &RunFolder,
    on: &mut dyn FnMut(TrainEvent<'_>) -> bool,
) -> Result<Ending, TrainError> {
    memory::check(training, training.ranks.count)?;
    loop {
        match until_it_fails(training, folder, on) {
            Ok(ending) => return Ok(ending),
            Err(why) => {
                let why = memory::advised(training, why);
                let done = roll_back(training, folder, why)?;
                let go_on = on(TrainEvent::RolledBack(&done));
                if !training.ranks.all(go_on) {
                    return Ok(Ending::Stopped);
                }
            }
        }
    }
}

/// Returns the number of steps that fit `seconds` on this device. A few steps are taken and thrown
/// away, and a twentieth of the time is left for samples and checkpoints.
pub fn steps_in(recipe: &Recipe, device: &Device, seconds: f64) -> Result<u64, TrainError> {
    const WARM: u64 = 3;
    const MEASURED: u64 = 20;
    let mut training = Training::start(recipe.clone(), device)?;
    memory::check(&training, 1)?;
    let data = training.data.clone();
    let tokenizer = training.tokenizer.clone();
    let recipe = training.recipe.clone(); // with the sizes of its codec
    let mut batches = Batches::new(&recipe, &data, &tokenizer).of_model(&training.model);
    let mut start = Instant::now();
    for step in 0..WARM + MEASURED {
        if step == WARM {
            start = Instant::now();
        }
        let batch = batches.batch(step)?;
        within_memory(&recipe.run, step, || training.advance(&batch))?;
    }
    within_memory(&recipe.run, WARM + MEASURED, || Ok(training.read_steps()))?;
    let one = start.elapsed().as_secs_f64() / MEASURED as f64;
    Ok(((seconds * 0.95 / one) as u64).max(1))
}

/// Does `work` with the batches of some steps, which are prepared on a thread of their own, a few
/// ahead.
pub fn with_batches<R>(
    mut batches: Batches<'_>,
    steps: Range<u64>,
    work: impl FnOnce(Receiver<Result<Vec<HostBatch>, TrainError>>) -> R,
) -> R {
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(AHEAD);
        // The sender is dropped with the thread, which ends the loop of the receiver.
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
    on: &mut dyn FnMut(TrainEvent<'_>) -> bool,
) -> Result<Ending, TrainError> {
    let recipe = training.recipe.clone();
    let data = training.data.clone();
    let tokenizer = training.tokenizer.clone();
    let first = training.progress.step;
    let ranks = training.ranks.clone();
    let batches = Batches::new(&recipe, &data, &tokenizer).of_model(&training.model);
    let batches = batches.of_rank(ranks.rank, ranks.count)?;
    let log = ranks.writes().then(|| MetricsLog::open(&folder.metrics(), first)).transpose()?;
    let meter = Meter::new(training);
    let saved = (first > 0).then_some(first); // a resumed run starts at a checkpoint
    let mut run = Run { training, folder, on, log, meter, saved };
    with_batches(batches, first..recipe.run.steps, |receive| run.run_to_end(&receive))
}

/// A run in its loop.
struct Run<'a> {
    training: &'a mut Training,
    folder: &'a RunFolder,
    on: &'a mut dyn FnMut(TrainEvent<'_>) -> bool,
    /// Is there on the rank that writes.
    log: Option<MetricsLog>,
    meter: Meter,
    /// The step of the latest checkpoint.
    saved: Option<u64>,
}

impl Run<'_> {
    /// Takes the steps, and after each does what is due.
    fn run_to_end(
        &mut self,
        batches: &Receiver<Result<Vec<HostBatch>, TrainError>>,
    ) -> Result<Ending, TrainError> {
        let run = self.training.recipe.run.clone();
        let schedule = Schedule::of(&run);
        let ranks = self.training.ranks.clone();
        let stalled = |stopping: EarlyStopping| stopping.is_due(run.patience);
        let mut go_on = true;
        let first = self.training.progress.step;
        while go_on
            && self.training.next_step() < run.steps
            && !stalled(self.training.progress.early_stopping)
        {
            let asked = Instant::now();
            let Ok(batch) = batches.recv() else { break };
            self.meter.waited += asked.elapsed();
            let batch = batch.map_err(|why| self.saved_first(why))?;
            let step = self.training.next_step();
            if step == first {
                go_on &= (self.on)(TrainEvent::FirstBatch(asked.elapsed()));
            }
            let due = schedule.due(step + 1);
            let reports = within_memory(&run, step, || self.step(&batch, due))?;
            let Some(skipped) = self.log_all(reports, &mut go_on)? else { continue };
            if due.evaluate {
                // Every rank measures the same weights on the same documents; all must agree.
                let better = self.evaluate()?;
                if ranks.all(better) && run.best != BestBy::None {
                    go_on &= self.save()?;
                }
            }
            if due.sample && ranks.writes() {
                go_on &= self.sample()?;
            }
            // A checkpoint between failing steps would be no good one to go back to.
            if due.checkpoint && !skipped && self.saved != Some(step + 1) {
                go_on &= self.save()?;
            }
            go_on = ranks.all(go_on);
        }
        let read = self.training.read_steps(); // none, unless the run was stopped between readings
        self.log_all(read, &mut go_on)?;
        if self.saved != Some(self.training.progress.step) {
            self.save()?;
        }
        if self.training.progress.step >= run.steps {
            Ok(Ending::Complete)
        } else if stalled(self.training.progress.early_stopping) {
            Ok(Ending::EarlyStopped)
        } else {
            Ok(Ending::Stopped)
        }
    }

    /// Takes a step, and reads it and those before it that were not read yet if that is due.
    fn step(&mut self, batch: &[HostBatch], due: Actions) -> Result<ReadSteps, TrainError> {
        let read = self.training.advance(batch)?;
        if read.reports.is_empty() && read.failed.is_none() && due != Actions::default() {
            return Ok(self.training.read_steps());
        }
        Ok(read)
    }

    /// Tells of steps that were read, and says whether the last of them was skipped; nothing if
    /// there are none.
    fn log_all(&mut self, read: ReadSteps, go_on: &mut bool) -> Result<Option<bool>, TrainError> {
        let schedule = Schedule::of(&self.training.recipe.run);
        for report in &read.reports {
            *go_on &= self.log(report, schedule.due(report.step).log || report.skipped)?;
        }
        match read.failed {
            Some(why) => Err(why),
            None => Ok(read.reports.last().map(|report| report.skipped)),
        }
    }

    /// Tells of a step, and writes its line if it has one.
    fn log(&mut self, report: &StepReport, logged: bool) -> Result<bool, TrainError> {
        self.meter.count(report, self.training.added);
        self.training.progress.milliseconds = self.meter.milliseconds();
        let line = self.meter.line(report);
        let go_on = (self.on)(TrainEvent::Step { report, speed: line.speed, logged });
        if logged {
            if let Some(log) = &mut self.log {
                log.write(&line)?;
            }
            self.meter.restart();
        }
        Ok(go_on)
    }

    /// Measures the averaged weights, and writes them as the best model if they are. Says whether
    /// they are the best so far.
    fn evaluate(&mut self) -> Result<bool, TrainError> {
        let found = evaluate_held_out(self.training)?;
        if let Some(log) = &mut self.log {
            log.write(&ValidationLine { step: found.step, validation: &found })?;
        }
        let by = self.training.recipe.run.best;
        let stopping = &mut self.training.progress.early_stopping;
        let better = stopping.measured(found.step, found.number(by));
        if better && by != BestBy::None {
            check_finite(self.training)?; // the measured average may hide weights that are lost
            if self.training.ranks.writes() {
                self.folder.save_best(self.training)?;
            }
        }
        (self.on)(TrainEvent::Measured(&found, better));
        Ok(better)
    }

    /// Writes a grid of samples, and another of the weights themselves if the recipe asks for it.
    fn sample(&mut self) -> Result<bool, TrainError> {
        let path = self.write_grids()?;
        Ok((self.on)(TrainEvent::Samples(&path)))
    }

    fn write_grids(&self) -> Result<PathBuf, TrainError> {
        let Training { recipe, data, progress, .. } = &*self.training;
        let (count, seed) = (recipe.sample.count, recipe.seed);
        let (grid, text) = sample_grid(&self.training.averaged(), data, count, seed)?;
        let path = write_samples(&self.folder.samples(), progress.step, &grid, &text)?;
        if recipe.run.raw_samples {
            let (raw, _) = sample_grid(&self.training.raw(), data, count, seed)?;
            write_raw_samples(&path, &raw)?;
        }
        Ok(path)
    }

    /// Writes a checkpoint, on the rank that writes, once all ranks hold the same weights and these
    /// are finite.
    fn save(&mut self) -> Result<bool, TrainError> {
        let training = &*self.training;
        self.saved = Some(training.progress.step);
        training.ranks.agree(training.progress.step, &training.model)?;
        check_finite(training)?; // on all ranks, so that they agree
        if !training.ranks.writes() {
            return Ok(true);
        }
        let path = self.folder.save(training)?;
        Ok((self.on)(TrainEvent::Saved(&path)))
    }

    /// Returns the error of a batch that cannot be made, once a checkpoint holds what was learned
    /// since the last: a run that its data end loses nothing. Several ranks save nothing, because
    /// the others do not know of it; nor does a run whose steps fail.
    fn saved_first(&mut self, why: TrainError) -> TrainError {
        let read = self.training.read_steps();
        if self.log_all(read, &mut true).is_err() {
            return why; // which is the first error
        }
        let progress = &self.training.progress;
        let new = progress.step > 0 && self.saved != Some(progress.step);
        if new && self.training.ranks.count == 1 && progress.skipped_in_a_row == 0 {
            let _ = self.save(); // the first error is the one to report
        }
        why
    }
}

/// Times and counts since the previous line.
struct Meter {
    /// The milliseconds of training before this session.
    before: u64,
    start: Instant,
    since: Instant,
    waited: Duration,
    /// The time spent adding gradients, if there are several ranks.
    added: Option<Duration>,
    /// The bytes of gradients that are added in a step, if there are several ranks.
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
            bytes: (training.ranks.count > 1).then(|| training.gradient_bytes()),
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
