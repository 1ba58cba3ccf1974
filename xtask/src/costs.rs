//! What the commands cost in minutes and in disk space, so that they can say it before they begin.
//!
//! The numbers are measured and not estimated: where one is `None`, the command says that nobody
//! has measured it. To measure, run the command in a fresh clone for `first`, and again after a
//! small change for `later`: the table at its end has the times, and `du -sh target` the space.

/// Says on which machine and on which day the numbers below were measured; `None` until they are.
const MEASURED: Option<&str> = Some("two cores of an Intel Xeon with AVX-512, 2026-11-29");

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
    ("format", Minutes { first: None, later: None }),
    ("tidy", Minutes { first: None, later: None }),
    ("clippy", Minutes { first: None, later: None }),
    ("tests", Minutes { first: None, later: None }),
    ("doc tests", Minutes { first: None, later: None }),
    ("documentation", Minutes { first: None, later: None }),
    ("ranks", Minutes { first: None, later: None }),
    ("no backend", Minutes { first: None, later: None }),
    ("backends", Minutes { first: None, later: None }),
    ("tests on wgpu", Minutes { first: None, later: None }),
    ("fuzzing", Minutes { first: None, later: None }),
    ("all backends", Minutes { first: None, later: None }),
    ("packages", Minutes { first: None, later: None }),
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

/// Adds up minutes; one that was not measured leaves the sum unknown.
pub fn sum(minutes: impl Iterator<Item = Minutes>) -> Minutes {
    let zero = Minutes { first: Some(0.0), later: Some(0.0) };
    let add = |one: Option<f64>, other: Option<f64>| Some(one? + other?);
    minutes.fold(zero, |sum, of| Minutes {
        first: add(sum.first, of.first),
        later: add(sum.later, of.later),
    })
}

/// Spells minutes, as in `0.5 min`; `?` stands for what was not measured.
pub fn minutes(measured: Option<f64>) -> String {
    measured.map_or("?".to_owned(), |measured| format!("{measured:.1} min"))
}

/// Says in a sentence what the folder of builds takes.
pub fn disk(measured: Option<f64>) -> String {
    let spell = |measured| format!("`target` takes {measured:.1} GiB of disk space.");
    measured.map_or("Nobody has measured the disk space of `target` yet.".to_owned(), spell)
}

/// Says in a sentence where the numbers come from.
pub fn measured() -> String {
    let spell = |machine| format!("The numbers were measured on {machine}; yours will differ.");
    MEASURED.map_or("Other machines will differ.".to_owned(), spell)
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
    fn a_sum_with_an_unknown_part_is_unknown() {
        let of = |first: f64, later| Minutes { first: Some(first), later };
        let known = sum([of(1.0, Some(0.5)), of(2.0, Some(1.0))].into_iter());
        assert_eq!(known, of(3.0, Some(1.5)));
        assert_eq!(sum([of(1.0, Some(0.5)), of(2.0, None)].into_iter()), of(3.0, None));
        assert_eq!((minutes(Some(2.04)), minutes(None)), ("2.0 min".to_owned(), "?".to_owned()));
    }
}
