//! A run on the terminal: a progress bar with messages above it, or the dashboard, after which the
//! messages are printed.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mm_train::{TrainEvent, Training, Validation};

use super::dashboard::Dashboard;
use crate::terminal::tell;

/// Where a run is shown.
pub enum Screen {
    /// A progress bar; messages go to standard error above it.
    Bar(ProgressBar, Pace),
    /// The dashboard, and the messages that wait until it is closed.
    Dashboard(Dashboard, Vec<String>),
}

/// The time that the steps of this session have taken, without the wait for the first.
pub struct Pace {
    /// The latest step when the time began, and when that was; nothing before the first step.
    since: Option<(u64, Instant)>,
}

impl Pace {
    /// Counts a step, and returns the time that those up to `last` will take; nothing at the first
    /// step, which is slower than the others.
    fn left(&mut self, step: u64, last: u64) -> Option<Duration> {
        let (first, start) = *self.since.get_or_insert((step, Instant::now()));
        let one = start.elapsed().checked_div(u32::try_from(step.checked_sub(first)?).ok()?)?;
        Some(one.mul_f64(last.saturating_sub(step) as f64))
    }
}

/// Spells a time to the second, the minute or a tenth of an hour.
fn spelled(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

impl Screen {
    /// Makes a progress bar for the steps of a run.
    pub fn bar(training: &Training) -> Self {
        let bar = ProgressBar::new(training.recipe.run.steps).with_position(training.progress.step);
        let style =
            ProgressStyle::with_template("{spinner} {bar:24} {percent} % {pos}/{len}  {msg}");
        let bar = bar.with_style(style.expect("the template is fixed"));
        bar.set_message("waiting for the first batch");
        bar.enable_steady_tick(Duration::from_millis(500));
        Self::Bar(bar, Pace { since: None })
    }

    /// Opens the dashboard, which takes the terminal until it is closed.
    pub fn dashboard(training: &Training) -> Self {
        Self::Dashboard(Dashboard::open(training), Vec::new())
    }

    /// Shows an event.
    pub fn show(&mut self, event: &TrainEvent<'_>) {
        match self {
            Self::Bar(bar, pace) => advance(bar, pace, event),
            Self::Dashboard(dashboard, _) => dashboard.show(event),
        }
        if let Some(line) = line(event) {
            self.say(line);
        }
    }

    /// Prints a message, now or when the terminal is free again.
    pub fn say(&mut self, line: String) {
        match self {
            Self::Bar(bar, _) => bar.suspend(|| tell!("{line}")),
            Self::Dashboard(_, lines) => lines.push(line),
        }
    }

    /// Returns whether a key has stopped the run.
    pub fn asks_to_stop(&self) -> bool {
        match self {
            Self::Bar(..) => false,
            Self::Dashboard(dashboard, _) => dashboard.asks_to_stop(),
        }
    }

    /// Gives the terminal back, and prints the messages that waited.
    pub fn close(self) {
        match self {
            Self::Bar(bar, _) => bar.finish_and_clear(),
            Self::Dashboard(dashboard, lines) => {
                dashboard.close();
                lines.iter().for_each(|line| tell!("{line}"));
            }
        }
    }
}

/// Moves the bar by a step. Without a terminal, prints a line for the first step and for each
/// fortieth of the run.
fn advance(bar: &ProgressBar, pace: &mut Pace, event: &TrainEvent<'_>) {
    let (report, speed) = match event {
        TrainEvent::FirstBatch(_) => return bar.set_message("computing the first step"),
        TrainEvent::Step { report, speed, .. } => (report, speed),
        _ => return,
    };
    let last = bar.length().unwrap_or(0);
    let is_first = pace.since.is_none();
    let left = pace.left(report.step, last);
    let left = left.map_or(String::new(), |left| format!("{} left  ", spelled(left)));
    let term = |name: &str, loss: Option<f64>| {
        loss.map_or(String::new(), |loss| format!(" {name} {loss:.3}"))
    };
    bar.set_message(format!(
        "{left}loss {:.3}{}{}  {:.0} tokens/s {:.0} images/s",
        report.loss,
        term("text", report.losses.get("text")),
        term("image", report.losses.get("image")),
        speed.tokens_per_second,
        speed.images_per_second
    ));
    bar.set_position(report.step);
    let every = (last / 40).max(1);
    if bar.is_hidden() && (is_first || report.step.is_multiple_of(every)) {
        let percent = 100 * report.step / last.max(1);
        tell!("step {} of {last} ({percent} %)  {}", report.step, bar.message());
    }
}

/// Returns the message of an event; a step has none.
fn line(event: &TrainEvent<'_>) -> Option<String> {
    Some(match event {
        TrainEvent::FirstBatch(after) => {
            let seconds = after.as_secs_f64();
            format!("the first batch is ready after {seconds:.1} s; computing the first step ...")
        }
        TrainEvent::Samples(path) => format!("samples: {}", path.display()),
        TrainEvent::Measured(found, better) => {
            let lowest = if *better { ", the lowest so far" } else { "" };
            format!("held out: {}{lowest}", measured(found))
        }
        TrainEvent::RolledBack(done) => done.event.clone(),
        TrainEvent::Saved(path) => format!("checkpoint: {}", path.display()),
        _ => return None,
    })
}

/// Writes the losses that were measured.
fn measured(found: &Validation) -> String {
    let own = found.own.iter().map(|(name, value)| (*name, Some(*value)));
    let terms = [("text", found.losses.text), ("image", found.losses.image)].into_iter();
    let terms = terms
        .chain(own)
        .chain([("loss", Some(found.loss))])
        .filter_map(|(name, loss)| Some(format!("{name} {:.4}", loss?)));
    terms.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_steps_left_at_the_pace_of_this_session() {
        let ago = |seconds| Instant::now() - Duration::from_secs(seconds);
        let mut pace = Pace { since: Some((100, ago(50))) };
        let left = pace.left(110, 130).unwrap().as_secs_f64(); // 5 s a step, 20 steps
        assert!((100.0..101.0).contains(&left), "{left}");
        assert_eq!(Pace { since: None }.left(7, 130), None);
    }

    #[test]
    fn a_time_is_as_exact_as_it_is_short() {
        let of = |seconds| spelled(Duration::from_secs(seconds));
        assert_eq!([59, 119, 121, 7199].map(of), ["59 s", "119 s", "3 min", "120 min"]);
        assert_eq!(of(9000), "2.5 h");
    }
}
