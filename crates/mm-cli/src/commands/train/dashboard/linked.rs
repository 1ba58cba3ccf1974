//! The dashboard with the events of our own training loop: numbers are plots over the steps, and
//! everything else is counted.
//!
//! Burn counts epochs and items. Here a session is one epoch and its steps are the items, so that
//! the remaining time is that of the remaining steps, also in a run that was resumed.

use std::io::{IsTerminal, stderr, stdout};
use std::ops::Range;
use std::sync::Arc;

use burn_train::Interrupter;
use burn_train::metric::{
    MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{MetricState, MetricsRenderer};
use mm_train::{TrainEvent, Training};

use crate::terminal::{Failure, usage};

const LOSS: &str = "Loss";
const TEXT: &str = "Text loss";
const IMAGE: &str = "Image loss";
const GRADIENT: &str = "Gradient norm";
const RATE: &str = "Learning rate";
const TOKENS: &str = "Tokens/s";
const IMAGES: &str = "Images/s";

/// Fails where the dashboard could not be drawn, or would be mixed with other output.
pub fn check() -> Result<(), Failure> {
    let streams =
        [("standard output", stdout().is_terminal()), ("standard error", stderr().is_terminal())];
    match streams.into_iter().find(|(_, is_terminal)| !is_terminal) {
        None => Ok(()),
        Some((name, _)) => Err(usage!("`--tui` draws on a terminal, and {name} is none")
            .hint("without it, the same numbers are in `metrics.jsonl` of the run folder")),
    }
}

/// The dashboard of a run, which fills the terminal.
pub struct Dashboard {
    renderer: Box<dyn MetricsRenderer>,
    /// The flag that the stop key sets.
    stop: Interrupter,
    /// The plots, in their order.
    plots: Vec<&'static str>,
    /// The steps before this session.
    before: u64,
    /// The steps of this session that were shown. A rollback does not lower this number, since
    /// Burn's estimate of the remaining time cannot go back.
    shown: u64,
}

impl Dashboard {
    /// Opens the dashboard, which takes the terminal.
    pub fn open(training: &Training) -> Self {
        let stop = Interrupter::new();
        let renderer = Box::new(TuiMetricsRendererWrapper::new(stop.clone(), None));
        let mut plots = vec![LOSS, TEXT, IMAGE, GRADIENT, RATE, TOKENS, IMAGES];
        plots.retain(|plot| *plot != TEXT || training.recipe.vocab > 0);
        Self::over(renderer, stop, plots, training.progress.step..training.recipe.run.steps)
    }

    /// Makes a dashboard with any renderer, for the steps after `steps.start`.
    fn over(
        mut renderer: Box<dyn MetricsRenderer>,
        stop: Interrupter,
        plots: Vec<&'static str>,
        steps: Range<u64>,
    ) -> Self {
        for plot in &plots {
            renderer.register_metric(MetricDefinition {
                metric_id: id(plot),
                name: Arc::new((*plot).to_owned()),
                description: None,
                attributes: NumericAttributes { unit: None, higher_is_better: false }.into(),
            });
        }
        let label = format!("steps {} to {}", steps.start + 1, steps.end);
        let items = steps.end.saturating_sub(steps.start) as usize;
        renderer.start(1, 1, Some(items), Some(&label));
        renderer.start_split("train", items);
        Self { renderer, stop, plots, before: steps.start, shown: 0 }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &TrainEvent<'_>) {
        match event {
            TrainEvent::Step { report, speed, .. } => {
                let numbers = [
                    (LOSS, Some(report.loss)),
                    (TEXT, report.losses.get("text")),
                    (IMAGE, report.losses.get("image")),
                    (GRADIENT, Some(report.gradient)),
                    (RATE, Some(report.lr)),
                    (TOKENS, Some(speed.tokens_per_second)),
                    (IMAGES, Some(speed.images_per_second)),
                ];
                for state in self.states(&numbers) {
                    self.renderer.update_train(state);
                }
                if report.skipped {
                    self.count("Skipped");
                }
                self.shown = self.shown.max(report.step.saturating_sub(self.before));
                self.renderer.update_split(self.shown as usize);
            }
            TrainEvent::Measured(found, _) => {
                let numbers = [
                    (LOSS, Some(found.loss)),
                    (TEXT, found.losses.text),
                    (IMAGE, found.losses.image),
                ];
                for state in self.states(&numbers) {
                    self.renderer.update_valid(state);
                }
            }
            TrainEvent::Samples(_) => self.count("Samples"),
            TrainEvent::Saved(_) => self.count("Checkpoints"),
            TrainEvent::RolledBack(_) => self.count("Rollbacks"),
            _ => {}
        }
    }

    /// Returns whether the stop key was pressed.
    pub fn asks_to_stop(&self) -> bool {
        self.stop.should_stop()
    }

    /// Gives the terminal back.
    pub fn close(mut self) {
        self.renderer.end_split();
        self.renderer.end();
    }

    fn count(&mut self, event: &str) {
        self.renderer.log_event_training(event.to_owned());
    }

    /// Returns the numbers that exist and have a plot, in the form that Burn takes.
    fn states(&self, numbers: &[(&'static str, Option<f64>)]) -> Vec<MetricState> {
        let numbers = numbers.iter().filter(|(plot, _)| self.plots.contains(plot));
        numbers.filter_map(|(plot, number)| Some(state(plot, (*number)?))).collect()
    }
}

fn id(plot: &str) -> MetricId {
    MetricId::new(Arc::new(plot.to_owned()))
}

/// Makes a point of a plot. A number that is not finite is written, but not plotted.
fn state(plot: &str, number: f64) -> MetricState {
    let entry = SerializedEntry::new(written(number), number.to_string());
    let entry = MetricEntry::new(id(plot), entry);
    if number.is_finite() {
        MetricState::Numeric(entry, Some(NumericEntry::Value(number)))
    } else {
        MetricState::Generic(entry)
    }
}

/// Writes a number in about four digits.
fn written(number: f64) -> String {
    let size = number.abs();
    if size >= 1e3 {
        format!("{number:.0}")
    } else if size >= 1e-2 || size == 0.0 {
        format!("{number:.4}")
    } else {
        format!("{number:.3e}")
    }
}

#[cfg(test)]
mod tests;
