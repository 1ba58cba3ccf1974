//! The thread that owns the device: it gathers the calls of all jobs in progress, joins those that
//! may share a pass, and answers each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mm_model::{JoinedPrefixes, LoadedModel, NetworkAnswer, NetworkCall, Prefix, Sequence};

use super::ServedModel;
use super::message::{Answer, Counters, Message, Work};
use super::outlet::{Outlet, Stop, words_of};
use super::prefixes::Prefixes;

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

/// Starts the thread; it ends when no sender is left.
pub(super) fn start(
    models: &Arc<[ServedModel]>,
    max_rows: usize,
    counters: &Arc<Counters>,
) -> mpsc::Sender<Message> {
    let (sender, messages) = mpsc::channel();
    let (models, counters) = (models.clone(), counters.clone());
    let mut device = DeviceThread {
        joined: models.iter().map(|_| JoinedPrefixes::default()).collect(),
        models,
        max_rows,
        counters,
        prefixes: Prefixes::default(),
        calls: vec![],
        prompts: vec![],
    };
    let thread = thread::Builder::new().name("mm-device".into());
    // Without this thread, the receiver is dropped, and every job fails with that reason.
    let _ = thread.spawn(move || device.serve(&messages));
    sender
}

struct DeviceThread {
    models: Arc<[ServedModel]>,
    max_rows: usize,
    counters: Arc<Counters>,
    joined: Vec<JoinedPrefixes>,
    prefixes: Prefixes,
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
            if self.counters.running.load(Ordering::Relaxed) == 0 {
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

    /// Waits until every job in progress waits for the device, but not for long.
    fn gather(&mut self, messages: &mpsc::Receiver<Message>) {
        let until = Instant::now() + GATHERING;
        loop {
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            let all = self.calls.len() + self.prompts.len();
            let left = until.saturating_duration_since(Instant::now());
            if all == 0 || all >= self.counters.running.load(Ordering::Relaxed) || left.is_zero() {
                return;
            }
            let Ok(message) = messages.recv_timeout(left) else { return };
            self.take(message);
        }
    }

    fn run_prompts(&mut self) {
        for Prompt { model, prompt, answer, outlet } in std::mem::take(&mut self.prompts) {
            if let Some(stop) = outlet.stop() {
                let _ = answer.send(Err(stop));
                continue;
            }
            let from = &*self.models[model].model;
            let found = caught(|| self.prefixes.of(model, from, &prompt));
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
    fn run_group(&mut self, group: Vec<Call>) {
        let model = group[0].model;
        let from = self.models[model].model.clone();
        let calls: Vec<&NetworkCall> = group.iter().map(|call| &*call.call).collect();
        let answers = match self.pass(model, &from, &calls) {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(stop) if calls.len() == 1 => vec![Err(stop)],
            Err(_) => {
                self.joined[model].clear();
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
        caught(|| from.pass(calls, &mut self.joined[model]))
    }
}

/// Does work of the device, whose panic is an answer.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Stop> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        Stop::Device(format!("the device could not compute this: {}", words_of(&*payload)))
    })
}
