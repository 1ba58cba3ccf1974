//! Early stopping: the lowest measurement on held-out documents so far, and how many measurements
//! ago it was. It is part of a checkpoint, so a resumed run ends where an uninterrupted one would.

use serde::{Deserialize, Serialize};

/// The memory of measurements on held-out documents.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    best: Option<Best>,
    /// The number of measurements since the best one.
    since_best: u64,
}

/// The lowest measurement on held-out documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The step after which it was taken.
    pub step: u64,
    /// The number that `run.best` names.
    pub number: f64,
}

impl EarlyStopping {
    /// Compares the number of a measurement with the lowest so far, and says whether it is lower.
    pub(crate) fn measured(&mut self, step: u64, number: Option<f64>) -> bool {
        let number = number.unwrap_or(f64::NAN);
        let better = number.is_finite() && self.best.is_none_or(|best| number < best.number);
        if better {
            self.best = Some(Best { step, number });
        }
        self.since_best = if better { 0 } else { self.since_best + 1 };
        better
    }

    /// Says whether `patience` measurements in a row were not the lowest; never with a patience of
    /// 0.
    pub fn is_due(&self, patience: u64) -> bool {
        patience > 0 && self.since_best >= patience
    }

    /// Returns the lowest measurement so far.
    pub fn best(&self) -> Option<Best> {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_measurement_is_kept_and_patience_counts_from_it() {
        let mut stopping = EarlyStopping::default();
        let mut measure = |step, number| {
            (stopping.measured(step, Some(number)), stopping.is_due(2), stopping.is_due(0))
        };
        assert_eq!(measure(1, 2.0), (true, false, false));
        assert_eq!(measure(2, 2.5), (false, false, false));
        assert_eq!(measure(3, 1.0), (true, false, false));
        assert_eq!(measure(4, f64::NAN), (false, false, false));
        assert_eq!(measure(5, 1.0), (false, true, false));
        assert_eq!(stopping.best(), Some(Best { step: 3, number: 1.0 }));
    }
}
