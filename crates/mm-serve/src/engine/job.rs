//! One job from its turn to its end, on a thread of its own. Its passes are run by the device's
//! thread; what is left is choice of tokens, steps of samplers, constraints.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use mm_model::{
    Constrain, Document, GenerateError, GenerateOptions, LoadedModel, Network, NetworkAnswer,
    NetworkCall, Prefix, Sequence, Unconstrained,
};
use mm_patch::{Grid, Image};
use tokio::sync::mpsc::UnboundedSender;

use super::check::image_tokens;
use super::device::Lanes;
use super::message::{Counters, Message, Work};
use super::outlet::{Outlet, Stop, words_of};
use super::watch::{Progress, Watch};
use super::{EngineOptions, Event, FinishReason, Job, ServedModel, Task, Usage};

/// Images that are denoised at once, as the model does alone.
const TOGETHER: usize = 16;

/// A job that was taken.
pub(super) struct Queued {
    pub job: Job,
    /// What its prompt counts.
    pub prompt: Usage,
    pub events: UnboundedSender<Event>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Failed,
    Cancelled,
}

/// What every job works with.
pub(super) struct Resources {
    pub models: Arc<[ServedModel]>,
    pub options: EngineOptions,
    pub counters: Arc<Counters>,
    /// The way to the device.
    pub lanes: Lanes,
}

/// The network as a job sees it.
#[derive(Debug)]
struct Remote<'a> {
    model: usize,
    outlet: &'a Outlet,
    calls: mpsc::Sender<Message>,
}

impl Remote<'_> {
    fn ask<T>(&self, work: impl FnOnce(mpsc::Sender<Result<T, Stop>>) -> Work) -> T {
        let (sender, answer) = mpsc::channel();
        let (model, outlet) = (self.model, self.outlet.clone());
        let sent = self.calls.send(Message::Work { model, outlet, work: work(sender) });
        let ended = || Err(Stop::Device("the engine has ended".to_owned()));
        let answer = if sent.is_ok() { answer.recv().unwrap_or_else(|_| ended()) } else { ended() };
        match answer {
            Ok(answer) => answer,
            Err(stop) => stop.unwind(),
        }
    }
}

impl Network for Remote<'_> {
    fn call(&self, call: NetworkCall) -> NetworkAnswer {
        self.ask(|answer| Work::Call { call: Box::new(call), answer })
    }

    fn prompt(&self, prompt: &Sequence) -> Prefix {
        self.ask(|answer| Work::Prompt { prompt: Arc::new(prompt.clone()), answer })
    }
}

/// How a job ended, and the event that tells its client, to be sent once the end is counted.
pub(super) struct Ending {
    pub end: End,
    pub last: Option<Event>,
}

/// Does a job to its end, whatever happens, with the passes of a lane.
pub(super) fn run(with: &Resources, queued: Queued, lane: usize) -> Ending {
    let Queued { job, prompt, events } = queued;
    let outlet = Outlet { events, begun: Instant::now(), limit: with.options.time_limit };
    let done = catch_unwind(AssertUnwindSafe(|| {
        outlet.send(Event::Started);
        work(with, job, prompt, &outlet, with.lanes.sender(lane))
    }));
    let why = match done {
        Ok(Ok(finished)) => {
            return Ending { end: End::Finished, last: Some(finished) };
        }
        Ok(Err(why)) => why.to_string(),
        Err(payload) => match payload.downcast::<Stop>().map(|stop| *stop) {
            Ok(Stop::Gone) => return Ending { end: End::Cancelled, last: None },
            Ok(Stop::Late(limit)) => {
                format!(
                    "the request took longer than {} s, which is the limit",
                    limit.as_secs_f64()
                )
            }
            Ok(Stop::Device(why)) => why,
            Err(payload) => format!("the request failed: {}", words_of(&*payload)),
        },
    };
    Ending { end: End::Failed, last: Some(Event::Failed(why)) }
}

/// Returns the rows of an image in a pass: two where guidance may be active.
pub(super) fn branches(model: &LoadedModel, options: &GenerateOptions) -> usize {
    if model.config.has_prompts() && options.guidance.scale != 1.0 { 2 } else { 1 }
}

/// Returns the images of a job that are denoised at once.
pub(super) fn at_once(model: &LoadedModel, job: &Job, max_rows: usize) -> usize {
    (max_rows / branches(model, &job.options)).clamp(1, TOGETHER)
}

fn work(
    with: &Resources,
    job: Job,
    prompt: Usage,
    outlet: &Outlet,
    calls: mpsc::Sender<Message>,
) -> Result<Event, GenerateError> {
    let model = &*with.models[job.model].model;
    let at_once = at_once(model, &job, with.options.max_rows);
    let Job { task, options, previews, model: index } = job;
    let (counters, remote) = (&*with.counters, Remote { model: index, outlet, calls });
    let doing = Doing { model, options, previews, counters, outlet, remote };
    match task {
        Task::Generate { prompt: document } => doing.generate(&document, prompt),
        Task::Draw { prompt: document, grid, count, constraint } => {
            let mut free = Unconstrained;
            let mut constraint = constraint;
            let constraint: &mut dyn Constrain = match &mut constraint {
                Some(constraint) => &mut **constraint,
                None => &mut free,
            };
            doing.draw(&document, grid, Parts { count, at_once }, constraint)?;
            let usage = Usage { images: count * image_tokens(model, grid.tokens()), ..prompt };
            Ok(Event::Finished { reason: FinishReason::Stop, usage })
        }
    }
}

/// A job in progress.
struct Doing<'a> {
    model: &'a LoadedModel,
    options: GenerateOptions,
    previews: usize,
    counters: &'a Counters,
    outlet: &'a Outlet,
    remote: Remote<'a>,
}

/// How many images are drawn, and how many of them at once.
struct Parts {
    count: usize,
    at_once: usize,
}

impl Doing<'_> {
    fn watch<'a>(&'a self, inner: &'a mut dyn Constrain, first: &'a Cell<usize>) -> Watch<'a> {
        let (sampler, previews, outlet) = (self.options.sampler, self.previews, self.outlet);
        Watch { inner, outlet, sampler, previews, first, progress: Progress::default() }
    }

    fn finished_image(&self, image: usize, pixels: Image) {
        self.counters.images.fetch_add(1, Ordering::Relaxed);
        self.outlet.send(Event::Image { image, pixels });
    }

    fn generate(&self, document: &Document, prompt: Usage) -> Result<Event, GenerateError> {
        let (images, tokens) = (Cell::new(0), Cell::new(0));
        let mut on = |event: mm_model::Event<'_>| match event {
            mm_model::Event::Text(text) => self.outlet.send(Event::Text(text.to_owned())),
            mm_model::Event::Image(image) => {
                let patches = (image.width() / self.model.config.patch)
                    * (image.height() / self.model.config.patch);
                tokens.set(tokens.get() + image_tokens(self.model, patches));
                self.finished_image(images.get(), image.clone());
                images.set(images.get() + 1);
            }
            mm_model::Event::Step(..) => {} // the watch tells of it
        };
        let mut free = Unconstrained;
        let watch = &mut self.watch(&mut free, &images);
        let (model, options) = (self.model, &self.options);
        let written = model.generate_through(&self.remote, document, options, watch, &mut on)?;
        self.counters.text_tokens.fetch_add(written.text_tokens as u64, Ordering::Relaxed);
        let usage = Usage { text: written.text_tokens, images: tokens.get(), ..prompt };
        let reason = if written.ended { FinishReason::Stop } else { FinishReason::Length };
        Ok(Event::Finished { reason, usage })
    }

    fn draw(
        &self,
        document: &Document,
        grid: Grid,
        parts: Parts,
        constraint: &mut dyn Constrain,
    ) -> Result<(), GenerateError> {
        let first = Cell::new(0);
        let mut watch = self.watch(constraint, &first);
        while first.get() < parts.count {
            let seed = self.options.seed.wrapping_add(first.get() as u64);
            let options = GenerateOptions { seed, ..self.options.clone() };
            let count = parts.at_once.min(parts.count - first.get());
            let (model, remote) = (self.model, &self.remote);
            let drawn = model.draw_through(remote, document, count, grid, &options, &mut watch)?;
            for pixels in drawn {
                self.finished_image(first.get(), pixels);
                first.set(first.get() + 1);
            }
        }
        Ok(())
    }
}
