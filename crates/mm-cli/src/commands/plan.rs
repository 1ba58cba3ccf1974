//! `mm plan`: what a recipe costs, before it is run.

use std::time::Instant;

use mm_train::batch::Batches;
use mm_train::{Costs, Plan, Recipe, TrainError, Training, can_plan, with_batches};
use serde::Serialize;

use super::bench::memory_mib;
use crate::args::PlanArgs;
use crate::report::{Failure, say, usage};
use crate::{device, recipes};

/// Steps taken to measure; the first half warms up.
const STEPS: u64 = 8;

/// What a few steps took here.
#[derive(Debug, Clone, Copy, Serialize)]
struct Measured {
    /// Highest memory of the process beyond what it held before anything was opened, where the system tells.
    peak_bytes: Option<f64>,
    seconds_per_step: f64,
}

/// How many devices a recipe needs.
#[derive(Debug, Clone, Copy, Serialize)]
struct Needed {
    /// For memory of `--memory`; nothing if no number of them has enough.
    for_memory: Option<usize>,
    /// To compute the run in `--hours`, communication not counted.
    for_time: Option<f64>,
}

/// Runs the command.
pub fn run(args: &PlanArgs) -> Result<(), Failure> {
    let before = memory_mib("VmRSS:");
    let is_positive = |number: f64| number.is_finite() && number > 0.0;
    if !is_positive(args.flops) || args.devices == 0 {
        return Err(usage!("`--flops` must be above 0 and `--devices` at least 1"));
    }
    if let Some(hours) = args.hours.filter(|hours| !is_positive(*hours)) {
        return Err(usage!("`--hours {hours}` must be above 0"));
    }
    let recipe = recipes::find(&args.recipe)?;
    let recipe = recipes::with_settings(recipe, &args.set)?;
    if recipe.run.batch < args.devices {
        let (batch, devices) = (recipe.run.batch, args.devices);
        return Err(usage!("`--devices {devices}` cannot share a batch of {batch} documents"));
    }
    can_plan(&recipe).map_err(explain)?;
    // Measured first: the steps would take again what making the plan has freed.
    let measured = match args.measure {
        true => Some(measure(&recipe, args, before)?),
        false => None,
    };
    let costs = Costs::of(&recipe).map_err(explain)?;
    let plan = costs.on(args.devices);
    let needed = Needed {
        for_memory: args.memory.and_then(|bytes| costs.devices_of(bytes)),
        for_time: args.hours.map(|hours| {
            let seconds = recipe.run.steps as f64 * plan.flops / args.flops;
            (seconds / (hours * 3600.0)).ceil()
        }),
    };
    if args.json {
        let whole = serde_json::json!({ "plan": plan, "needed": needed, "measured": measured });
        say!("{whole}");
        return Ok(());
    }
    show(&plan, &recipe, args);
    show_needed(&costs, needed, recipe.run.batch, args);
    if let Some(Measured { peak_bytes, seconds_per_step }) = measured {
        say!();
        say!(
            "measured here: {seconds_per_step:.3} s a step, {:.3e} FLOP/s",
            plan.flops / seconds_per_step
        );
        if let Some(peak) = peak_bytes {
            let share = 100.0 * plan.bytes.total() / peak;
            say!(
                "highest memory {} beyond what the program held at its start; the plan says {share:.0} % of it",
                bytes(peak)
            );
        }
    }
    Ok(())
}

/// A recipe that cannot be planned is wrong usage.
fn explain(why: TrainError) -> Failure {
    match &why {
        TrainError::Recipe(_) => Failure::usage(why),
        _ => Failure::failed(why),
    }
}

fn show(plan: &Plan, recipe: &Recipe, args: &PlanArgs) {
    let load = &plan.load;
    say!("{} parameters, {} of them or of adapters trained", plan.parameters, plan.trained);
    say!(
        "a step: {} documents, {:.0} images, {:.0} tokens and patches in {:.0} places, {:.2e} FLOP",
        recipe.run.batch,
        load.images,
        load.tokens,
        load.places,
        plan.flops
    );
    let held = &plan.bytes;
    say!("memory of each device:");
    for (name, size) in [
        ("weights, old and new", held.weights),
        ("gradients", held.gradients),
        ("optimizer", held.optimizer),
        ("averages", held.averages),
        ("activations", held.activations),
        ("backward of a block", held.work),
        ("spare work memory", held.spare),
        ("batches ahead", held.batches),
        ("freed, held back", held.freed),
        ("process and threads", held.process),
        ("together", held.total()),
    ] {
        say!("  {name:22} {:>10}", bytes(size));
    }
    say!("  {:.0} bytes of activations a place", plan.bytes_per_token);
    let precision = recipe.run.precision.name();
    if precision != "f32" {
        say!(
            "  counted in 32-bit floats: with {precision} blocks keep less, which was not measured"
        );
    }
    let step = plan.flops / (args.flops * args.devices as f64);
    let run = step * recipe.run.steps as f64;
    say!("at {:.2e} FLOP/s on each of {} devices:", args.flops, args.devices);
    say!("  {} a step, {} for {} steps", time(step), time(run), recipe.run.steps);
    say!("  {:.0} tokens and {:.0} images a second", load.tokens / step, load.images / step);
    if args.devices > 1 {
        say!("  {} sent by each device in a step for gradients", bytes(plan.sent));
    }
}

/// The answers to `--memory` and `--hours`.
fn show_needed(costs: &Costs, needed: Needed, batch: usize, args: &PlanArgs) {
    if let Some(memory) = args.memory {
        let size = bytes(memory);
        match needed.for_memory {
            None => {
                let least = bytes(costs.on(batch).bytes.total());
                say!(
                    "no number of devices of {size} holds a step: each needs {least} for one document"
                );
            }
            Some(1) => say!("one device of {size} holds a step"),
            Some(count) => {
                let share = batch as f64 / count as f64;
                say!(
                    "{count} devices of {size} are the fewest that hold a step, {share:.1} documents on each"
                );
            }
        }
    }
    if let (Some(hours), Some(count)) = (args.hours, needed.for_time) {
        let most = match count > batch as f64 {
            true => format!(", more than the {batch} documents of a step can be shared by"),
            false => String::new(),
        };
        say!(
            "{count:.0} devices compute the run in {hours} h{most}; their communication comes on top"
        );
    }
}

/// Takes steps, with batches prepared ahead as in a run, and looks at the process: memory beyond what it held `before`, time of
/// the later half.
fn measure(recipe: &Recipe, args: &PlanArgs, before: Option<f64>) -> Result<Measured, Failure> {
    let device = device::open(&args.device)?;
    let mut training = Training::start(recipe.clone(), &device)?;
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let batches = Batches::new(recipe, &data, &tokenizer);
    let seconds = with_batches(batches, 0..STEPS, |batches| -> Result<f64, Failure> {
        let mut start = Instant::now();
        for step in 0..STEPS {
            let Ok(batch) = batches.recv() else { break };
            training.step(&batch?)?;
            if step + 1 == STEPS / 2 {
                start = Instant::now();
            }
        }
        Ok(start.elapsed().as_secs_f64())
    })?;
    let seconds_per_step = seconds / (STEPS - STEPS / 2) as f64;
    let peak = memory_mib("VmHWM:").zip(before).map(|(peak, before)| (peak - before) * 1048576.0);
    Ok(Measured { peak_bytes: peak, seconds_per_step })
}

fn bytes(size: f64) -> String {
    match size {
        1e9.. => format!("{:.2} GB", size / 1e9),
        _ => format!("{:.1} MB", size / 1e6),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        172_800.0.. => format!("{:.1} days", seconds / 86_400.0),
        7_200.0.. => format!("{:.1} h", seconds / 3600.0),
        120.0.. => format!("{:.1} min", seconds / 60.0),
        1.0.. => format!("{seconds:.1} s"),
        _ => format!("{:.1} ms", seconds * 1e3),
    }
}
