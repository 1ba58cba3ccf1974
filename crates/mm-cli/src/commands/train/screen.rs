//! A run on the terminal: a progress bar with messages above it, or the dashboard, after which the
//! messages are printed.

use indicatif::{ProgressBar, ProgressStyle};
use mm_train::{TrainEvent, Training, Validation};

use super::dashboard::Dashboard;
use crate::terminal::tell;

/// Where a run is shown.
pub enum Screen {
    /// A progress bar; messages go to standard error above it.
    Bar(ProgressBar),
    /// The dashboard, and the messages that wait until it is closed.
    Dashboard(Dashboard, Vec<String>),
}

impl Screen {
    /// Makes a progress bar for the steps of a run.
    pub fn bar(training: &Training) -> Self {
        let bar = ProgressBar::new(training.recipe.run.steps).with_position(training.progress.step);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {eta_precise} left  {msg}");
        Self::Bar(bar.with_style(style.expect("the template is fixed")))
    }

    /// Opens the dashboard, which takes the terminal until it is closed.
    pub fn dashboard(training: &Training) -> Self {
        Self::Dashboard(Dashboard::open(training), Vec::new())
    }

    /// Shows an event.
    pub fn show(&mut self, event: &TrainEvent<'_>) {
        match self {
            Self::Bar(bar) => advance(bar, event),
            Self::Dashboard(dashboard, _) => dashboard.show(event),
        }
        if let Some(line) = line(event) {
            self.say(line);
        }
    }

    /// Prints a message, now or when the terminal is free again.
    pub fn say(&mut self, line: String) {
        match self {
            Self::Bar(bar) => bar.suspend(|| tell!("{line}")),
            Self::Dashboard(_, lines) => lines.push(line),
        }
    }

    /// Returns whether a key has stopped the run.
    pub fn asks_to_stop(&self) -> bool {
        match self {
            Self::Bar(_) => false,
            Self::Dashboard(dashboard, _) => dashboard.asks_to_stop(),
        }
    }

    /// Gives the terminal back, and prints the messages that waited.
    pub fn close(self) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Dashboard(dashboard, lines) => {
                dashboard.close();
                lines.iter().for_each(|line| tell!("{line}"));
            }
        }
    }
}

/// Moves the bar by a step. Without a terminal, prints a line for each fortieth of the run.
fn advance(bar: &ProgressBar, event: &TrainEvent<'_>) {
    let TrainEvent::Step { report, speed, .. } = event else { return };
    let term = |name: &str, loss: Option<f64>| {
        loss.map_or(String::new(), |loss| format!(" {name} {loss:.3}"))
    };
    bar.set_message(format!(
        "loss {:.3}{}{}  {:.0} tokens/s {:.0} images/s",
        report.loss,
        term("text", report.losses.get("text")),
        term("image", report.losses.get("image")),
        speed.tokens_per_second,
        speed.images_per_second
    ));
    bar.set_position(report.step);
    let every = (bar.length().unwrap_or(0) / 40).max(1);
    if bar.is_hidden() && report.step.is_multiple_of(every) {
        tell!("step {} {}", report.step, bar.message());
    }
}

/// Returns the message of an event; a step has none.
fn line(event: &TrainEvent<'_>) -> Option<String> {
    Some(match event {
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
