//! Ways down the step indices other than [`Schedule::sampling_levels`]: with the stride of the seed's `ddim.py`, or from a given
//! index.

use crate::{DiffusionError, Level, Schedule};

impl Schedule {
    /// Every `stride`-th index from 0, noisiest first: a stride of 100 goes from 900 to 0, one of 300 too.
    ///
    /// ```
    /// use mm_diffusion::Schedule;
    /// let seed = Schedule::Su2024 { steps: 1000 };
    /// assert_eq!(seed.strided_levels(100)?, seed.sampling_levels(10)?);
    /// assert_eq!(seed.strided_levels(300)?.len(), 4);
    /// # Ok::<(), mm_diffusion::DiffusionError>(())
    /// ```
    pub fn strided_levels(&self, stride: usize) -> Result<Vec<Level>, DiffusionError> {
        let all = self.steps().ok_or(DiffusionError::NoIndices)?;
        if stride == 0 || stride > all {
            return Err(DiffusionError::Stride { found: stride, most: all });
        }
        Ok((0..all).step_by(stride).rev().map(|index| self.level(index as f64)).collect())
    }

    /// `steps` indices from `start` down to 0, evenly spread; a single step is `start` alone.
    pub fn levels_from(&self, start: usize, steps: usize) -> Result<Vec<Level>, DiffusionError> {
        let all = self.steps().ok_or(DiffusionError::NoIndices)?;
        if steps == 0 || steps > all {
            return Err(DiffusionError::Steps { found: steps, most: all });
        }
        if start >= all || start + 1 < steps {
            return Err(DiffusionError::Start { found: start, least: steps - 1, most: all - 1 });
        }
        let index = |i: usize| if steps == 1 { start } else { i * start / (steps - 1) };
        Ok((0..steps).rev().map(|i| self.level(index(i) as f64)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SU2024: Schedule = Schedule::Su2024 { steps: 1000 };

    fn times(levels: Result<Vec<Level>, DiffusionError>) -> Vec<f64> {
        levels.unwrap().iter().map(|level| level.timestep).collect()
    }

    #[test]
    fn levels_from_an_index_begin_there_and_end_at_zero() {
        assert_eq!(times(SU2024.levels_from(900, 10)), times(SU2024.strided_levels(100)));
        assert_eq!(times(SU2024.levels_from(999, 4)), [999.0, 666.0, 333.0, 0.0]);
        assert_eq!(times(SU2024.levels_from(499, 500)).len(), 500);
        assert_eq!(times(SU2024.levels_from(7, 1)), [7.0]);
        assert_eq!(times(SU2024.levels_from(3, 4)), [3.0, 2.0, 1.0, 0.0]);
    }

    #[test]
    fn a_stride_visits_what_numpys_slice_visits() {
        assert_eq!(times(SU2024.strided_levels(300)), [900.0, 600.0, 300.0, 0.0]);
        assert_eq!(times(SU2024.strided_levels(1)), times(SU2024.sampling_levels(1000)));
    }

    #[test]
    fn what_is_no_index_is_refused_with_the_range() {
        let refused = |start, steps| SU2024.levels_from(start, steps).unwrap_err().to_string();
        assert_eq!(refused(1000, 10), "the start index is 1000, wanted 9 to 999");
        assert_eq!(refused(8, 10), "the start index is 8, wanted 9 to 999");
        assert_eq!(refused(8, 0), "`steps` is 0, wanted 1 to 1000");
        let refused = |stride| SU2024.strided_levels(stride).unwrap_err().to_string();
        assert_eq!(refused(0), "`stride` is 0, wanted 1 to 1000");
        assert_eq!(refused(1001), "`stride` is 1001, wanted 1 to 1000");
        assert_eq!(Schedule::Linear.strided_levels(1), Err(DiffusionError::NoIndices));
    }
}
