//! The return to the newest checkpoint, once in a run, and the check that keeps checkpoints good.

use mm_model::parameters::weights_of;
use serde::Serialize;

use crate::TrainError;
use crate::checkpoint::RunFolder;
use crate::metrics::MetricsLog;
use crate::setup::first_broken;
use crate::training::Training;

/// What a rollback did: a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RolledBack {
    /// The step of the checkpoint from which the run goes on.
    pub step: u64,
    /// The description in words.
    pub event: String,
    /// The step at which the run was given up.
    pub given_up_at: u64,
    /// The factor of the recipe's learning rate from here on.
    pub lr_factor: f64,
}

/// Fails if a weight is not finite: nothing is written of such weights.
pub(crate) fn check_finite(training: &Training) -> Result<(), TrainError> {
    let Some(name) = first_broken(&weights_of(&training.model)) else { return Ok(()) };
    let (step, skipped) = (training.progress.step, training.progress.skipped_in_a_row);
    Err(TrainError::Diverged { step, changed: step.saturating_sub(skipped), name })
}

/// Answers an error of a run. If it says that steps keep failing or that the weights are lost, and
/// the run was not rolled back before, the run continues from the newest checkpoint with a smaller
/// learning rate; otherwise the error stays.
pub(crate) fn roll_back(
    training: &mut Training,
    folder: &RunFolder,
    why: TrainError,
) -> Result<RolledBack, TrainError> {
    let failing = matches!(
        why,
        TrainError::NotFinite { .. } | TrainError::Spikes { .. } | TrainError::Diverged { .. }
    );
    if !failing || training.progress.rolled_back {
        return Err(why);
    }
    let found = folder.resume_with(&training.recipe, &training.data, &training.device);
    let Ok((mut good, _)) = found else { return Err(why) };
    good.progress.roll_back();
    good.progress.milliseconds = training.progress.milliseconds;
    let (step, lr_factor) = (good.progress.step, good.progress.lr_factor);
    let done = RolledBack {
        step,
        event: format!("rolled back to step {step} with {lr_factor} of the learning rate: {why}"),
        given_up_at: training.progress.step,
        lr_factor,
    };
    good.ranks = training.ranks.clone();
    good.objective = training.objective.clone();
    if good.ranks.writes() {
        MetricsLog::open(&folder.metrics(), step)?.write(&done)?;
    }
    *training = good;
    Ok(done)
}
