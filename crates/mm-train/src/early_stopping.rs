//! What a run remembers about itself: the latest losses, the best measurement on held-out documents, whether it was rolled back.
//!
//! Everything here is part of a checkpoint, so a resumed run judges as an uninterrupted one would have.

use serde::{Deserialize, Serialize};

use crate::recipe::RunConfig;
use crate::validate::Validation;

/// Losses that the median is taken over.
const REMEMBERED: usize = 32;
/// Losses that must be known before one can be called a spike.
const KNOWN: u64 = 16;
/// What the rate is multiplied by when a run is rolled back.
const SMALLER_RATE: f64 = 0.5;

/// The memory of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Losses of the latest updates, in a ring.
    losses: [f64; REMEMBERED],
    /// Losses ever put into the ring.
    known: u64,
    /// The lowest measurement so far.
    best: Option<Best>,
    /// Measurements since then.
    since_best: u64,
    /// What the recipe's rate is multiplied by.
    rate: f64,
    /// Whether the one roll-back of a run was used.
    rolled_back: bool,
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

/// A number of a measurement on held-out documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestBy {
    /// No best checkpoint is kept; patience goes by the loss.
    #[default]
    None,
    /// The terms that there are, with the recipe's factors.
    Loss,
    /// The cross-entropy of captions.
    Text,
    /// The squared error of patches.
    Image,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            losses: [0.0; REMEMBERED],
            known: 0,
            best: None,
            since_best: 0,
            rate: 1.0,
            rolled_back: false,
        }
    }
}

impl Watch {
    /// Remembers the finite loss of a step that was taken.
    pub(crate) fn took(&mut self, loss: f64) {
        self.losses[(self.known % REMEMBERED as u64) as usize] = loss;
        self.known += 1;
    }

    /// Whether a loss is above `factor` times the median of the latest; never with a factor of 0 or too few losses.
    pub(crate) fn is_spike(&self, loss: f64, factor: f64) -> bool {
        if factor <= 0.0 || self.known < KNOWN {
            return false;
        }
        let mut sorted = self.losses;
        let sorted = &mut sorted[..REMEMBERED.min(self.known as usize)];
        sorted.sort_by(f64::total_cmp);
        loss > factor * sorted[sorted.len() / 2]
    }

    /// Compares a measurement with the lowest so far; whether it is lower.
    pub(crate) fn measured(&mut self, found: &Validation, by: BestBy) -> bool {
        let number = found.number(by).unwrap_or(f64::NAN);
        let better = number.is_finite() && self.best.is_none_or(|best| number < best.number);
        if better {
            self.best = Some(Best { step: found.step, number });
        }
        self.since_best = if better { 0 } else { self.since_best + 1 };
        better
    }

    /// Whether so many measurements brought no gain that the run should end.
    pub fn is_stalled(&self, run: &RunConfig) -> bool {
        run.patience > 0 && self.since_best >= run.patience
    }

    /// The lowest measurement so far.
    pub fn best(&self) -> Option<Best> {
        self.best
    }

    /// What the recipe's rate is multiplied by.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether the run was rolled back already.
    pub fn rolled_back(&self) -> bool {
        self.rolled_back
    }

    /// Notes the roll-back, from which on the rate is smaller.
    pub(crate) fn roll_back(&mut self) {
        self.rolled_back = true;
        self.rate *= SMALLER_RATE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm_eval::HeldOutLosses;

    #[test]
    fn a_spike_is_far_above_the_median_of_the_latest_losses() {
        let mut watch = Watch::default();
        for count in 0..200 {
            let spike = watch.is_spike(100.0, 3.0);
            assert_eq!(spike, count >= KNOWN, "after {count} losses");
            watch.took(1.0 + (count % 7) as f64 * 0.1);
        }
        assert!(!watch.is_spike(3.8, 3.0) && watch.is_spike(4.0, 3.0)); // the median is 1.3
        assert!(!watch.is_spike(1e9, 0.0), "0 turns it off");
        for _ in 0..REMEMBERED {
            watch.took(10.0);
        }
        assert!(!watch.is_spike(25.0, 3.0), "old losses are forgotten");
    }

    #[test]
    fn the_lowest_measurement_is_kept_and_patience_counts_from_it() {
        let mut watch = Watch::default();
        let run: RunConfig = toml::from_str(
            "steps = 9\nbatch = 1\nshards = 1\nrow_tokens = 0\ncheckpoint_every = 9\nkeep = 1\nsample_every = 9\n\
             validate_every = 1\npatience = 2",
        )
        .unwrap();
        let mut measure = |step, text| {
            let (text, image) = (Some(text), Some(1.0));
            let terms = HeldOutLosses { text, bits_per_byte: None, image, documents: 1 };
            let found = Validation { step, loss: 9.0, terms };
            (watch.measured(&found, BestBy::Text), watch.is_stalled(&run))
        };
        assert_eq!(measure(1, 2.0), (true, false));
        assert_eq!(measure(2, 2.5), (false, false));
        assert_eq!(measure(3, 1.0), (true, false));
        assert_eq!(measure(4, f64::NAN), (false, false));
        assert_eq!(measure(5, 1.0), (false, true));
        assert_eq!(watch.best(), Some(Best { step: 3, number: 1.0 }));
    }
}
