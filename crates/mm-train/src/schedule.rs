//! What is due after a step, as data: the [loop](crate::train()) does it.

use crate::recipe::RunConfig;

pub use crate::recipe::LOG_EVERY;

/// When a run logs, measures, samples and saves.
///
/// ```
/// use mm_train::{Recipe, Schedule};
///
/// let recipe = Recipe::from_toml(include_str!("../../mm-cli/recipes/glyphs.toml")).unwrap();
/// let due = Schedule::of(&recipe.run).due(recipe.run.steps);
/// assert!(due.log && due.sample);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The number of steps of the run.
    pub steps: u64,
    /// The number of steps between two measurements on held-out documents; 0 for none.
    pub evaluate_every: u64,
    /// The number of steps between two grids of samples.
    pub sample_every: u64,
    /// The number of steps between two checkpoints.
    pub checkpoint_every: u64,
}

/// What is due after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions {
    /// Whether the step is a line of `metrics.jsonl`; a skipped step always is.
    pub log: bool,
    /// Whether the averaged weights are measured on held-out documents.
    pub evaluate: bool,
    /// Whether a grid of samples is drawn.
    pub sample: bool,
    /// Whether a checkpoint is written; the end of a run always writes one.
    pub checkpoint: bool,
}

impl Schedule {
    /// Returns the schedule of the table `[run]`.
    pub fn of(run: &RunConfig) -> Self {
        Self {
            steps: run.steps,
            evaluate_every: run.validate_every,
            sample_every: run.sample_every,
            checkpoint_every: run.checkpoint_every,
        }
    }

    /// Says what is due after `step`, counted from 1.
    pub fn due(&self, step: u64) -> Actions {
        let last = step == self.steps;
        Actions {
            log: step.is_multiple_of(LOG_EVERY) || last,
            evaluate: self.evaluate_every > 0 && (step.is_multiple_of(self.evaluate_every) || last),
            sample: step.is_multiple_of(self.sample_every) || last,
            checkpoint: step.is_multiple_of(self.checkpoint_every),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_has_its_rhythm_and_the_last_step_is_logged_measured_and_sampled() {
        let schedule =
            Schedule { steps: 25, evaluate_every: 6, sample_every: 8, checkpoint_every: 12 };
        let none = Actions::default();
        assert_eq!(schedule.due(1), none);
        assert_eq!(schedule.due(10), Actions { log: true, ..none });
        assert_eq!(schedule.due(8), Actions { sample: true, ..none });
        assert_eq!(schedule.due(12), Actions { evaluate: true, checkpoint: true, ..none });
        let last = Actions { log: true, evaluate: true, sample: true, checkpoint: false };
        assert_eq!(schedule.due(25), last);
        let unmeasured = Schedule { evaluate_every: 0, ..schedule };
        assert_eq!(unmeasured.due(25), Actions { evaluate: false, ..last });
    }
}
