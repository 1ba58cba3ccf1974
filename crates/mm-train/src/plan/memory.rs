//! What happens when a device has no memory for a step.
//!
//! Burn's tensors answer a failed allocation with a panic, at the first number that is read after
//! it. A step is wrapped here, so that this panic, and no other, becomes an error; what the run has
//! written so far stays as it is.
//!
//! On the processor no allocation fails: the system gives more memory than it has, and ends the
//! process that uses it. So the memory that a run will take is compared with what there is before.

mod available;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use burn::prelude::Device;
use mm_model::ModelConfig;

use crate::TrainError;
use crate::recipe::{Recipe, RunConfig};
use crate::training::Training;
use available::available_bytes;

/// Refuses a run of so many ranks whose steps would take more memory than the machine has, by the
/// [plan](fn@crate::plan) of its recipe. This is only done on the processor, where the system
/// tells, and not for a network that only draws or a codec, which have no plan.
pub fn check(training: &Training, ranks: usize) -> Result<(), TrainError> {
    let recipe = &training.recipe;
    let done = training.progress.step >= recipe.run.steps;
    if done
        || recipe.model.network.unified().is_none()
        || !mm_kernels::has_fused_blocks(&training.device)
    {
        return Ok(());
    }
    let Some(free) = available_bytes() else { return Ok(()) };
    let Some(needed) = planned(training, recipe, ranks) else { return Ok(()) };
    compare(&recipe.run, "a step takes", needed, free).map_err(|why| {
        let fits = fitting(recipe, free, &|recipe| planned(training, recipe, ranks));
        with_fit(why, fits)
    })
}

/// Returns the bytes that a step of a recipe takes, where the plan knows. What is wrong with the
/// data is told by the step that meets it.
fn planned(training: &Training, recipe: &Recipe, ranks: usize) -> Option<f64> {
    let Training { data, tokenizer, progress, device, .. } = training;
    recipe.model.network.unified()?;
    let costs = super::quick_costs(recipe, data, tokenizer, progress.step).ok()?;
    Some(costs.for_device(device).on(ranks).bytes.total())
}

/// Names the settings with which a step would fit `free` bytes, and the bytes that it takes then,
/// as the end of a message: more turns, if need be with blocks computed again, or else a smaller
/// batch. It is empty where nothing fits. The first two change no result.
fn fitting(recipe: &Recipe, free: f64, planned: &dyn Fn(&Recipe) -> Option<f64>) -> String {
    let RunConfig { batch, micro_batches, grad_accum_steps, .. } = recipe.run;
    let most_turns = batch / micro_batches.max(1);
    let doubled = |from: usize, most: usize| {
        std::iter::successors(Some(from * 2), |turns| Some(turns * 2))
            .take_while(move |turns| *turns <= most)
    };
    let again = "activation_checkpointing";
    let mut ways: Vec<Vec<(&str, String)>> = vec![];
    for turns in doubled(grad_accum_steps, most_turns) {
        ways.push(vec![("grad_accum_steps", turns.to_string())]);
    }
    if !recipe.run.activation_checkpointing {
        ways.push(vec![(again, "true".to_owned())]);
        for turns in doubled(grad_accum_steps, most_turns) {
            let turns = ("grad_accum_steps", turns.to_string());
            ways.push(vec![(again, "true".to_owned()), turns]);
        }
    }
    for parts in doubled(1, batch) {
        let fewer = micro_batches.min(batch / parts).to_string();
        let batch = ("batch", (batch / parts).to_string());
        ways.push(vec![batch, ("micro_batches", fewer)]);
    }
    let told = |way: &Vec<(&str, String)>| {
        let change = |recipe: Recipe, (name, value): &(&str, String)| {
            recipe.with(&format!("run.{name}"), value).ok()
        };
        let changed = way.iter().try_fold(recipe.clone(), change)?;
        let bytes = planned(&changed).filter(|bytes| *bytes <= free)?;
        let names: Vec<String> =
            way.iter().map(|(name, value)| format!("`run.{name}` = {value}")).collect();
        Some(format!("; with {} it takes about {:.1} GB", names.join(" and "), bytes / 1e9))
    };
    ways.iter().find_map(told).unwrap_or_default()
}

/// Adds the settings that fit to an error for want of memory.
fn with_fit(why: TrainError, found: String) -> TrainError {
    match why {
        TrainError::NoRoom { what, needed, free, batch, micro_batches, .. } => {
            TrainError::NoRoom { what, needed, free, batch, micro_batches, fits: found }
        }
        TrainError::Memory { step, wanted, batch, micro_batches, .. } => {
            TrainError::Memory { step, wanted, batch, micro_batches, fits: found }
        }
        other => other,
    }
}

/// Adds the settings with which a step would have fitted to an error of a device without memory.
/// What it held when no more was to be had is what there is, at least.
pub(crate) fn advised(training: &Training, why: TrainError) -> TrainError {
    if !matches!(why, TrainError::Memory { .. }) {
        return why;
    }
    let held = || training.device.memory_pool_usage().map(|usage| usage.bytes_reserved as f64);
    let Ok(Some(held)) = catch_unwind(AssertUnwindSafe(held)) else { return why };
    let ranks = training.ranks.count;
    let fits = fitting(&training.recipe, held, &|recipe| planned(training, recipe, ranks));
    with_fit(why, fits)
}

/// Refuses a run whose weights and averages alone would take more memory than the machine has,
/// before there are any.
pub(crate) fn check_weights(
    recipe: &Recipe,
    config: &ModelConfig,
    device: &Device,
) -> Result<(), TrainError> {
    if !mm_kernels::has_fused_blocks(device) {
        return Ok(());
    }
    let Some(free) = available_bytes() else { return Ok(()) };
    let copies = (2 + recipe.optimizer.emas.len()) as f64;
    let needed = 4.0 * copies * config.parameters() as f64;
    compare(&recipe.run, "the weights and their averages take", needed, free)
}

/// Fails if more bytes are needed than are free.
fn compare(run: &RunConfig, what: &'static str, needed: f64, free: f64) -> Result<(), TrainError> {
    if needed <= free {
        return Ok(());
    }
    let (needed, free) = (needed / 1e9, free / 1e9);
    let RunConfig { batch, micro_batches, .. } = *run;
    Err(TrainError::NoRoom { what, needed, free, batch, micro_batches, fits: String::new() })
}

/// Does the work of one step of a run; a panic for want of memory becomes an error that says what
/// to lower, and one for a lost device an error that says so.
pub fn within_memory<T>(
    run: &RunConfig,
    step: u64,
    work: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    // The state behind the panic is not used again: the run ends with this error.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let words = message(&*payload);
        let lost = words.as_deref().and_then(|words| sign_in(words, &LOST));
        if let Some(words) = lost {
            return Err(TrainError::DeviceLost { step: step + 1, words: words.to_owned() });
        }
        match words.as_deref().and_then(what_was_wanted) {
            Some(wanted) => Err(TrainError::Memory {
                step: step + 1,
                wanted: wanted.to_owned(),
                batch: run.batch,
                micro_batches: run.micro_batches,
                fits: String::new(),
            }),
            None => resume_unwind(payload),
        }
    })
}

/// Says whether a panic with this payload means that a device has no memory left.
pub fn is_out_of_memory(payload: &(dyn std::any::Any + Send)) -> bool {
    message(payload).as_deref().is_some_and(|words| what_was_wanted(words).is_some())
}

/// Returns the words of a panic.
fn message(payload: &(dyn std::any::Any + Send)) -> Option<String> {
    let text = payload.downcast_ref::<&str>().map(|words| (*words).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
}

/// Returns the part of the words of a panic that names the failed allocation, if they speak of one.
fn what_was_wanted(words: &str) -> Option<&str> {
    const SIGNS: [&str; 8] = [
        "BufferTooBig",
        "OutOfMemory",
        "PageSizesExhausted",
        "can't allocate",
        "Can't allocate",
        "out of device memory",
        "out of memory",
        "Not enough memory left",
    ];
    sign_in(words, &SIGNS)
}

/// Holds what drivers say of a device that is gone.
const LOST: [&str; 7] = [
    "DeviceLost",
    "Device lost",
    "device lost",
    "device is lost",
    "Parent device is lost",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
];

/// Returns the words from the first of some signs to the end of the phrase.
fn sign_in<'a>(words: &'a str, signs: &[&str]) -> Option<&'a str> {
    let at = signs.iter().filter_map(|sign| words.find(sign)).min()?;
    let rest = &words[at..];
    let end = rest.find(['\n', '}', ',']).unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches([' ', '{']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_words(words: &str, wanted: Option<&str>) {
        assert_eq!(what_was_wanted(words), wanted, "{words}");
    }

    #[test]
    fn a_failed_allocation_is_told_from_every_other_panic() {
        check_words(
            "Error while reading data: use `try_into_scalar`: Execution(BufferTooBig { size: \
             8589934592, backtrace: .. })",
            Some("BufferTooBig { size: 8589934592"),
        );
        check_words(
            "out of device memory allocating 4096 bytes\n   0: std::backtrace",
            Some("out of device memory allocating 4096 bytes"),
        );
        check_words("index out of bounds: the len is 3 but the index is 7", None);
    }

    fn run() -> RunConfig {
        toml::from_str(
            "steps = 10\nbatch = 48\nmicro_batches = 2\npack_len = 0\ncheckpoint_every = 5\nkeep = 1\n\
             sample_every = 5",
        )
        .unwrap()
    }

    fn panics_with(words: &str) -> Result<(), TrainError> {
        within_memory(&run(), 6, || std::panic::panic_any(words.to_owned()))
    }

    #[test]
    fn a_run_that_needs_more_than_there_is_is_refused_with_both_numbers() {
        assert!(compare(&run(), "a step takes", 7e9, 7e9).is_ok());
        let error = compare(&run(), "a step takes", 123.44e9, 7e9).unwrap_err().to_string();
        assert_eq!(
            error,
            "a step takes about 123.4 GB of memory and 7.0 GB are free, with `run.batch` = 48 in \
             `run.micro_batches` = 2"
        );
    }

    #[test]
    fn the_first_settings_that_fit_are_named_and_those_that_change_no_result_come_first() {
        let recipe =
            Recipe::from_toml(include_str!("../../../mm-cli/recipes/glyphs.toml")).unwrap();
        // A machine of this test: weights take 1 GB, and a document of a turn 1 GB, or half of that
        // where blocks are computed again.
        let planned = |recipe: &Recipe| {
            let RunConfig { batch, grad_accum_steps, activation_checkpointing, .. } = recipe.run;
            let one = if activation_checkpointing { 0.5e9 } else { 1e9 };
            Some(1e9 + one * (batch as f64 / grad_accum_steps as f64))
        };
        let said = |free: f64| fitting(&recipe, free, &planned);
        assert_eq!(recipe.run.batch, 32);
        assert_eq!(said(20e9), "; with `run.grad_accum_steps` = 2 it takes about 17.0 GB");
        assert_eq!(said(3e9), "; with `run.grad_accum_steps` = 16 it takes about 3.0 GB");
        let wanted = "; with `run.activation_checkpointing` = true and `run.grad_accum_steps` = 16 \
                      it takes about 2.0 GB";
        assert_eq!(said(2.2e9), wanted);
        let changes = [("run.grad_accum_steps", "16"), ("run.activation_checkpointing", "true")];
        let turned = recipe.with_all(&changes).unwrap();
        let wanted = "; with `run.batch` = 16 and `run.micro_batches` = 2 it takes about 1.5 GB";
        assert_eq!(fitting(&turned, 1.6e9, &planned), wanted);
        assert_eq!(said(0.9e9), "");
    }

    #[test]
    fn the_error_names_the_batch_in_force_and_what_to_lower() {
        let error = panics_with("BufferTooBig { size: 12, x }").unwrap_err().to_string();
        assert_eq!(
            error,
            "the device has no memory for step 7, `run.batch` = 48 in `run.micro_batches` = 2 \
             (BufferTooBig { size: 12)"
        );
    }

    #[test]
    fn a_lost_device_is_told_by_the_step_and_the_words_of_the_driver() {
        let error = panics_with("Error: Device lost: the driver was reset, x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the device was lost in step 7 (Device lost: the driver was reset); earlier \
             checkpoints are kept"
        );
    }

    #[test]
    fn another_panic_goes_on_as_it_came() {
        let caught = catch_unwind(|| panics_with("index out of bounds"));
        assert_eq!(message(&*caught.unwrap_err()).unwrap(), "index out of bounds");
    }
}
