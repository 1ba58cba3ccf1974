//! This file declares the commands and their flags. Its doc comments are what `cargo xtask help`
//! prints.

use std::{ffi::OsString, path::PathBuf};

xflags::xflags! {
    /// The automation of the `mm` workspace.
    cmd xtask {
        /// Says what each command does.
        cmd help {}

        /// Builds the release program and trains a recipe into a fresh folder under `runs`.
        ///
        /// Passes what stands after `--` to `mm train`.
        cmd train {
            /// Names a recipe, or the path of one from the folder of the workspace. Default:
            /// `glyphs`.
            optional recipe: String
            /// Says where to compute: flex (the processor, default), vulkan, wgpu, metal or cuda;
            /// `cuda:1` is the second card.
            optional --device device: String
        }

        /// Builds the release program and runs `mm` with all that follows.
        cmd mm {}

        /// Builds the release program and times every shape of `mm bench` at one and at two
        /// threads; with arguments, runs `mm bench` with them.
        ///
        /// `--against-torch` times PyTorch on the same shapes, turn by turn, and prints how many
        /// times as fast `mm` is; with it go `--shape NAME,NAME`, `--threads N`, `--rounds N`,
        /// `--steps N`, `--ways compile-bf16,eager-f32` and `--python FILE` for an interpreter that
        /// has PyTorch already. Each way of PyTorch is eager or compiled, with plain or fused
        /// (`sdpa`) attention, in f32, in f32 with MKL's AVX-512 code (`mkl`), or in bf16.
        ///
        /// `serve` measures the server instead, by drawings and texts from 1 to 64 clients at once;
        /// with it go `--model DIR`, `--requests N`, `--clients 1,4,16,64`, `--device D`, and
        /// `--abuse N` for N requests some of which are malformed, too large or left by their
        /// clients, with SIGTERM in the middle.
        cmd bench {}

        /// Holds every device to the same numbers: builds with the features that the devices need
        /// and runs `mm compare-backends`.
        ///
        /// On a machine with an NVIDIA card:
        /// `cargo xtask compare-backends --devices flex,cuda:0 --with fusion,autotune`.
        cmd compare-backends {
            /// Names what to compare, with commas, such as `flex,wgpu:cpu,vulkan,cuda:0`. Default:
            /// all that the feature `wgpu` finds.
            optional --devices devices: String
            /// Names ways of computing that Burn leaves to a feature, with commas: `fusion`,
            /// `autotune`, or both in one build, `fusion+autotune`. Each is one more build.
            optional --with ways: String
            /// Writes the table as JSON as well.
            optional --json file: PathBuf
            /// Writes the table as Markdown as well, under date and versions.
            optional --markdown file: PathBuf
            /// Compares the losses of N training steps instead, written as CSV and drawn.
            optional --losses steps: u64
            /// Names the types that blocks multiply in for `--losses`, with commas: f32, bf16, f16.
            optional --types types: String
            /// Says where `--losses` writes: FILE.csv and FILE.svg.
            optional --out file: PathBuf
            /// Builds nothing and takes the program that the tests have built.
            optional --as-tested
            /// Builds for speed. The default shares what the tests have built.
            optional --release
        }

        /// Measures what the article says: `cargo xtask study convergence --judge FILE.onnx` trains
        /// networks, targets and patches, judges them by KID, and writes a page with tables, curves
        /// and drawings. A study that was stopped goes on.
        ///
        /// `cargo xtask study lossless` measures what codecs lose, and reading and drawing over raw
        /// patches, codes, latents and bytes; it asks for no judge and writes docs/lossless.md.
        cmd study {
            /// Names the study: `convergence` or `lossless`.
            required name: String
            /// Takes a few steps of every run, to try the study and not to measure anything.
            optional --quick
            /// Takes a built program instead of building one.
            optional --program file: PathBuf
            /// Names the network that judges; its settings are in FILE.toml beside it
            /// (docs/evaluation.md).
            optional --judge file: PathBuf
            /// Says about how long to take, in minutes, which decides the steps of every run.
            /// Default: 150, or 180 for `lossless`.
            optional --minutes minutes: f64
            /// Names a folder of images. Default: the emoji.
            optional --data folder: PathBuf
            /// Says where the page goes. Default: `docs/studies/convergence`, or `docs` for
            /// `lossless`.
            optional --out folder: PathBuf
            /// Says where to compute. Default: flex.
            optional --device device: String
            /// Writes the page again from what was found, without computing anything.
            optional --page
        }

        /// Runs everything that a change must pass; says first what it costs, and then what each
        /// step took.
        cmd test {
            /// Leaves out what a change seldom breaks: documentation and the build without a
            /// backend.
            optional --quick
        }

        /// Compiles the library for browsers into `target/web` and tests it in Node and in a
        /// headless Chromium: see docs/browser.md.
        ///
        /// It takes rustup's target `wasm32-unknown-unknown` or Debian's compiler for it, and
        /// `wasm-bindgen`; `xtask/scripts/install-web.sh` installs the latter two.
        cmd web {
            /// Adds the program that computes by WebGPU, and tests it too.
            optional --webgpu
            /// Only compiles.
            optional --no-tests
            /// Builds no program to compare with and takes the one that the tests have built.
            optional --as-tested
            /// Does nothing where the tools are not there, or where `ci` has run for long.
            optional --if-there
        }

        /// Runs what continuous integration runs: optional system packages if the system has a
        /// script for them, then `test`, the type check of every backend, the comparison of the
        /// backends that run here, and the packages.
        cmd ci {}

        /// Checks the rules of the workspace that no compiler knows; names file and line of each
        /// breach, and counts them by rule and crate.
        cmd tidy {
            /// Checks one rule alone. A name that does not exist prints all names.
            optional --rule name: String
            /// Shows only what stands in this file or below this folder.
            optional --path path: PathBuf
        }

        /// Builds the documentation of the crates and, where `mdbook` is installed, the book over
        /// `docs`; checks the links of the documents.
        cmd docs {
            /// Opens what was built in a browser.
            optional --open
        }

        /// Gives the parsers of outside bytes ever new inputs, guided by the code that each input
        /// reaches, and prints a table of what was tried, reached and found.
        cmd fuzz {
            /// Names one target, a folder of `tests/fuzz/corpus`. Default: all of them, one after
            /// another.
            optional target: String
            /// Says how long each target runs. Default: 15.
            optional --minutes minutes: f64
            /// Only lints the targets, as continuous integration does.
            optional --check
        }
    }
}

impl Xtask {
    /// Returns what the commands do, as declared above.
    pub fn help() -> &'static str {
        Self::HELP_
    }
}

/// The arguments of a command line of xtask.
#[derive(Debug, PartialEq, Eq)]
pub struct Split {
    /// Holds what xtask reads itself.
    pub own: Vec<OsString>,
    /// Holds what xtask only passes on to `mm`.
    pub passed: Vec<OsString>,
}

/// Parts the arguments of xtask from those it only passes on: what follows `--`, and all that
/// follows `mm` and `bench`.
pub fn split(mut args: Vec<OsString>) -> Split {
    let Some(command) = args.first() else {
        return Split { own: vec!["help".into()], passed: vec![] };
    };
    let passes_all = command == "mm" || command == "bench";
    let border = args.iter().position(|arg| arg == "--");
    let own = if passes_all { 1 } else { border.unwrap_or(args.len()) };
    let mut passed = args.split_off(own);
    if passed.first().is_some_and(|first| first == "--") {
        passed.remove(0);
    }
    Split { own: args, passed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn check_split(line: &str, own: &str, passed: &str) {
        let wanted = Split { own: words(own), passed: words(passed) };
        assert_eq!(split(words(line)), wanted, "{line}");
    }

    #[test]
    fn what_is_meant_for_mm_is_not_read_by_xtask() {
        check_split("", "help", "");
        check_split("test --quick", "test --quick", "");
        check_split("train glyphs -- --steps 5", "train glyphs", "--steps 5");
        check_split("train -- --steps 5", "train", "--steps 5");
        check_split("mm draw m --help", "mm", "draw m --help");
        check_split("mm -- draw -- x", "mm", "draw -- x");
        check_split("bench --json", "bench", "--json");
    }

    #[test]
    fn every_command_says_what_it_does() {
        let commands = [
            "help",
            "train",
            "mm",
            "bench",
            "compare-backends",
            "study",
            "test",
            "ci",
            "tidy",
            "docs",
            "fuzz",
            "web",
        ];
        for command in commands {
            let heading = format!("xtask {command}\n");
            let (_, after) = Xtask::help().split_once(&heading).expect(command);
            assert!(after.starts_with(' '), "{command} has no sentence");
        }
    }

    #[test]
    fn a_misspelled_flag_is_refused_by_name() {
        let error = Xtask::from_vec(words("test --quik")).unwrap_err();
        assert!(error.to_string().contains("--quik"), "{error}");
    }
}
