//! The rows of the comparison, and their Markdown.

use super::numbers::Difference;
use super::worker::Measured;

/// The first two lines of the table.
pub const HEADING: &str = "\
| device | check | largest difference | relative | tolerance | result | first time, s | again, s | same bits again | peak MiB | held MiB |
| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | --- | ---: | ---: |";

/// One check on one device.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    device: String,
    check: &'static str,
    difference: Option<Difference>,
    /// The largest relative difference that passes.
    tolerance: f64,
    seconds: Option<f64>,
    again: Option<f64>,
    repeats: Option<bool>,
    peak_mib: Option<f64>,
    held_mib: Option<f64>,
    /// Whether the device lacks the type in which the check computes.
    lacks: bool,
    /// Why there is no difference.
    failure: Option<String>,
}

impl Row {
    /// Makes a row without results.
    pub fn new(device: String, check: &'static str, tolerance: f64) -> Self {
        Self {
            device,
            check,
            difference: None,
            tolerance,
            seconds: None,
            again: None,
            repeats: None,
            peak_mib: None,
            held_mib: None,
            lacks: false,
            failure: None,
        }
    }

    /// Adds a measurement and its difference from the reference.
    pub fn compared(self, measured: &Measured, difference: Result<Difference, String>) -> Self {
        Self {
            difference: difference.as_ref().ok().copied(),
            seconds: Some(measured.seconds),
            again: Some(measured.again),
            repeats: Some(measured.repeats),
            peak_mib: measured.peak_mib,
            held_mib: measured.held_mib,
            failure: difference.err(),
            ..self
        }
    }

    /// Makes this the row of a check that gave nothing.
    pub fn failed(self, why: &str) -> Self {
        Self { failure: Some(why.to_owned()), ..self }
    }

    /// Makes this the row of a check in a type that the device lacks.
    pub fn lacking(self) -> Self {
        Self { lacks: true, ..self }
    }

    /// Returns whether the difference is small enough, or the device lacks the type.
    pub fn passed(&self) -> bool {
        self.lacks
            || self.difference.is_some_and(|difference| difference.relative <= self.tolerance)
    }
}

/// Writes the row as a line of Markdown.
pub fn line(row: &Row) -> String {
    let small = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1e}"));
    let plain = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let whole = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
    let result = match &row.failure {
        Some(why) => format!("**failed**: {}", why.replace('|', "/")),
        None if row.lacks => "device lacks the type".to_owned(),
        None if row.passed() => "passed".to_owned(),
        None => "**failed**".to_owned(),
    };
    let cells = [
        row.device.clone(),
        row.check.to_owned(),
        small(row.difference.map(|difference| difference.absolute)),
        small(row.difference.map(|difference| difference.relative)),
        small(Some(row.tolerance)),
        result,
        plain(row.seconds),
        plain(row.again),
        row.repeats.map_or("-", |repeats| if repeats { "yes" } else { "no" }).to_owned(),
        whole(row.peak_mib),
        whole(row.held_mib),
    ];
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            check: 0,
            lacks: false,
            results: vec![],
            seconds: 1.25,
            again: 0.5,
            repeats: true,
            peak_mib: Some(99.6),
            held_mib: None,
        }
    }

    fn row(difference: Result<Difference, String>) -> Row {
        Row::new("flex".to_owned(), "RMSNorm", 1e-5).compared(&measured(), difference)
    }

    #[test]
    fn a_row_passes_only_within_its_tolerance() {
        let at = |relative| row(Ok(Difference { absolute: 2e-7, relative }));
        assert!(at(1e-5).passed());
        assert!(!at(1.1e-5).passed());
        assert!(!row(Err("x is not finite".to_owned())).passed());
        assert!(!Row::new("flex".to_owned(), "RMSNorm", 1e-5).passed());
        assert!(Row::new("flex".to_owned(), "f16", 1e-5).lacking().passed());
    }

    #[test]
    fn a_row_reads_as_a_line_of_markdown() {
        assert_eq!(
            line(&row(Ok(Difference { absolute: 2e-7, relative: 3e-6 }))),
            "| flex | RMSNorm | 2.0e-7 | 3.0e-6 | 1.0e-5 | passed | 1.25 | 0.50 | yes | 100 | - |"
        );
        let crashed = Row::new("vulkan:cpu".to_owned(), "RMSNorm", 1e-5).failed("signal: 11");
        assert_eq!(
            line(&crashed),
            "| vulkan:cpu | RMSNorm | - | - | 1.0e-5 | **failed**: signal: 11 | - | - | - | - | - |"
        );
    }
}
