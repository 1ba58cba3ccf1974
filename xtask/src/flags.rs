//! The commands and their flags. The doc comments here are what `cargo xtask help` prints.

use std::{ffi::OsString, path::PathBuf};

xflags::xflags! {
    /// The automation of the `mm` workspace.
    cmd xtask {
        /// Says what each command does.
        cmd help {}

        /// Builds the release program and trains a recipe into a fresh folder under `runs`.
        ///
        /// What stands after `--` goes to `mm train` as it is.
        cmd train {
            /// Name of a recipe, or the path of one from the workspace's folder. Default: `glyphs`.
            optional recipe: String
            /// Where to compute: flex (the processor, default), vulkan, wgpu, metal or cuda; `cuda:1` is the second one.
            optional --device device: String
        }

        /// Builds the release program and runs `mm` with all that follows.
        cmd mm {}

        /// Builds the release program and times every shape of `mm bench` at one and at two threads; with arguments, runs `mm
        /// bench` with them.
        ///
        /// `--against-torch` times PyTorch on the same shapes, turn by turn, and prints how many times as fast `mm` is;
        /// with it go `--shape NAME`, `--rounds N`, `--steps N` and `--python FILE` for one that has PyTorch already.
        cmd bench {}

        /// Holds every device to the same numbers: builds with the features that the devices need and runs `mm compare-backends`.
        ///
        /// On a machine with an NVIDIA card: `cargo xtask compare-backends --devices flex,cuda:0 --with fusion,autotune`.
        cmd compare-backends {
            /// What to compare, parted by commas, such as `flex,wgpu:cpu,vulkan,cuda:0`. Default: all that the feature `wgpu` finds.
            optional --devices devices: String
            /// Ways of computing that Burn leaves to a feature, parted by commas: each is one more build, whose rows come below the
            /// others. `fusion`, `autotune`, or both in one build, `fusion+autotune`.
            optional --with ways: String
            /// Also write the table as JSON.
            optional --json file: PathBuf
            /// Also write the table as Markdown, under date and versions.
            optional --markdown file: PathBuf
            /// Instead of the table: the losses of N training steps on every device, written as CSV and drawn.
            optional --losses steps: u64
            /// Where `--losses` writes: FILE.csv and FILE.svg.
            optional --out file: PathBuf
            /// Build nothing: take the program that the tests have built.
            optional --as-tested
            /// Build for speed. The default shares what the tests have built.
            optional --release
        }

        /// Measures what the article says: `cargo xtask study convergence --judge FILE.onnx` trains networks, targets and patches,
        /// judges them by KID, and writes a page with tables, curves and drawings. One that was stopped goes on.
        cmd study {
            /// Which study: `convergence`.
            required name: String
            /// The network that judges; settings in FILE.toml beside it (docs/evaluation.md).
            optional --judge file: PathBuf
            /// About how long to take, in minutes: decides the steps of every run. Default: 150.
            optional --minutes minutes: f64
            /// A folder of pictures. Default: the emoji.
            optional --data folder: PathBuf
            /// Where the page goes. Default: `docs/studies/convergence`.
            optional --out folder: PathBuf
            /// Where to compute. Default: flex.
            optional --device device: String
            /// Write the page again from what was found, without computing anything.
            optional --page
        }

        /// Runs everything that a change must pass, and says what each step took.
        cmd test {
            /// Leaves out what a change seldom breaks: documentation and the build without a backend.
            optional --quick
        }

        /// What continuous integration runs: optional system packages if the system has a script for them, then `test`, the type
        /// check of every backend, and the comparison of the backends that run here.
        cmd ci {}

        /// Checks the rules of the workspace that no compiler knows; names file and line of each breach.
        cmd tidy {}
    }
}

impl Xtask {
    /// What the commands do, as declared above.
    pub fn help() -> &'static str {
        Self::HELP_
    }
}

/// Parts the arguments of xtask from those it only passes on: what follows `--`, and all that follows `mm` and `bench`.
pub fn split(mut args: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let Some(command) = args.first() else {
        return (vec!["help".into()], Vec::new());
    };
    let passes_all = command == "mm" || command == "bench";
    let border = args.iter().position(|arg| arg == "--");
    let own = if passes_all { 1 } else { border.unwrap_or(args.len()) };
    let mut passed = args.split_off(own);
    if passed.first().is_some_and(|first| first == "--") {
        passed.remove(0);
    }
    (args, passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn check_split(line: &str, own: &str, passed: &str) {
        assert_eq!(split(words(line)), (words(own), words(passed)), "{line}");
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
        for command in
            ["help", "train", "mm", "bench", "compare-backends", "study", "test", "ci", "tidy"]
        {
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
