//! `mm bench`: training steps and sampling at fixed shapes, as seconds, tokens per second and
//! arithmetic per second.

mod network;

use std::time::Instant;

use burn::prelude::*;
use clap::{Parser, ValueEnum};
use mm_train::Training;
use mm_train::batch::Batches;

use crate::device::DeviceArg;
use crate::host::peak_memory_mib;
use crate::terminal::{Failure, say, usage};
use network::{Network, Sizes};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm bench
  mm bench --shape gau-256 --threads 1 --json")]
pub struct BenchArgs {
    /// Shape to measure; can be repeated [default: all].
    #[arg(long, value_enum, value_name = "SHAPE")]
    shape: Vec<BenchShape>,
    /// Number of threads of the kernels [default: one per core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Number of measured steps of each shape.
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,
    #[command(flatten)]
    device: DeviceArg,
    /// Print one JSON object for each shape.
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BenchShape {
    /// Training: gated attention units, width 256, 8 layers, 32 images of 64 patches.
    #[value(name = "gau-256")]
    Gau256,
    /// Training: gated attention units, width 768, 2 layers, 4 images of 256 patches.
    #[value(name = "gau-768")]
    Gau768,
    /// Training: width 384, 6 layers, 4 packed rows of 512 tokens, texts and images.
    Packed,
    /// Training: whole steps of the default recipe.
    Recipe,
    /// Sampling: 16 images of 64 patches after a prompt of 24 tokens, 10 steps with guidance.
    Sampling,
}

impl BenchShape {
    /// Returns the name of the flag's value.
    fn name(self) -> &'static str {
        match self {
            Self::Gau256 => "gau-256",
            Self::Gau768 => "gau-768",
            Self::Packed => "packed",
            Self::Recipe => "recipe",
            Self::Sampling => "sampling",
        }
    }
}

/// The measurement of one shape.
#[derive(Debug, serde::Serialize)]
struct Timing {
    shape: &'static str,
    threads: usize,
    /// The seconds of every measured step.
    seconds: Vec<f64>,
    median: f64,
    tokens_per_second: f64,
    /// The arithmetic of the matrix products, where it is counted.
    gflops: Option<f64>,
    /// The speed of a product of two 1024 x 1024 matrices in the same process.
    sgemm_gflops: f64,
    /// The highest memory of this process so far, in MiB, where the system tells it.
    peak_mib: Option<f64>,
}

pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    if args.steps == 0 || args.threads == Some(0) {
        return Err(usage!("`--steps` and `--threads` must be at least 1"));
    }
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let device = args.device.open()?;
    if !args.json {
        say!("shape          threads   s/step   tokens/s   GFLOP/s   of sgemm   peak MiB");
    }
    let all = BenchShape::value_variants();
    for &shape in if args.shape.is_empty() { all } else { &args.shape[..] } {
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
            let mut network = Network::new(&Sizes::GAU_256, device)?;
            let seconds = timed(steps, || network.sample());
            (network.sampled_tokens(), Some(network.sampling_flops()), seconds)
        }
        BenchShape::Gau256 | BenchShape::Gau768 | BenchShape::Packed => {
            let sizes = match shape {
                BenchShape::Gau256 => Sizes::GAU_256,
                BenchShape::Gau768 => Sizes::GAU_768,
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
        peak_mib: peak_memory_mib(),
        seconds,
    })
}

/// Runs two steps to warm up, then measures the seconds of each of `steps`.
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

/// Returns the median of at least one number.
fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Measures whole steps of the default recipe, whose data is made before. Returns the tokens of a
/// step and the seconds of each.
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

/// Measures a large matrix product in GFLOP/s.
fn sgemm(device: &Device) -> f64 {
    const SIDE: usize = 1024;
    let matrix = || Tensor::<2>::ones([SIDE, SIDE], device);
    let (a, b) = (matrix(), matrix());
    let seconds = timed(9, || {
        let _ = a.clone().matmul(b.clone()).slice([0..1, 0..1]).into_scalar::<f32>();
    });
    2.0 * (SIDE as f64).powi(3) / median(&seconds) / 1e9
}
