//! `mm bench`: training steps and sampling at fixed shapes, as seconds, tokens a second and arithmetic a second.

mod network;

use std::time::Instant;

use burn::prelude::*;
use mm_train::Training;
use mm_train::batch::Batches;

use crate::args::{BenchArgs, BenchShape};
use crate::device;
use crate::report::{Failure, say, usage};
use network::{Network, Sizes};

/// What one shape took.
#[derive(Debug, serde::Serialize)]
struct Timing {
    shape: &'static str,
    threads: usize,
    /// Every measured step.
    seconds: Vec<f64>,
    median: f64,
    tokens_per_second: f64,
    /// Arithmetic of the matrix products alone; none where it is not counted.
    gflops: Option<f64>,
    /// What a product of two 1024 x 1024 matrices reaches in the same process.
    sgemm_gflops: f64,
    /// The highest memory of this process so far, in MiB, where the system tells.
    peak_mib: Option<f64>,
}

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    if args.steps == 0 || args.threads == Some(0) {
        return Err(usage!("`--steps` and `--threads` must be at least 1"));
    }
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let device = device::open(&args.device)?;
    if !args.json {
        say!("shape          threads   s/step   tokens/s   GFLOP/s   of sgemm   peak MiB");
    }
    for &shape in &args.shapes() {
        let timing = measure(shape, args.steps, &device)?;
        if args.json {
            say!("{}", serde_json::to_string(&timing)?);
            continue;
        }
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
        let share = timing.gflops.map(|gflops| 100.0 * gflops / timing.sgemm_gflops);
        say!(
            "{:14} {:7} {:8.4} {:10.0} {:>9} {:>8} % {:>10}",
            timing.shape,
            timing.threads,
            timing.median,
            timing.tokens_per_second,
            number(timing.gflops),
            number(share),
            number(timing.peak_mib)
        );
    }
    Ok(())
}

fn measure(shape: BenchShape, steps: usize, device: &Device) -> Result<Timing, Failure> {
    let (tokens, flops, seconds) = match shape {
        BenchShape::Recipe => {
            let (tokens, seconds) = recipe_steps(steps, device)?;
            (tokens, None, seconds)
        }
        BenchShape::Sampling => {
            let mut network = Network::new(&Sizes::SEED_64, device)?;
            let seconds = timed(steps, || network.sample());
            (network.sampled_tokens(), Some(network.sampling_flops()), seconds)
        }
        BenchShape::Gau64 | BenchShape::Gau768 | BenchShape::Packed => {
            let sizes = match shape {
                BenchShape::Gau64 => Sizes::SEED_64,
                BenchShape::Gau768 => Sizes::SEED_WIDTH,
                _ => Sizes::PACKED,
            };
            let mut network = Network::new(&sizes, device)?;
            let seconds = timed(steps, || network.train());
            (network.tokens() as f64, Some(network.training_flops()), seconds)
        }
    };
    let median = median(&seconds);
    Ok(Timing {
        shape: shape.name(),
        threads: rayon::current_num_threads(),
        median,
        tokens_per_second: tokens / median,
        gflops: flops.map(|flops| flops / median / 1e9),
        sgemm_gflops: sgemm(device),
        peak_mib: peak_mib(),
        seconds,
    })
}

/// Two steps to warm up, then the seconds of each of `steps`.
fn timed(steps: usize, mut step: impl FnMut()) -> Vec<f64> {
    step();
    step();
    (0..steps)
        .map(|_| {
            let start = Instant::now();
            step();
            start.elapsed().as_secs_f64()
        })
        .collect()
}

/// The middle one; there is at least one.
fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Whole steps of the default recipe, data made beforehand: tokens of a step, seconds.
fn recipe_steps(steps: usize, device: &Device) -> Result<(f64, Vec<f64>), Failure> {
    let recipe = crate::recipes::find("glyphs")?;
    let mut training = Training::start(recipe.clone(), device)?;
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    let batches =
        (0..steps as u64 + 2).map(|step| batches.batch(step)).collect::<Result<Vec<_>, _>>()?;
    let (mut failed, mut tokens, mut next) = (None, 0, batches.iter());
    let seconds = timed(steps, || match training.step(next.next().expect("enough batches")) {
        Ok(report) => tokens = report.tokens,
        Err(why) => failed = Some(why),
    });
    match failed {
        Some(why) => Err(why.into()),
        None => Ok((tokens as f64, seconds)),
    }
}

/// Arithmetic a second of a large matrix product, in GFLOP/s.
fn sgemm(device: &Device) -> f64 {
    const SIDE: usize = 1024;
    let matrix = || Tensor::<2>::ones([SIDE, SIDE], device);
    let (a, b) = (matrix(), matrix());
    let seconds = timed(9, || {
        let _ = a.clone().matmul(b.clone()).slice([0..1, 0..1]).into_scalar::<f32>();
    });
    2.0 * (SIDE as f64).powi(3) / median(&seconds) / 1e9
}

/// The highest resident memory of this process, where the system says it (Linux).
fn peak_mib() -> Option<f64> {
    memory_mib("VmHWM:")
}

/// A line of what Linux tells about this process's memory, in MiB.
pub(super) fn memory_mib(line: &str) -> Option<f64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|text| text.strip_prefix(line))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
