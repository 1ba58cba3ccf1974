//! Flags of `mm report`.

use std::path::PathBuf;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm report runs/glyphs
  mm report runs/glyphs --out glyphs.html --grids 4")]
pub struct ReportArgs {
    /// A run folder, of a finished run or of one that is still going.
    pub run: PathBuf,
    /// The page to write [default: RUN/report.html, which is replaced].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Sample grids shown, spread over the run; the newest is always among them.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub grids: usize,
    /// Replace a file given by --out that is there already.
    #[arg(long)]
    pub force: bool,
}
