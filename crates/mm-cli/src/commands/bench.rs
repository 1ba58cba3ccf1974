//! `mm bench`: training steps and sampling at fixed shapes, as seconds, tokens per second and
//! arithmetic per second.

mod network;

use std::time::Instant;

use burn::prelude::*;
use clap::{Parser, ValueEnum};
use mm_backbone::Precision;
use mm_train::Training;
use mm_train::batch::Batches;

use crate::device::DeviceArg;
use crate::files::{at_least_one, within};
use crate::host::peak_memory_mib;
use crate::model::PrecisionArg;
use crate::terminal::{Failure, say};
use network::{Network, Sizes};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm bench
  mm bench --shape gau-256 --threads 1 --json
  mm bench --shape packed --precision f32 --precision bf16")]
pub struct BenchArgs {
    /// Shape to measure; can be repeated [default: all].
    #[arg(long, value_enum, value_name = "SHAPE")]
    shape: Vec<BenchShape>,
    /// Number of threads of the kernels; each micro-batch of a recipe has a thread of its own
    /// [default: one per core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Number of measured steps of each shape.
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,
    /// Type that blocks multiply in; can be repeated [default: f32].
    ///
    /// With several types the steps of each shape are measured in turn, and the table says how many
    /// times as fast as the first each is.
    #[arg(long, value_enum, value_name = "TYPE")]
    precision: Vec<PrecisionArg>,
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
    /// Training: whole steps of the recipe baseline-unet, 16 images of 64x64 pixels.
    Unet,
    /// Training: whole steps of the recipe codec-kl, 16 images of 32x32 pixels.
    Codec,
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
            Self::Unet => "unet",
            Self::Codec => "codec",
            Self::Sampling => "sampling",
        }
    }
}

/// The measurement of one shape in one type.
#[derive(Debug, serde::Serialize)]
struct Timing {
    shape: &'static str,
    precision: &'static str,
    threads: usize,
    /// The seconds of every measured step.
    seconds: Vec<f64>,
    median: f64,
    tokens_per_second: f64,
    /// The arithmetic of the matrix products, where it is counted.
    gflops: Option<f64>,
    /// The speed of a product of two 1024 x 1024 matrices in the same process, in 32 bits.
    sgemm_gflops: f64,
    /// How many times as fast each step was as that of the first type beside it: the least, the
    /// median and the most.
    times_as_fast: [f64; 3],
    /// The highest memory of this process so far, in MiB, where the system tells it.
    peak_mib: Option<f64>,
}

/// The most threads that are started; more than any machine has cores.
const MOST_THREADS: usize = 4096;

pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    at_least_one("--steps", args.steps)?;
    within("--threads", args.threads.unwrap_or(1), MOST_THREADS)?;
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let device = args.device.open()?;
    let mut precisions = args.precision.clone();
    if precisions.is_empty() {
        precisions.push(PrecisionArg::F32);
    }
    if !args.json {
        let title =
            "shape          type  threads   s/step   tokens/s   GFLOP/s   of sgemm   peak MiB";
        let ratio = if precisions.len() > 1 { "   times as fast (least to most)" } else { "" };
        say!("{title}{ratio}");
    }
    let all = BenchShape::value_variants();
    for &shape in if args.shape.is_empty() { all } else { &args.shape[..] } {
        for timing in measure(shape, &precisions, args.steps, &device)? {
            if args.json {
                say!("{}", serde_json::to_string(&timing)?);
            } else {
                print_line(&timing, precisions.len() > 1)?;
            }
        }
    }
    Ok(())
}

fn print_line(timing: &Timing, compared: bool) -> Result<(), Failure> {
    let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
    let share = timing.gflops.map(|gflops| 100.0 * gflops / timing.sgemm_gflops);
    let [least, median, most] = timing.times_as_fast;
    let ratio =
        if compared { format!("   {median:.2} ({least:.2} to {most:.2})") } else { String::new() };
    say!(
        "{:14} {:5} {:7} {:8.4} {:10.0} {:>9} {:>8} % {:>10}{ratio}",
        timing.shape,
        timing.precision,
        timing.threads,
        timing.median,
        timing.tokens_per_second,
        number(timing.gflops),
        number(share),
        number(timing.peak_mib)
    );
    Ok(())
}

/// What is measured step by step.
struct Case {
    precision: Precision,
    /// The arithmetic of the matrix products of a step, where it is counted.
    flops: Option<f64>,
    /// Does a step and returns its tokens.
    step: Box<dyn FnMut() -> Result<f64, Failure>>,
}

/// Makes what is measured; of a recipe so many steps at most.
fn case(
    shape: BenchShape,
    precision: Precision,
    steps: usize,
    device: &Device,
) -> Result<Case, Failure> {
    let sizes = match shape {
        BenchShape::Recipe => return recipe_case("glyphs", precision, steps, device),
        BenchShape::Unet => return recipe_case("baseline-unet", precision, steps, device),
        BenchShape::Codec => return recipe_case("codec-kl", precision, steps, device),
        BenchShape::Sampling | BenchShape::Gau256 => Sizes::GAU_256,
        BenchShape::Gau768 => Sizes::GAU_768,
        BenchShape::Packed => Sizes::PACKED,
    };
    let mut network = Network::new(&sizes, precision, device)?;
    if matches!(shape, BenchShape::Sampling) {
        let (flops, tokens) = (Some(network.sampling_flops()), network.sampled_tokens());
        let step = move || {
            network.sample();
            Ok(tokens)
        };
        return Ok(Case { precision, flops, step: Box::new(step) });
    }
    let (flops, tokens) = (Some(network.training_flops()), network.tokens() as f64);
    let step = move || {
        network.train();
        Ok(tokens)
    };
    Ok(Case { precision, flops, step: Box::new(step) })
}

/// Measures a shape in each of the types, step by step in turn, after two steps of each to warm up.
fn measure(
    shape: BenchShape,
    precisions: &[PrecisionArg],
    steps: usize,
    device: &Device,
) -> Result<Vec<Timing>, Failure> {
    let mut cases = vec![];
    for precision in precisions {
        cases.push(case(shape, precision.precision(), steps + 2, device)?);
    }
    let mut seconds = vec![vec![]; cases.len()];
    let mut tokens = vec![0.0; cases.len()];
    for at in 0..steps + 2 {
        for ((case, seconds), tokens) in cases.iter_mut().zip(&mut seconds).zip(&mut tokens) {
            let start = Instant::now();
            *tokens = (case.step)()?;
            if at >= 2 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let (sgemm_gflops, first) = (sgemm(device), seconds[0].clone());
    let timings = cases.iter().zip(seconds).zip(tokens).map(|((case, seconds), tokens)| {
        let ratios: Vec<f64> = first.iter().zip(&seconds).map(|(one, own)| one / own).collect();
        let (least, most) = (ratios.iter().copied(), ratios.iter().copied());
        let least = least.fold(f64::INFINITY, f64::min);
        let most = most.fold(0.0, f64::max);
        let middle = median(&seconds);
        Timing {
            shape: shape.name(),
            precision: case.precision.name(),
            threads: rayon::current_num_threads(),
            median: middle,
            tokens_per_second: tokens / middle,
            gflops: case.flops.map(|flops| flops / middle / 1e9),
            sgemm_gflops,
            times_as_fast: [least, median(&ratios), most],
            peak_mib: peak_memory_mib(),
            seconds,
        }
    });
    Ok(timings.collect())
}

/// Returns the median of at least one number.
fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Returns what does whole steps of a recipe, whose data is made before, at most so many.
fn recipe_case(
    name: &str,
    precision: Precision,
    steps: usize,
    device: &Device,
) -> Result<Case, Failure> {
    let mut recipe = crate::recipes::find(name)?;
    recipe.run.precision = precision.into();
    let mut training = Training::start(recipe.clone(), device)?;
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let mut batches = Batches::new(&recipe, &data, &tokenizer).of_model(training.model());
    let made = (0..steps as u64).map(|step| batches.batch(step)).collect::<Result<Vec<_>, _>>()?;
    let mut next = made.into_iter();
    let step = move || {
        let report = training.step(&next.next().expect("enough batches"))?;
        Ok(report.tokens as f64)
    };
    Ok(Case { precision, flops: None, step: Box::new(step) })
}

/// Measures a large matrix product in GFLOP/s.
fn sgemm(device: &Device) -> f64 {
    const SIDE: usize = 1024;
    let matrix = || Tensor::<2>::ones([SIDE, SIDE], device);
    let (a, b) = (matrix(), matrix());
    let mut seconds = vec![];
    for _ in 0..9 {
        let start = Instant::now();
        let _ = a.clone().matmul(b.clone()).slice([0..1, 0..1]).into_scalar::<f32>();
        seconds.push(start.elapsed().as_secs_f64());
    }
    2.0 * (SIDE as f64).powi(3) / median(&seconds) / 1e9
}
