//! What to do about the errors of a run.

use mm_data::DataError;
use mm_eval::EvalError;
use mm_train::TrainError;

use crate::terminal::{Failure, quoted};

/// Makes the failure of an error, with a hint.
pub fn explain(error: TrainError) -> Failure {
    let hint = hint(&error);
    let failure = match &error {
        TrainError::Recipe(_)
        | TrainError::RecipeFile { .. }
        | TrainError::RunExists { .. }
        | TrainError::BrokenStart { .. }
        | TrainError::Changed { .. }
        | TrainError::Misfit { .. }
        | TrainError::NoMpi { .. }
        | TrainError::MpiSize { .. }
        | TrainError::MpiTwice => Failure::usage(error),
        _ => Failure::failed(error),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Says what to do about an error.
fn hint(error: &TrainError) -> Option<String> {
    Some(match error {
        TrainError::RunExists { path, what: "a run" } => format!(
            "`mm train --out {} --resume` continues this run; or choose another `--out`",
            quoted(path)
        ),
        TrainError::RunExists { .. } => "choose another `--out`".to_owned(),
        TrainError::NoCheckpoint { path } => format!(
            "to train on from that model, `mm train {} --init {} --out NEW`",
            quoted(&path.join("recipe.toml")),
            quoted(&path.join("model"))
        ),
        TrainError::Busy { .. } => {
            "wait until it has ended, or stop it with Ctrl-C or SIGTERM, which save a checkpoint first; \
             or choose another `--out`"
                .to_owned()
        }
        TrainError::NotFinite { .. } | TrainError::Spikes { .. } | TrainError::Diverged { .. } => {
            "a smaller `optimizer.lr` usually helps; earlier checkpoints are kept".to_owned()
        }
        TrainError::DeviceLost { .. } => {
            "see the system's log for the driver's reason; `--resume` continues from the newest \
             checkpoint"
                .to_owned()
        }
        TrainError::NoMpi { .. } => {
            "build it with `cargo build --release -p mm-cli --features mpi`".to_owned()
        }
        TrainError::MpiSize { .. } => {
            "srun needs `--mpi=pmix` or `--mpi=pmi2`: see `srun --mpi=list`".to_owned()
        }
        TrainError::Misfit { .. } => {
            "the `recipe.toml` of the model folder fits the model: change its data and optimizer, and \
             keep its `model` and `image`"
                .to_owned()
        }
        TrainError::Changed { .. } => {
            "set it back to continue this run. Another network, vocabulary or optimizer needs a new \
             run, which can start from the weights of this one with `--init RUN/model` if the \
             network is the same"
                .to_owned()
        }
        TrainError::Precision { .. } => {
            "`mm devices` lists the types of every device; all calculate in f32, which is the default \
             of `run.precision`"
                .to_owned()
        }
        TrainError::Data(DataError::TooManyBad { .. })
        | TrainError::Eval(EvalError::Data(DataError::TooManyBad { .. })) => {
            "`mm data check` names the bad records: repair or remove them, or allow more, with \
             `--max-bad` for a new run, or with `max_bad` in `RUN/recipe.toml` for this one, which \
             `mm train --out RUN --resume` then continues"
                .to_owned()
        }
        TrainError::RanksDiffer { what, .. } if what.contains("data") || what.contains("records") => {
            "every host must have the same files at the paths of the recipe".to_owned()
        }
        TrainError::Memory { batch, .. } => format!(
            "lower `run.batch`, as in `--set run.batch={}`, or the size of `image` or \
             `model.backbone`; earlier checkpoints are kept",
            (batch / 2).max(1)
        ),
        TrainError::NoRoom { batch, .. } => format!(
            "lower `run.batch`, as in `--set run.batch={}`, compute it in several turns, as in `--set \
             run.grad_accum_steps=4`, or lower the size of `image` or `model.backbone`; `mm plan` shows \
             what needs how much memory",
            (batch / 2).max(1)
        ),
        _ => return None,
    })
}
