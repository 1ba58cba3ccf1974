//! The image loss by noise level: how well patches are denoised that have little, more, much, and
//! nearly only noise.

/// The number of equal ranges of the factor of the noise, from 0 to 1.
pub const BINS: usize = 4;

/// Holds sums over the target patches of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Levels {
    sums: [f64; BINS],
    counts: [u64; BINS],
}

impl Levels {
    /// Adds patches, each with its unweighted mean squared error and the factor of its noise.
    pub(crate) fn add(&mut self, errors: &[f32], noise: &[f32]) {
        for (error, noise) in errors.iter().zip(noise) {
            let bin = (*noise * BINS as f32).clamp(0.0, BINS as f32 - 1.0) as usize;
            self.sums[bin] += f64::from(*error);
            self.counts[bin] += 1;
        }
    }

    /// Adds the patches of another micro-batch.
    pub(crate) fn merge(&mut self, other: &Self) {
        for bin in 0..BINS {
            self.sums[bin] += other.sums[bin];
            self.counts[bin] += other.counts[bin];
        }
    }

    /// Returns the mean of each range that has a patch; nothing if none has.
    pub(crate) fn means(&self) -> Option<[Option<f64>; BINS]> {
        let mean =
            |bin: usize| (self.counts[bin] > 0).then(|| self.sums[bin] / self.counts[bin] as f64);
        (self.counts != [0; BINS]).then(|| std::array::from_fn(mean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_counts_in_the_part_of_its_noise() {
        let mut levels = Levels::default();
        assert_eq!(levels.means(), None);
        levels.add(&[1.0, 3.0, 5.0], &[0.0, 0.24, 1.0]);
        let mut other = Levels::default();
        other.add(&[7.0], &[0.25]);
        levels.merge(&other);
        assert_eq!(levels.means(), Some([Some(2.0), Some(7.0), None, Some(5.0)]));
    }
}
