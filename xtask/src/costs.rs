//! What the commands cost in minutes and in disk space, so that they can say it before they begin.
//!
//! The numbers are measured and not estimated; one that is `None` is left out. To measure, run the
//! command in a fresh clone for `first`, and again after a small change for `later`: the table at
//! its end has the times, and `du -sh target` the space.

use xshell::{Shell, cmd};

/// Says on which machine and on which day the numbers below were measured; `None` until they are.
const MEASURED: Option<&str> = Some("two cores of an x86-64 server, 2026-11-29");

/// Minutes of one step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Minutes {
    /// Counts where nothing is built yet, after the steps before it.
    pub first: Option<f64>,
    /// Counts where everything is built and one crate has changed.
    pub later: Option<f64>,
}

/// Holds the minutes of every step of `cargo xtask test` and `cargo xtask ci`, by name.
const STEPS: &[(&str, Minutes)] = &[
    ("format", Minutes { first: Some(0.01), later: None }),
    ("tidy", Minutes { first: Some(0.02), later: None }),
    ("clippy", Minutes { first: Some(4.9), later: None }),
    ("tests", Minutes { first: Some(30.4), later: None }),
    ("doc tests", Minutes { first: Some(0.4), later: None }),
    ("documentation", Minutes { first: Some(0.9), later: None }),
    ("ranks", Minutes { first: Some(1.5), later: None }),
    ("no backend", Minutes { first: Some(0.5), later: None }),
    ("backends", Minutes { first: Some(1.4), later: None }),
    ("tests on wgpu", Minutes { first: Some(1.0), later: None }),
    ("fuzzing", Minutes { first: None, later: None }),
    ("all backends", Minutes { first: Some(5.5), later: None }),
    ("packages", Minutes { first: Some(0.6), later: None }),
    ("web", Minutes { first: None, later: None }),
];

/// Is the disk space of `target` after all steps of `cargo xtask test`, in GiB.
pub const TEST_DISK: Option<f64> = None;

/// Is the disk space of `target` after the steps of `cargo xtask test --quick`, in GiB.
pub const QUICK_TEST_DISK: Option<f64> = None;

/// Is the time of building the release program with its default features.
pub const RELEASE_BUILD: Minutes = Minutes { first: Some(10.1), later: None };

/// Is the disk space of `target` after building the release program, in GiB.
pub const RELEASE_DISK: Option<f64> = Some(1.9);

/// Returns the minutes of a step; a step without a row is one that nobody has measured.
pub fn of_step(name: &str) -> Minutes {
    STEPS.iter().find(|(row, _)| *row == name).map(|(_, minutes)| *minutes).unwrap_or_default()
}

/// Adds up the minutes that were measured.
pub fn sum(minutes: impl Iterator<Item = Minutes>) -> Minutes {
    let add = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    };
    minutes.fold(Minutes::default(), |sum, of| Minutes {
        first: add(sum.first, of.first),
        later: add(sum.later, of.later),
    })
}

/// Spells minutes, as in `0.5 min`; what was not measured is empty.
pub fn minutes(measured: Option<f64>) -> String {
    measured.map_or(String::new(), |measured| format!("{measured:.1} min"))
}

/// Says in a sentence what the folder of builds takes, if that was measured.
pub fn disk(measured: Option<f64>) -> String {
    let spell = |measured| format!("`target` takes {measured:.1} GiB of disk space.");
    measured.map_or(String::new(), spell)
}

/// Returns the GiB that are free where the builds go, if the system says so.
pub fn free_disk(sh: &Shell) -> Option<f64> {
    let said = cmd!(sh, "df -Pk .").quiet().ignore_stderr().read().ok()?;
    kilobytes_free(&said).map(|free| free / 1024.0 / 1024.0)
}

/// Reads the answer of `df -Pk`: a heading, and a line of name, size, used and free.
fn kilobytes_free(said: &str) -> Option<f64> {
    said.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

/// Says in a sentence where the numbers come from.
pub fn measured() -> String {
    let spell = |machine| format!("The numbers were measured on {machine}; yours will differ.");
    MEASURED.map_or(String::new(), spell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_belongs_to_a_step() {
        let names: Vec<&str> = crate::ci::all_steps().map(|step| step.name).collect();
        for (row, _) in STEPS {
            assert!(names.contains(row), "`{row}` is no step of {names:?}");
        }
        for name in names {
            assert!(STEPS.iter().any(|(row, _)| *row == name), "`{name}` has no row");
        }
    }

    #[test]
    fn free_space_is_the_fourth_column() {
        let said = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                    /dev/vda 263174212 74448896 22020096 78% /\n";
        assert_eq!(kilobytes_free(said), Some(22020096.0));
        assert_eq!(kilobytes_free("df: no such file"), None);
    }

    #[test]
    fn what_was_not_measured_is_left_out_of_a_sum_and_of_the_words() {
        let of = |first, later| Minutes { first, later };
        let parts = [of(Some(1.0), None), of(None, None), of(Some(2.04), None)];
        assert_eq!(sum(parts.into_iter()), of(Some(3.04), None));
        assert_eq!(minutes(Some(2.04)), "2.0 min");
        assert_eq!([minutes(None), disk(None)], ["", ""]);
    }
}
