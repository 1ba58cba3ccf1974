//! `cargo xtask help` says what each command does.

use crate::flags;

impl flags::Help {
    /// Prints the commands and their flags.
    pub fn run(&self) {
        println!("{}", flags::Xtask::help().trim_end());
        println!(
            "\nFirst time here: `cargo xtask train`. Before sending a change: `cargo xtask test`."
        );
    }
}
