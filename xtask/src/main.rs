//! The automation of this workspace: `cargo xtask help` lists the commands.
//!
//! This file only dispatches: `flags.rs` declares the commands, and each has a file of its own
//! name.

#![forbid(unsafe_code)]

mod bench;
mod chart;
mod ci;
mod compare;
mod costs;
mod docs;
mod flags;
mod fuzz;
mod help;
mod lossless;
mod mm;
mod study;
mod test;
mod tidy;
mod train;
mod web;

use std::{env, ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use flags::XtaskCmd;
use xshell::Shell;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let flags::Split { own, passed } = flags::split(env::args_os().skip(1).collect());
    let flags = flags::Xtask::from_vec(own).unwrap_or_else(|error| error.exit());
    let sh = &Shell::new()?;
    sh.change_dir(root()?);
    match flags.subcommand {
        XtaskCmd::Train(command) => return command.run(sh, &passed),
        XtaskCmd::Mm(command) => return command.run(sh, &passed),
        XtaskCmd::Bench(command) => return command.run(sh, &passed),
        _ => refuse_passed(&passed)?,
    }
    match flags.subcommand {
        XtaskCmd::CompareBackends(command) => return command.run(sh),
        XtaskCmd::Study(command) => return command.run(sh),
        XtaskCmd::Test(command) => command.run(sh)?,
        XtaskCmd::Ci(command) => command.run(sh)?,
        XtaskCmd::Tidy(command) => command.run(sh)?,
        XtaskCmd::Docs(command) => command.run(sh)?,
        XtaskCmd::Fuzz(command) => command.run(sh)?,
        XtaskCmd::Web(command) => command.run(sh)?,
        _ => flags::Help {}.run(),
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses arguments after `--`: they mean something only to the commands that start `mm`.
fn refuse_passed(passed: &[OsString]) -> Result<()> {
    ensure!(passed.is_empty(), "this command takes nothing after `--`, found {passed:?}");
    Ok(())
}

/// Returns the folder of the workspace, whatever folder the command was typed in.
fn root() -> Result<PathBuf> {
    let own =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = PathBuf::from(own).parent().map(PathBuf::from);
    root.context("the folder of xtask has no parent")
}
