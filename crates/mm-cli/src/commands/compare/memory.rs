//! The memory of a forward and a backward pass against the number of tokens, each in a process of
//! its own: the memory that a device holds after the pass is the most that it had.

use std::process::{Command, Stdio};
use std::time::Instant;

use mm_backbone::{
    Backbone, BackboneConfig, BlockConfig, BlockOptions, Init, KeyRanges, MultiHeadConfig,
    MultiHeadVariant, PositionScheme, Positions,
};

use super::numbers::random;
use super::worker::last_message;
use crate::terminal::{Failure, failed, say};
use crate::{device, host};

/// The tokens of a row that are measured.
const TOKENS: [usize; 3] = [256, 1024, 4096];

/// A way to compute the blocks.
struct Way {
    name: &'static str,
    /// What `MM_KERNELS` says, if anything.
    kernels: Option<&'static str>,
    again: bool,
}

const WAYS: [Way; 3] = [
    Way { name: "recorded operations", kernels: Some("reference"), again: false },
    Way { name: "attention in tiles", kernels: None, again: false },
    Way { name: "and blocks computed again", kernels: None, again: true },
];

/// Four blocks of 256 channels with four heads.
const BLOCKS: BackboneConfig = BackboneConfig {
    width: 256,
    depth: 4,
    block: BlockConfig::MultiHead(MultiHeadConfig {
        variant: MultiHeadVariant::Plain,
        heads: 4,
        key_heads: 4,
        feed_forward: 512,
    }),
    positions: PositionScheme::RopeTv,
    rotary_base: 10_000.0,
    norm_epsilon: 1e-6,
};

/// Computes one pass and prints the MiB that the device holds, and the seconds of a second pass:
/// the work of a worker process. For the processor, this is the memory of the process.
pub fn work(name: &str, tokens: usize, again: bool) -> Result<(), Failure> {
    let device = device::open(name)?;
    let tracked = device.clone().autodiff();
    let backbone = Backbone::new(&BLOCKS, &mut Init::new(1, &tracked))?;
    let mut positions = Positions::new(PositionScheme::RopeTv);
    let places: Vec<_> = (0..tokens).map(|_| positions.text()).collect();
    let causal = (0..tokens).map(|at| [0, at as u32 + 1]).collect();
    let context = BLOCKS.attention_context(&places, KeyRanges::new(1, tokens, causal)?, &device);
    let options = BlockOptions { activation_checkpointing: again, ..BlockOptions::default() };
    let pass = || {
        let x = random::<3>(2, [1, tokens, BLOCKS.width], &tracked).require_grad();
        let grads = backbone.forward(x.clone(), &context, None, options).sum().backward();
        let grad = x.grad(&grads).map(|grad| grad.sum().into_scalar::<f32>());
        grad.ok_or_else(|| failed!("the input has no gradient"))
    };
    pass()?;
    let mib = match device.memory_pool_usage() {
        Some(usage) => Some(usage.bytes_reserved as f64 / f64::from(1 << 20)),
        None => host::peak_memory_mib(),
    };
    let start = Instant::now();
    pass()?;
    let seconds = start.elapsed().as_secs_f64();
    let mib = mib.map_or_else(|| "-".to_owned(), |mib| format!("{mib:.0}"));
    say!("{mib} | {seconds:.2}");
    Ok(())
}

/// Measures every device in every way, and prints a row for each number of tokens.
pub fn all(devices: &[String]) -> Result<(), Failure> {
    let names: Vec<String> = WAYS.iter().map(|way| format!("{}, MiB | s", way.name)).collect();
    say!(
        "| device | tokens | {} |\n| --- | ---: |{}",
        names.join(" | "),
        " ---: | ---: |".repeat(3)
    );
    let mut crashed = 0;
    for device in devices {
        for tokens in TOKENS {
            let mut cells = vec![];
            for way in &WAYS {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["compare-backends", "--worker", device]);
                command.args(["--tokens", &tokens.to_string()]);
                command.args(way.again.then_some("--again"));
                command.envs(way.kernels.map(|kernels| ("MM_KERNELS", kernels)));
                let output = command.stdin(Stdio::null()).output()?;
                cells.push(if output.status.success() {
                    String::from_utf8_lossy(&output.stdout).trim().to_owned()
                } else {
                    crashed += 1;
                    format!("**{}**: {} | -", output.status, last_message(Some(&*output.stderr)))
                });
            }
            say!("| {device} | {tokens} | {} |", cells.join(" | "));
        }
    }
    if crashed > 0 { Err(failed!("{crashed} measurements failed")) } else { Ok(()) }
}
