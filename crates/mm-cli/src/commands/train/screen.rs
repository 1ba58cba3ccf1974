//! What a run looks like while it goes on: a bar with lines above it, or the dashboard, whose lines wait until it is gone.

use indicatif::{ProgressBar, ProgressStyle};
use mm_train::{Happening, Training, Validation};

use super::dashboard::Dashboard;
use crate::report::tell;

/// Where a run is shown.
pub enum Screen {
    /// A progress bar; lines go to standard error above it.
    Bar(ProgressBar),
    /// The whole terminal, and the lines that would have disturbed it.
    Dashboard(Dashboard, Vec<String>),
}

impl Screen {
    /// A bar for the steps of a run.
    pub fn bar(training: &Training) -> Self {
        let bar = ProgressBar::new(training.recipe.run.steps).with_position(training.progress.step);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {eta_precise} left  {msg}");
        Self::Bar(bar.with_style(style.expect("the template is fixed")))
    }

    /// The dashboard; takes the terminal until it is closed.
    pub fn dashboard(training: &Training) -> Self {
        Self::Dashboard(Dashboard::open(training), Vec::new())
    }

    /// Shows what happened.
    pub fn show(&mut self, happening: &Happening<'_>) {
        match self {
            Self::Bar(bar) => advance(bar, happening),
            Self::Dashboard(dashboard, _) => dashboard.show(happening),
        }
        if let Some(line) = line(happening) {
            self.say(line);
        }
    }

    /// Says a line, now or when the terminal is free again.
    pub fn say(&mut self, line: String) {
        match self {
            Self::Bar(bar) => bar.suspend(|| tell!("{line}")),
            Self::Dashboard(_, lines) => lines.push(line),
        }
    }

    /// Whether the run was ended by a key.
    pub fn asks_to_stop(&self) -> bool {
        match self {
            Self::Bar(_) => false,
            Self::Dashboard(dashboard, _) => dashboard.asks_to_stop(),
        }
    }

    /// Gives the terminal back and says what was kept.
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

/// Moves the bar by a step; where there is no terminal, a fortieth of the run is a line.
fn advance(bar: &ProgressBar, happening: &Happening<'_>) {
    let Happening::Step { report, speed, .. } = happening else { return };
    let term = |name: &str, loss: Option<f64>| {
        loss.map_or(String::new(), |loss| format!(" {name} {loss:.3}"))
    };
    bar.set_message(format!(
        "loss {:.3}{}{}  {:.0} tokens/s {:.0} images/s",
        report.loss,
        term("text", report.text),
        term("image", report.image),
        speed.tokens_per_second,
        speed.images_per_second
    ));
    bar.set_position(report.step);
    let every = (bar.length().unwrap_or(0) / 40).max(1);
    if bar.is_hidden() && report.step.is_multiple_of(every) {
        tell!("step {} {}", report.step, bar.message());
    }
}

/// What is said of a happening; a step says nothing.
fn line(happening: &Happening<'_>) -> Option<String> {
    Some(match happening {
        Happening::Step { .. } => return None,
        Happening::Samples(path) => format!("samples: {}", path.display()),
        Happening::Measured(found, better) => {
            let lowest = if *better { ", the lowest so far" } else { "" };
            format!("held out: {}{lowest}", measured(found))
        }
        Happening::RolledBack(done) => done.event.clone(),
        Happening::Saved(path) => format!("saved: {}", path.display()),
    })
}

/// The terms that were measured, and the loss.
fn measured(found: &Validation) -> String {
    let terms =
        [("text", found.terms.text), ("image", found.terms.image), ("loss", Some(found.loss))];
    let words = |(name, number): (&str, Option<f64>)| Some(format!("{name} {:.4}", number?));
    terms.into_iter().filter_map(words).collect::<Vec<_>>().join(" ")
}
