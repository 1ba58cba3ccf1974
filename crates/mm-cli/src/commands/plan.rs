//! `mm plan`: the memory, the arithmetic and the time that a recipe needs.

use std::time::Instant;

use clap::Parser;
use mm_train::batch::Batches;
use mm_train::{
    CodecPlan, Costs, Plan, Product, Recipe, TrainError, Training, can_plan, with_batches,
};
use serde::Serialize;

use crate::device::DeviceArg;
use crate::files::at_least_one;
use crate::terminal::{Failure, say, usage};
use crate::{host, recipes};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm plan glyphs
  mm plan codec-fsq
  mm plan big.toml --flops 3e14 --devices 8
  mm plan big.toml --flops 3e14 --memory 80GB --hours 24
  mm plan glyphs --set run.activation_checkpointing=true --measure")]
pub struct PlanArgs {
    /// Name of a recipe, or a TOML file.
    recipe: String,
    /// Arithmetic that one device computes in a second, in FLOP/s [default: measured on --device by
    /// products of the model's sizes, in less than a second].
    #[arg(long, value_name = "F")]
    flops: Option<f64>,
    /// Number of devices that share every batch.
    #[arg(long, value_name = "N", default_value_t = 1)]
    devices: usize,
    /// Memory of one device, such as 80GB; prints how many devices hold a step.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory: Option<f64>,
    /// Hours that the whole run may take; prints how many devices compute it.
    #[arg(long, value_name = "H")]
    hours: Option<f64>,
    /// Replace one value of the recipe, such as model.backbone.depth=8; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run a few steps on this machine, and compare their memory and time with the plan.
    #[arg(long)]
    measure: bool,
    #[command(flatten)]
    device: DeviceArg,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The number of steps that are measured; the first half warms up.
const STEPS: u64 = 8;

/// The measurement of a few steps on this machine.
#[derive(Debug, Clone, Copy, Serialize)]
struct Measured {
    /// The highest memory of the process above that at its start, where the system tells it.
    peak_bytes: Option<f64>,
    seconds_per_step: f64,
}

/// The number of devices that a recipe needs.
#[derive(Debug, Clone, Copy, Serialize)]
struct Needed {
    /// The devices that hold a step in `--memory`; nothing if no number of them does.
    for_memory: Option<usize>,
    /// The devices that compute the run in `--hours`, without communication.
    for_time: Option<f64>,
}

pub fn run(args: &PlanArgs) -> Result<(), Failure> {
    let before = host::memory_mib();
    let is_positive = |number: f64| number.is_finite() && number > 0.0;
    if let Some(flops) = args.flops.filter(|flops| !is_positive(*flops)) {
        return Err(usage!("`--flops {flops}` must be above 0"));
    }
    at_least_one("--devices", args.devices)?;
    if let Some(hours) = args.hours.filter(|hours| !is_positive(*hours)) {
        return Err(usage!("`--hours {hours}` must be above 0"));
    }
    let recipe = recipes::find_with(&args.recipe, &args.set)?;
    if recipe.run.batch < args.devices {
        let (batch, devices) = (recipe.run.batch, args.devices);
        return Err(usage!("`--devices {devices}` cannot share a batch of {batch} documents"));
    }
    if recipe.model.network.codec().is_some() {
        return codec(&recipe, args, before);
    }
    can_plan(&recipe).map_err(explain)?;
    // This measures first, because the steps would reuse the memory that making the plan has freed.
    let measured = if args.measure { Some(measure(&recipe, args, before)?) } else { None };
    let mut costs = Costs::of(&recipe).map_err(explain)?;
    if args.device.is_chosen() {
        costs = costs.for_device(&args.device.open()?);
    }
    let plan = costs.on(args.devices);
    let rate = match args.flops {
        Some(flops) => Rate { flops, origin: None },
        None => Rate::measure(&recipe, &costs, &plan, args)?,
    };
    let needed = Needed {
        for_memory: args.memory.and_then(|bytes| costs.devices_of(bytes)),
        for_time: args.hours.map(|hours| {
            let seconds = recipe.run.steps as f64 * plan.flops / rate.flops;
            (seconds / (hours * 3600.0)).ceil()
        }),
    };
    if args.json {
        let whole = serde_json::json!({
            "plan": plan,
            "flops_per_second": rate.flops,
            "needed": needed,
            "measured": measured,
        });
        say!("{whole}");
        return Ok(());
    }
    show(&plan, &recipe, args, &rate);
    show_needed(&costs, needed, recipe.run.batch, args);
    if let Some(Measured { peak_bytes, seconds_per_step }) = measured {
        say!();
        say!(
            "measured: {seconds_per_step:.3} s per step, {:.3e} FLOP/s",
            plan.flops / seconds_per_step
        );
        if let Some(peak) = peak_bytes {
            let share = 100.0 * plan.bytes.total() / peak;
            say!(
                "highest memory above that at the start, or of the device: {}; the plan is {share:.0} % of it",
                bytes(peak)
            );
        }
    }
    Ok(())
}

/// Plans a codec, whose memory is an estimate.
fn codec(recipe: &Recipe, args: &PlanArgs, before: Option<f64>) -> Result<(), Failure> {
    if args.memory.is_some() || args.hours.is_some() || args.devices > 1 {
        return Err(usage!("`--memory`, `--hours` and `--devices` do nothing for a codec"));
    }
    let plan = CodecPlan::of(recipe).map_err(explain)?;
    let measured = if args.measure { Some(measure(recipe, args, before)?) } else { None };
    if args.json {
        say!("{}", serde_json::json!({ "plan": plan, "measured": measured }));
        return Ok(());
    }
    let CodecPlan { rows, cols, channels, bits_per_image, flops, .. } = plan;
    let cell = match plan.codes {
        Some(codes) => format!("a code of {codes}"),
        None => format!("{channels} numbers"),
    };
    let all = 8 * mm_patch::RGB_CHANNELS * recipe.image.width * recipe.image.height;
    say!("{} parameters", plan.parameters);
    say!("an image: {rows} x {cols} cells, each {cell}; {bits_per_image:.0} of {all} bits");
    say!("a step: {} images, {flops:.2e} FLOP", recipe.run.batch);
    let activations = bytes(plan.activation_bytes);
    say!("weights, gradients, optimizer and averages: {}", bytes(plan.held_bytes));
    say!("kept for the backward pass, an estimate without temporary arrays: {activations}");
    if let Some(rate) = args.flops {
        let step = flops / rate;
        let run = step * recipe.run.steps as f64;
        say!("at {rate:.2e} FLOP/s: {} per step, {} for the run", time(step), time(run));
    }
    if let Some(Measured { peak_bytes, seconds_per_step }) = measured {
        let rate = flops / seconds_per_step;
        say!("measured: {seconds_per_step:.3} s per step, {rate:.3e} FLOP/s");
        if let Some(peak) = peak_bytes {
            say!("highest memory above that at the start: {}", bytes(peak));
        }
    }
    Ok(())
}

/// The arithmetic of a device in a second.
struct Rate {
    flops: f64,
    /// What was measured; nothing where the rate was given.
    origin: Option<String>,
}

impl Rate {
    /// Measures products of the sizes that a block of the model has, on the device of the flags.
    fn measure(
        recipe: &Recipe,
        costs: &Costs,
        plan: &Plan,
        args: &PlanArgs,
    ) -> Result<Self, Failure> {
        let device = args.device.open()?;
        let parts = recipe.run.micro_batches * recipe.run.grad_accum_steps;
        let tokens = plan.load.padded_tokens / (parts * args.devices) as f64;
        let product = Product { rows: tokens.ceil() as usize, width: costs.width() };
        let threads = recipe.run.micro_batches;
        let found = product.measure(&device, threads).map_err(explain)?;
        let Product { rows, width } = found.product;
        let origin = format!(
            "measured {:.2e} FLOP/s in {}, by products of {rows}x{width} and {width}x{} on {threads} threads; a \
             step does more than products, and takes longer (`--measure` runs a few)",
            found.flops,
            time(found.seconds),
            4 * width
        );
        Ok(Self { flops: found.flops, origin: Some(origin) })
    }
}

/// Makes an error of the recipe one of usage.
fn explain(why: TrainError) -> Failure {
    match &why {
        TrainError::Recipe(_) => Failure::usage(why),
        _ => Failure::failed(why),
    }
}

fn show(plan: &Plan, recipe: &Recipe, args: &PlanArgs, rate: &Rate) {
    let load = &plan.load;
    say!("{} parameters; {} are trained, with those of adapters", plan.parameters, plan.trained);
    say!(
        "a step: {} documents, {:.0} images, {:.0} tokens, {:.0} with padding, {:.2e} FLOP",
        recipe.run.batch,
        load.images,
        load.tokens,
        load.padded_tokens,
        plan.flops
    );
    let held = &plan.bytes;
    say!("memory of each device:");
    for (name, size) in [
        ("weights, old and new", held.weights),
        ("gradients", held.gradients),
        ("optimizer", held.optimizer),
        ("moving averages", held.averages),
        ("activations", held.activations),
        ("backward of a block", held.work),
        ("spare work memory", held.spare),
        ("prefetched batches", held.batches),
        ("freed, not returned", held.freed),
        ("process and threads", held.process),
        ("total", held.total()),
    ] {
        say!("  {name:22} {:>10}", bytes(size));
    }
    say!("  {:.0} bytes of activations per token", plan.bytes_per_token);
    let precision = recipe.run.precision.fixed().name();
    if precision != "f32" && plan.bytes.process > 0.0 {
        say!(
            "  counted in 32-bit floats, which the CPU's kernels keep with {precision} too; other devices keep less, as `--device` shows"
        );
    }
    let step = plan.flops / (rate.flops * args.devices as f64);
    let run = step * recipe.run.steps as f64;
    if let Some(origin) = &rate.origin {
        say!("{origin}");
    }
    say!("at {:.2e} FLOP/s on each of {} devices:", rate.flops, args.devices);
    say!("  {} per step, {} for {} steps", time(step), time(run), recipe.run.steps);
    say!("  {:.0} tokens and {:.0} images per second", load.tokens / step, load.images / step);
    if args.devices > 1 {
        say!("  {} of gradients sent by each device in a step", bytes(plan.sent));
    }
}

/// Prints the answers to `--memory` and `--hours`.
fn show_needed(costs: &Costs, needed: Needed, batch: usize, args: &PlanArgs) {
    if let Some(memory) = args.memory {
        let size = bytes(memory);
        match needed.for_memory {
            None => {
                let least = bytes(costs.on(batch).bytes.total());
                say!(
                    "no number of devices with {size} holds a step: each needs {least} for one document"
                );
            }
            Some(1) => say!("one device with {size} holds a step"),
            Some(count) => {
                let share = batch as f64 / count as f64;
                say!(
                    "{count} devices with {size} are the fewest that hold a step, with {share:.1} documents on each"
                );
            }
        }
    }
    if let (Some(hours), Some(count)) = (args.hours, needed.for_time) {
        let most = if count > batch as f64 {
            format!(", more than the {batch} documents of a step")
        } else {
            String::new()
        };
        say!("{count:.0} devices compute the run in {hours} h{most}; communication is not counted");
    }
}

/// Runs steps with prefetched batches, as a run does. Measures the memory of the process above what
/// it held `before`, and the time of the second half of the steps.
fn measure(recipe: &Recipe, args: &PlanArgs, before: Option<f64>) -> Result<Measured, Failure> {
    let device = args.device.open()?;
    let mut training = Training::start(recipe.clone(), &device)?;
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let recipe = training.recipe.clone(); // with the sizes of its codec
    let batches = Batches::new(&recipe, &data, &tokenizer).of_model(training.model());
    let seconds = with_batches(batches, 0..STEPS, |batches| -> Result<f64, Failure> {
        let mut start = Instant::now();
        for step in 0..STEPS {
            let Ok(batch) = batches.recv() else { break };
            training.advance(&batch?)?;
            if step + 1 == STEPS / 2 {
                training.read_steps(); // which waits for the steps before
                start = Instant::now();
            }
        }
        training.read_steps();
        Ok(start.elapsed().as_secs_f64())
    })?;
    let seconds_per_step = seconds / (STEPS - STEPS / 2) as f64;
    // What a device reserves it keeps, so this is the most that it had.
    let peak = match device.memory_pool_usage() {
        Some(usage) => Some(usage.bytes_reserved as f64),
        None => {
            host::peak_memory_mib().zip(before).map(|(peak, before)| (peak - before) * 1048576.0)
        }
    };
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

/// Parses a size such as `80GB`, in bytes.
fn parse_bytes(text: &str) -> Result<f64, String> {
    let units = [("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("B", 1.0)];
    let found = units.into_iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
    let (number, size) = found.unwrap_or((text, 1.0));
    let number = number.trim_end().parse::<f64>().ok().map(|number| number * size);
    let number = number.filter(|bytes| bytes.is_finite() && *bytes > 0.0);
    number.ok_or_else(|| {
        "wanted a number of bytes above 0, or a size such as 500MB or 80GB".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_is_in_bytes() {
        for (text, wanted) in [
            ("80GB", Some(8e10)),
            ("1.5 TB", Some(1.5e12)),
            ("500MB", Some(5e8)),
            ("2kB", Some(2e3)),
            ("12B", Some(12.0)),
            ("4096", Some(4096.0)),
            ("0GB", None),
            ("-1", None),
            ("infGB", None),
            ("GB", None),
            ("80XB", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), wanted, "{text}");
        }
    }
}
