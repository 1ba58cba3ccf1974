//! Jobs that wait, those in progress, and what is counted.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::job::{self, End, Ending, Queued, Resources};
use super::threads::Threads;
use super::{EngineStats, Event, Job, SubmitError, Task};

/// What all handles of an engine and its jobs share.
pub(super) struct Shared {
    pub with: Resources,
    state: Mutex<State>,
    /// Rings when a job has ended.
    ended: Notify,
    threads: Threads,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Queued>,
    /// What each lane of the device has in progress.
    lanes: Vec<Load>,
    draining: bool,
    finished: u64,
    failed: u64,
    cancelled: u64,
    /// How long a job takes from its turn to its end, the latest weighted most.
    usual: Option<Duration>,
}

/// The jobs in progress of a lane, and their rows.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    jobs: usize,
    rows: usize,
}

/// Where a job is done, and the rows that it has there.
#[derive(Debug, Clone, Copy)]
struct Place {
    lane: usize,
    rows: usize,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("models", &self.with.models.len()).finish_non_exhaustive()
    }
}

impl Shared {
    pub fn new(with: Resources) -> Arc<Self> {
        let lanes = vec![Load::default(); with.lanes.count()];
        let state = Mutex::new(State { lanes, ..State::default() });
        Arc::new(Self { with, state, ended: Notify::new(), threads: Threads::default() })
    }

    /// Takes a job, or says why not.
    pub fn submit(self: &Arc<Self>, queued: Queued) -> Result<(), SubmitError> {
        let mut state = self.state();
        if state.draining {
            return Err(SubmitError::Draining);
        }
        state.forget_gone();
        let rows = self.rows_of(&queued.job);
        let room = state.waiting.is_empty() && state.lane_for(rows, self).is_some();
        let waiting = state.waiting.len();
        if !room && waiting >= self.with.options.queue {
            return Err(SubmitError::QueueFull { waiting, retry_after: state.free_in() });
        }
        state.waiting.push_back(queued);
        self.start_next(state);
        Ok(())
    }

    /// Returns what was done so far.
    pub fn stats(&self) -> EngineStats {
        let mut state = self.state();
        state.forget_gone();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineStats {
            waiting: state.waiting.len(),
            running: state.running(),
            finished: state.finished,
            failed: state.failed,
            cancelled: state.cancelled,
            passes: of(&self.with.counters.passes),
            rows: of(&self.with.counters.rows),
            text_tokens: of(&self.with.counters.text_tokens),
            images: of(&self.with.counters.images),
        }
    }

    /// Takes no new job, and waits until all have ended.
    pub async fn drain(&self) {
        self.state().draining = true;
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            {
                let mut state = self.state();
                state.forget_gone();
                if state.running() == 0 && state.waiting.is_empty() {
                    return;
                }
            }
            ended.await;
        }
    }

    /// Returns the rows that a job has in a pass.
    fn rows_of(&self, job: &Job) -> usize {
        match &job.task {
            Task::Generate { .. } => 1,
            Task::Draw { count, .. } => {
                job::branches(&self.with.models[job.model].model, &job.options)
                    * job::at_once(
                        &self.with.models[job.model].model,
                        job,
                        self.with.options.max_rows,
                    )
                    .min(*count)
            }
        }
    }

    /// Starts the jobs whose turn has come, in the order in which they came.
    fn start_next(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        state.forget_gone();
        while let Some(next) = state.waiting.front() {
            let rows = self.rows_of(&next.job);
            let Some(lane) = state.lane_for(rows, self) else { return };
            let Some(queued) = state.waiting.pop_front() else { return };
            let load = &mut state.lanes[lane];
            (load.jobs, load.rows) = (load.jobs + 1, load.rows + rows);
            self.with.lanes.enter(lane);
            let (shared, events) = (self.clone(), queued.events.clone());
            let started = self.threads.run(move || {
                let begun = Instant::now();
                let client = queued.events.clone();
                let ending = job::run(&shared.with, queued, lane);
                shared.ended(ending, &client, Place { lane, rows }, begun.elapsed());
            });
            if let Err(why) = started {
                let _ = events.send(Event::Failed(format!("no thread could be started: {why}")));
                state.end(End::Failed, Place { lane, rows }, None);
                self.with.lanes.leave(lane);
            }
        }
    }

    /// Notes the end of a job, tells its client, and starts those that waited for its place.
    fn ended(
        self: &Arc<Self>,
        ending: Ending,
        client: &UnboundedSender<Event>,
        place: Place,
        took: Duration,
    ) {
        self.with.lanes.leave(place.lane);
        let mut state = self.state();
        state.end(ending.end, place, Some(took));
        if let Some(last) = ending.last {
            let _ = client.send(last); // the client may be gone
        }
        self.start_next(state);
        self.ended.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn running(&self) -> usize {
        self.lanes.iter().map(|lane| lane.jobs).sum()
    }

    /// Returns the lane with the fewest rows, if it has room for so many more.
    fn lane_for(&self, rows: usize, shared: &Shared) -> Option<usize> {
        let (lane, load) = self.lanes.iter().enumerate().min_by_key(|(_, load)| load.rows)?;
        let room = load.jobs == 0 || load.rows + rows <= shared.with.options.max_rows;
        room.then_some(lane)
    }

    fn end(&mut self, end: End, place: Place, took: Option<Duration>) {
        let load = &mut self.lanes[place.lane];
        (load.jobs, load.rows) = (load.jobs - 1, load.rows - place.rows);
        match end {
            End::Finished => self.finished += 1,
            End::Failed => self.failed += 1,
            End::Cancelled => self.cancelled += 1,
        }
        if let Some(took) = took.filter(|_| end == End::Finished) {
            self.usual = Some(self.usual.map_or(took, |usual| (usual * 3 + took) / 4));
        }
    }

    /// Drops waiting jobs whose clients went away.
    fn forget_gone(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|queued| !queued.events.is_closed());
        self.cancelled += (before - self.waiting.len()) as u64;
    }

    /// Estimates when a place in the queue is free: a job in progress is half done on average.
    fn free_in(&self) -> Duration {
        let usual = self.usual.unwrap_or(Duration::from_secs(1));
        (usual / 2 / self.running().max(1) as u32).max(Duration::from_secs(1))
    }
}
