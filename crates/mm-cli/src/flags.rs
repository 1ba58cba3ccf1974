//! The command line as a whole: what clap does not do by itself. Numbers below zero are values of
//! flags, and a number that cannot be read is refused with the flag, what was found and what was
//! wanted.

use std::error::Error;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{Command, CommandFactory};

use crate::commands::Args;
use crate::terminal::{Failure, usage};

/// Returns the command line of the program.
pub fn program() -> Command {
    with_negative_numbers(Args::command())
}

/// Lets the flags of a command and of those below it take `-1` as a value. Without this, clap takes
/// `--count -1` for a flag `-1`, and its advice is no help.
fn with_negative_numbers(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let valued = arg.get_long().is_some() && arg.get_action().takes_values();
        if valued { arg.allow_negative_numbers(true) } else { arg }
    });
    command.mut_subcommands(with_negative_numbers)
}

/// Prints what is wrong with the command line, or the help that was asked for.
pub fn refuse(wrong: &clap::Error) -> ExitCode {
    match number(wrong) {
        Some(failure) => failure.print(),
        None => wrong.exit(),
    }
}

/// Returns the failure of a value that should be a number.
fn number(wrong: &clap::Error) -> Option<Failure> {
    if wrong.kind() != ErrorKind::ValueValidation {
        return None;
    }
    let why = wrong.source()?;
    let wanted = match why.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow) => "a smaller number",
        Some(_) => "a whole number, not below 0",
        None if why.is::<ParseFloatError>() => "a number",
        None => return None,
    };
    let found = wrong.get(ContextKind::InvalidValue)?.to_string();
    let flag = wrong.get(ContextKind::InvalidArg)?.to_string();
    let flag = flag.split(' ').next().unwrap_or_default();
    Some(usage!("`{flag} {found}`, wanted {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        program().debug_assert();
    }

    #[test]
    fn a_wrong_number_is_refused_with_its_flag_what_was_found_and_what_was_wanted() {
        for (args, wanted) in [
            (["--count", "-1"], "`--count -1`, wanted a whole number, not below 0"),
            (["--count", "1.5"], "`--count 1.5`, wanted a whole number, not below 0"),
            (["--count", "many"], "`--count many`, wanted a whole number, not below 0"),
            (
                ["--count", "99999999999999999999999"],
                "`--count 99999999999999999999999`, wanted a smaller number",
            ),
            (["--seed", "-7"], "`--seed -7`, wanted a whole number, not below 0"),
        ] {
            let draw = [&["mm", "draw", "model", "red K", "--out", "k.png"], &args[..]].concat();
            let wrong = program().try_get_matches_from(draw).unwrap_err();
            assert_eq!(number(&wrong).map(|failure| failure.words()).as_deref(), Some(wanted));
        }
    }
}
