//! The threads that own the device: each gathers the calls of its jobs, joins those that may share
//! a pass, and answers each.
//!
//! On the CPU there is a lane for each core, as long as a model's weights fit a cache: two passes
//! of half the rows, each on a core of its own, end sooner than one pass that both cores share,
//! because nothing waits between two kernels. The only lane that has jobs uses all cores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mm_model::{
    JoinedPrefixes, Joining, LoadedModel, NetworkAnswer, NetworkCall, Prefix, Sequence,
};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::message::{Answer, Counters, Message, Work};
use super::outlet::{Outlet, Stop, words_of};
use super::prefixes::{self, Prefixes};
use super::{EngineOptions, ServedModel};

/// The longest that calls wait for those of other jobs.
const GATHERING: Duration = Duration::from_millis(3);

/// A call that waits for its pass.
struct Call {
    model: usize,
    call: Box<NetworkCall>,
    answer: Answer<NetworkAnswer>,
    outlet: Outlet,
}

/// A prompt that waits for its pass.
struct Prompt {
    model: usize,
    prompt: Arc<Sequence>,
    answer: Answer<Prefix>,
    outlet: Outlet,
}

/// The most bytes of a model's weights that every core may read on its own: about what the caches
/// of a core and its neighbors hold. Cores that stream more than that from memory had better do it
/// once for all rows.
const CACHED_WEIGHTS: usize = 64 << 20;

/// The way to the device: its lanes, and how many jobs each has.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    senders: Vec<mpsc::Sender<Message>>,
    jobs: Arc<[AtomicUsize]>,
}

impl Lanes {
    /// Starts a thread for each lane; they end when no sender is left.
    pub fn start(
        models: &Arc<[ServedModel]>,
        options: &EngineOptions,
        counters: &Arc<Counters>,
    ) -> Self {
        let cores = rayon::current_num_threads();
        let count = options.lanes.unwrap_or_else(|| useful_lanes(models, cores)).max(1);
        let jobs: Arc<[AtomicUsize]> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        let prefixes = Arc::default();
        let start = |lane: usize| {
            let (sender, messages) = mpsc::channel();
            let share = (cores / count).max(1);
            let name = move |_| format!("mm-lane-{lane}");
            let alone = ThreadPoolBuilder::new().num_threads(share).thread_name(name).build();
            let mut device = DeviceThread {
                joined: models.iter().map(|_| JoinedPrefixes::default()).collect(),
                models: models.clone(),
                max_rows: options.max_rows,
                counters: counters.clone(),
                prefixes: Arc::clone(&prefixes),
                lane,
                jobs: jobs.clone(),
                alone: alone.ok().filter(|_| count > 1),
                calls: vec![],
                prompts: vec![],
            };
            let thread = thread::Builder::new().name(format!("mm-device-{lane}"));
            // Without this thread, the receiver is dropped, and every job fails with that reason.
            let _ = thread.spawn(move || device.serve(&messages));
            sender
        };
        Self { senders: (0..count).map(start).collect(), jobs }
    }

    /// Returns the number of lanes.
    pub fn count(&self) -> usize {
        self.senders.len()
    }

    /// Returns the way to a lane.
    pub fn sender(&self, lane: usize) -> mpsc::Sender<Message> {
        self.senders[lane].clone()
    }

    /// Notes that a lane has one more job, whose calls its passes wait for.
    pub fn enter(&self, lane: usize) {
        self.jobs[lane].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a job of a lane has ended.
    pub fn leave(&self, lane: usize) {
        self.jobs[lane].fetch_sub(1, Ordering::Relaxed);
        let _ = self.senders[lane].send(Message::Left);
    }
}

/// Returns a lane for each core where the models are small and computed by kernels of the CPU.
fn useful_lanes(models: &[ServedModel], cores: usize) -> usize {
    let small = |served: &ServedModel| {
        let model = &served.model;
        model.joining() != Joining::Never && 4 * model.config.parameters() <= CACHED_WEIGHTS
    };
    if models.iter().all(small) { cores } else { 1 }
}

struct DeviceThread {
    models: Arc<[ServedModel]>,
    max_rows: usize,
    counters: Arc<Counters>,
    joined: Vec<JoinedPrefixes>,
    /// The prompts of all lanes.
    prefixes: Arc<Mutex<Prefixes>>,
    lane: usize,
    /// The jobs of each lane.
    jobs: Arc<[AtomicUsize]>,
    /// This lane's share of the cores; nothing if it is the only lane.
    alone: Option<ThreadPool>,
    calls: Vec<Call>,
    prompts: Vec<Prompt>,
}

impl DeviceThread {
    fn serve(&mut self, messages: &mpsc::Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            self.take(message);
            self.gather(messages);
            self.run_prompts();
            self.run_calls();
            if self.own_jobs() == 0 {
                self.joined.iter_mut().for_each(JoinedPrefixes::clear);
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Work { model, outlet, work: Work::Call { call, answer } } => {
                self.calls.push(Call { model, call, answer, outlet });
            }
            Message::Work { model, outlet, work: Work::Prompt { prompt, answer } } => {
                self.prompts.push(Prompt { model, prompt, answer, outlet });
            }
            Message::Left => {}
        }
    }

    /// Waits until every job of this lane waits for the device, but not for long.
    fn gather(&mut self, messages: &mpsc::Receiver<Message>) {
        let until = Instant::now() + GATHERING;
        loop {
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            let all = self.calls.len() + self.prompts.len();
            let left = until.saturating_duration_since(Instant::now());
            if all == 0 || all >= self.own_jobs() || left.is_zero() {
                return;
            }
            let Ok(message) = messages.recv_timeout(left) else { return };
            self.take(message);
        }
    }

    fn own_jobs(&self) -> usize {
        self.jobs[self.lane].load(Ordering::Relaxed)
    }

    /// Does work on this lane's share of the cores, or on all while no other lane has a job. A
    /// panic is an answer.
    fn compute<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Stop> {
        let others = self.jobs.iter().enumerate().filter(|&(lane, _)| lane != self.lane);
        let others_work = others.map(|(_, jobs)| jobs.load(Ordering::Relaxed)).any(|jobs| jobs > 0);
        caught(|| match self.alone.as_ref().filter(|_| others_work) {
            Some(alone) => alone.install(work),
            None => work(),
        })
    }

    fn run_prompts(&mut self) {
        for Prompt { model, prompt, answer, outlet } in std::mem::take(&mut self.prompts) {
            if let Some(stop) = outlet.stop() {
                let _ = answer.send(Err(stop));
                continue;
            }
            let from = &*self.models[model].model;
            let found = self.compute(|| prefixes::of(&self.prefixes, model, from, &prompt));
            if found.as_ref().is_ok_and(|found| found.computed) {
                self.counters.passes.fetch_add(1, Ordering::Relaxed);
                self.counters.rows.fetch_add(1, Ordering::Relaxed);
            }
            let _ = answer.send(found.map(|found| found.prefix)); // the job may be gone
        }
    }

    /// Runs every call that waits, as few passes as there are shapes.
    fn run_calls(&mut self) {
        let mut groups: Vec<Vec<Call>> = vec![];
        for call in std::mem::take(&mut self.calls) {
            if let Some(stop) = call.outlet.stop() {
                let _ = call.answer.send(Err(stop));
                continue;
            }
            let joining = self.models[call.model].model.joining();
            let fits = |group: &&mut Vec<Call>| {
                let rows: usize = group.iter().map(|call| call.call.rows()).sum();
                group[0].model == call.model
                    && rows + call.call.rows() <= self.max_rows
                    && group[0].call.joins(&call.call, joining)
            };
            match groups.iter_mut().find(fits) {
                Some(group) => group.push(call),
                None => groups.push(vec![call]),
            }
        }
        for group in groups {
            self.run_group(group);
        }
    }

    /// Runs calls as one pass; if that fails, each alone, so that only those fail that must.
    fn run_group(&mut self, mut group: Vec<Call>) {
        // Rows that stand in one order from pass to pass are joined once.
        group.sort_by_key(|call| call.call.document());
        let model = group[0].model;
        let from = self.models[model].model.clone();
        let calls: Vec<&NetworkCall> = group.iter().map(|call| &*call.call).collect();
        let answers = match self.pass(model, &from, &calls) {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(stop) if calls.len() == 1 => vec![Err(stop)],
            Err(_) => {
                let one_call = |call| {
                    let mut answers = self.pass(model, &from, &[call])?;
                    Ok(answers.remove(0))
                };
                calls.into_iter().map(one_call).collect::<Vec<Result<NetworkAnswer, Stop>>>()
            }
        };
        for (Call { call, answer, .. }, found) in group.into_iter().zip(answers) {
            drop(call); // the job's cache is its own again, and can grow in place
            let _ = answer.send(found); // the job may be gone
        }
    }

    fn pass(
        &mut self,
        model: usize,
        from: &LoadedModel,
        calls: &[&NetworkCall],
    ) -> Result<Vec<NetworkAnswer>, Stop> {
        let rows: usize = calls.iter().map(|call| call.rows()).sum();
        self.counters.passes.fetch_add(1, Ordering::Relaxed);
        self.counters.rows.fetch_add(rows as u64, Ordering::Relaxed);
        let mut joined = std::mem::take(&mut self.joined[model]);
        let answers = self.compute(|| from.pass(calls, &mut joined));
        if answers.is_ok() {
            self.joined[model] = joined;
        }
        answers
    }
}

/// Does work of the device, whose panic is an answer.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Stop> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        Stop::Device(format!("the device could not compute this: {}", words_of(&*payload)))
    })
}
