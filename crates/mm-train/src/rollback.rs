//! Back to the last good checkpoint, once in a run; and what makes a checkpoint no good one.

use mm_model::parameters::weights_of;
use serde::Serialize;

use crate::TrainError;
use crate::metrics::MetricsLog;
use crate::state::RunFolder;
use crate::step::Training;

/// What a roll-back did; a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RolledBack {
    /// The step of the checkpoint: where the run goes on.
    pub step: u64,
    /// In words.
    pub event: String,
    /// The step at which it was given up.
    pub given_up_at: u64,
    /// What the recipe's rate is multiplied by from here on.
    pub rate_factor: f64,
}

/// An error if a weight is not finite: nothing is written of such weights.
pub(crate) fn check_finite(training: &Training) -> Result<(), TrainError> {
    let weights = weights_of(&training.model);
    let broken = weights.iter().find(|(_, weight)| !weight.values.iter().all(|v| v.is_finite()));
    let Some((name, _)) = broken else { return Ok(()) };
    let (step, skipped) = (training.progress.step, training.progress.skipped_in_a_row);
    Err(TrainError::Diverged { step, changed: step.saturating_sub(skipped), name: name.clone() })
}

/// Answers an error of a run: if it says that steps keep failing or that the weights are lost, and the run was not rolled back
/// before, takes up the newest checkpoint with a smaller rate; otherwise the error stays.
pub fn roll_back(
    training: &mut Training,
    folder: &RunFolder,
    why: TrainError,
) -> Result<RolledBack, TrainError> {
    let failing = matches!(
        why,
        TrainError::NotFinite { .. } | TrainError::Spikes { .. } | TrainError::Diverged { .. }
    );
    if !failing || training.progress.watch.rolled_back() {
        return Err(why);
    }
    let found = folder.take_up(&training.recipe, &training.data, &training.device);
    let Ok((mut good, _)) = found else { return Err(why) };
    good.progress.watch.roll_back();
    good.progress.milliseconds = training.progress.milliseconds;
    let (step, rate_factor) = (good.progress.step, good.progress.watch.rate());
    let done = RolledBack {
        step,
        event: format!("rolled back to step {step} with {rate_factor} of the rate: {why}"),
        given_up_at: training.progress.step,
        rate_factor,
    };
    good.ranks = training.ranks.clone();
    if good.ranks.writes() {
        MetricsLog::open(&folder.metrics(), step)?.write(&done)?;
    }
    *training = good;
    Ok(done)
}
