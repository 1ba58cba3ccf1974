//! Everything that parses bytes from outside, each under the name of its target: a function that
//! takes any bytes and panics only if the library breaks a promise.
//!
//! `fuzz_targets/parsers.rs` runs one of them under libFuzzer, and a test of the workspace gives
//! every file of `corpus/NAME` to the target `NAME`.
#![forbid(unsafe_code)]

mod files;
mod images;
mod models;
mod requests;
mod sources;
mod texts;

/// One parser and the rules that hold for whatever it accepts.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Names it, and its folder of inputs.
    pub name: &'static str,
    /// Parses some bytes.
    pub run: fn(&[u8]),
}

/// All targets, in the order in which they are run.
pub const TARGETS: &[Target] = &[
    Target { name: "jpeg", run: images::jpeg },
    Target { name: "png", run: images::png },
    Target { name: "webp", run: images::webp },
    Target { name: "gif", run: images::gif },
    Target { name: "bmp", run: images::bmp },
    Target { name: "tiff", run: images::tiff },
    Target { name: "metadata", run: sources::metadata },
    Target { name: "jsonl", run: sources::jsonl },
    Target { name: "text", run: sources::text },
    Target { name: "tar", run: sources::tar },
    Target { name: "parquet", run: sources::parquet },
    Target { name: "tokenizer", run: texts::tokenizer },
    Target { name: "recipe", run: texts::recipe },
    Target { name: "config", run: models::config },
    Target { name: "generation", run: models::generation },
    Target { name: "weights", run: models::weights },
    Target { name: "index", run: models::index },
    Target { name: "keras", run: models::keras },
    Target { name: "golden", run: models::golden },
    Target { name: "request", run: requests::json },
    Target { name: "form", run: requests::form },
];
