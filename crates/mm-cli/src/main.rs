//! The `mm` program: parse, run, print the error and a hint, exit 0 (ok), 1 (failed) or 2 (usage).

mod allocator;
mod args;
mod commands;
mod device;
mod output;
mod ranks;
mod recipes;
mod report;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::{Args, Command};
use crate::report::Failure;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    report::leave_memory_to_errors();
    let matches = Args::command().get_matches();
    let args = match Args::from_arg_matches(&matches) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match run(args, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

fn run(args: Args, matches: &clap::ArgMatches) -> Result<(), Failure> {
    match args.command {
        Command::Train(args) => commands::train::run(&args),
        Command::Generate(args) => {
            let matches = matches.subcommand_matches("generate").expect("this command was chosen");
            commands::generate::run(&args, &args::prompt_order(matches))
        }
        Command::Read(args) => commands::read::run(&args),
        Command::Draw(args) => commands::draw::run(&args),
        Command::Sample(args) => commands::sample::run(&args),
        Command::Interpolate(args) => commands::interpolate::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Data(args) => commands::data::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Devices(args) => commands::devices::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new(); // writing it itself, clap panics where the reader went away
            clap_complete::generate(shell, &mut Args::command(), "mm", &mut script);
            report::write_out(format_args!("{}", String::from_utf8_lossy(&script)));
            Ok(())
        }
    }
}
