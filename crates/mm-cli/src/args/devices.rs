//! Flags of `mm devices`.

use clap::Parser;

#[derive(Debug, Parser)]
#[command(
    after_help = "The first column is what --device takes. Types are those that the device calculates in; the
trainer and the sampler use f32 (docs/backends.md).

Examples:
  mm devices
  mm devices --json"
)]
pub struct DevicesArgs {
    /// Print one JSON object a device.
    #[arg(long)]
    pub json: bool,
}
