//! `mm plan`: what a recipe costs, before it is run.

use std::time::Instant;

use mm_train::batch::Batches;
use mm_train::{Plan, Recipe, Training, can_plan, plan, with_batches};
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

/// Runs the command.
pub fn run(args: &PlanArgs) -> Result<(), Failure> {
    let before = memory_mib("VmRSS:");
    if !(args.flops.is_finite() && args.flops > 0.0) || args.devices == 0 {
        return Err(usage!("`--flops` must be above 0 and `--devices` at least 1"));
    }
    let recipe = recipes::find(&args.recipe)?;
    let recipe = recipes::with_settings(recipe, &args.set)?;
    if recipe.run.batch < args.devices {
        let (batch, devices) = (recipe.run.batch, args.devices);
        return Err(usage!("`--devices {devices}` cannot share a batch of {batch} documents"));
    }
    can_plan(&recipe)?;
    // Measured first: the steps would take again what making the plan has freed.
    let measured = match args.measure {
        true => Some(measure(&recipe, args, before)?),
        false => None,
    };
    let plan = plan(&recipe, args.devices)?;
    if args.json {
        let whole = serde_json::json!({ "plan": plan, "measured": measured });
        say!("{whole}");
        return Ok(());
    }
    show(&plan, &recipe, args);
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
    let step = plan.flops / (args.flops * args.devices as f64);
    let run = step * recipe.run.steps as f64;
    say!("at {:.2e} FLOP/s on each of {} devices:", args.flops, args.devices);
    say!("  {} a step, {} for {} steps", time(step), time(run), recipe.run.steps);
    say!("  {:.0} tokens and {:.0} images a second", load.tokens / step, load.images / step);
    if args.devices > 1 {
        say!("  {} sent by each device in a step for gradients", bytes(plan.sent));
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
