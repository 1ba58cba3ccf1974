//! The `mm` program: it reads the arguments, runs a command, and prints an error with a hint. It
//! exits with 0 (success), 1 (the command failed) or 2 (the command was used wrongly).

#![deny(unsafe_code)] // the allocator and two places in `device.rs` allow it for themselves

mod allocator;
mod commands;
mod device;
mod files;
mod flags;
mod host;
mod loading;
mod metadata;
mod model;
mod recipes;
mod terminal;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::commands::Args;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    terminal::silence_handled_panics();
    let matches = match flags::program().try_get_matches() {
        Ok(matches) => matches,
        Err(wrong) => return flags::refuse(&wrong),
    };
    let args = match Args::from_arg_matches(&matches) {
        Ok(args) => args,
        Err(wrong) => return flags::refuse(&wrong),
    };
    match args.run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}
