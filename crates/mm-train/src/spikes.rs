//! Spikes: losses far above the latest ones. The latest losses are part of a checkpoint, so a
//! resumed run skips the same steps.

use serde::{Deserialize, Serialize};

/// The number of losses that the median is taken over.
const REMEMBERED: usize = 32;
/// The number of losses that must be known before one can be called a spike.
const KNOWN: u64 = 16;

/// Holds the losses of the latest updates.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikeDetector {
    /// A ring of losses.
    losses: [f64; REMEMBERED],
    /// The number of losses ever put into the ring.
    known: u64,
}

impl SpikeDetector {
    /// Remembers the finite loss of a step that was taken.
    pub(crate) fn took(&mut self, loss: f64) {
        self.losses[(self.known % REMEMBERED as u64) as usize] = loss;
        self.known += 1;
    }

    /// Says whether a loss is above `factor` times the median of the latest; never with a factor of
    /// 0 or too few losses.
    pub(crate) fn is_spike(&self, loss: f64, factor: f64) -> bool {
        if factor <= 0.0 || self.known < KNOWN {
            return false;
        }
        let mut sorted = self.losses;
        let sorted = &mut sorted[..REMEMBERED.min(self.known as usize)];
        sorted.sort_by(f64::total_cmp);
        loss > factor * sorted[sorted.len() / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_is_far_above_the_median_of_the_latest_losses() {
        let mut spikes = SpikeDetector::default();
        for count in 0..200 {
            let spike = spikes.is_spike(100.0, 3.0);
            assert_eq!(spike, count >= KNOWN, "after {count} losses");
            spikes.took(1.0 + (count % 7) as f64 * 0.1);
        }
        assert!(!spikes.is_spike(3.8, 3.0) && spikes.is_spike(4.0, 3.0)); // the median is 1.3
        assert!(!spikes.is_spike(1e9, 0.0), "0 turns it off");
        for _ in 0..REMEMBERED {
            spikes.took(10.0);
        }
        assert!(!spikes.is_spike(25.0, 3.0), "old losses are forgotten");
    }
}
