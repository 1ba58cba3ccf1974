//! `cargo xtask bench ARGS`: `mm bench ARGS`, built for speed. What is measured, and how, is the program's own affair.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use xshell::Shell;

use crate::{flags, mm};

impl flags::Bench {
    /// Builds and measures.
    pub fn run(&self, sh: &Shell, args: &[OsString]) -> Result<ExitCode> {
        let bench = OsString::from("bench");
        mm::build_and_run(sh, &[&[bench], args].concat())
    }
}
