//! Runs the target that the environment variable `FUZZ_TARGET` names under libFuzzer.
#![allow(clippy::disallowed_methods, reason = "the macro of libFuzzer opens a file")]
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mm_fuzz::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
            eprintln!("FUZZ_TARGET is `{name}`, wanted one of {}", names.join(", "));
            std::process::exit(2);
        };
        TARGET.get_or_init(|| target);
        if name == "parquet" {
            forgive_what_is_caught();
        }
    },
    |bytes: &[u8]| (TARGET.get().expect("set above").run)(bytes)
);

/// Lets panics unwind that the library catches and turns into errors: those of the Parquet parser
/// are many. Without this, a panic ends the process where it happens, as it would in a browser.
fn forgive_what_is_caught() {
    let fatal = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !mm_patch::is_guarded() {
            fatal(panic);
        }
    }));
}
