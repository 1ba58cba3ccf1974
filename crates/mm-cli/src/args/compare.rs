//! Flags of `mm compare-backends`.

use std::path::PathBuf;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(
    after_help = "Every device runs the same checks in a process of its own; what it gives is compared with ordinary
operations in 64-bit floats on flex. Exit code 1 says that a device is too far away, crashed or is not there.

Examples:
  mm compare-backends
  mm compare-backends --devices flex,wgpu:cpu --json differences.json
  mm compare-backends --losses 200 > losses.csv"
)]
pub struct CompareArgs {
    /// What to compare, parted by commas [default: every device that is there].
    #[arg(long, value_name = "D,D", value_delimiter = ',')]
    pub devices: Vec<String>,
    /// Compare devices of another build of this program, which need not have flex.
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// What the table adds to the names of devices, such as `fusion` for a build that has it.
    #[arg(long, value_name = "W,W", value_delimiter = ',')]
    pub ways: Vec<String>,
    /// Also write the table as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write the table as Markdown.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Instead of the checks: the loss of each of N training steps on every device, as CSV.
    #[arg(long, value_name = "N", conflicts_with_all = ["json", "markdown"])]
    pub losses: Option<u64>,
    /// Instead of the checks: single operations, each in a process of its own, to find the one that a driver does not survive.
    #[arg(long, conflicts_with_all = ["json", "markdown", "losses"])]
    pub operations: bool,
    /// Run the checks on one device and print its numbers: what the other processes do.
    #[arg(long, hide = true, value_name = "D")]
    pub worker: Option<String>,
    /// Of a worker: compute in 64-bit floats.
    #[arg(long, hide = true, requires = "worker")]
    pub wide: bool,
    /// Of a worker: compute this operation instead of the checks.
    #[arg(long, hide = true, requires = "worker", value_name = "I")]
    pub operation: Option<usize>,
    /// Of a worker: leave out the first checks.
    #[arg(long, hide = true, requires = "worker", default_value_t = 0)]
    pub skip: usize,
}
