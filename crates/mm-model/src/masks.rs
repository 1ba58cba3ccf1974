//! Masks over the codes of an image, where they are drawn in no fixed order: several at once, each
//! time at places drawn anew, as in MAR (Li et al. 2024, arXiv:2406.11838) and MaskGIT (Chang et
//! al. 2022, arXiv:2202.04200).

use std::f64::consts::FRAC_PI_2;
use std::ops::Range;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// The least share of an image that is masked in training.
const LEAST_SHARE: f64 = 0.7;
/// How far shares spread below 1, as a standard deviation.
const SPREAD: f64 = 0.25;

/// Draws which of `places` are masked in training, at least one. Their share is that of MAR: a
/// normal distribution around 1 with a deviation of 0.25, of which 0.7 to 1 is left.
pub(crate) fn training_mask(places: usize, rng: &mut ChaCha8Rng) -> Vec<bool> {
    let share = loop {
        let normal: f64 = StandardNormal.sample(rng);
        let share = 1.0 - SPREAD * normal.abs();
        if share >= LEAST_SHARE {
            break share;
        }
    };
    let hidden = (share * places as f64).ceil() as usize;
    let mut mask = vec![false; places];
    for place in shuffled(places, rng).into_iter().take(hidden) {
        mask[place] = true;
    }
    mask
}

/// Draws an order of `places`, all equally likely.
pub(crate) fn shuffled(places: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..places).collect();
    order.shuffle(rng);
    order
}

/// Returns which places of an order each step draws. After step `s` of `S`, the first counted 1,
/// `cos(π/2 s/S)` of them are left; every step draws one at least, so that there are no more steps
/// than places.
pub(crate) fn unmasking(places: usize, steps: usize) -> Vec<Range<usize>> {
    let steps = steps.clamp(1, places.max(1));
    let mut drawn = 0;
    let step = |step: usize| {
        let share = (FRAC_PI_2 * step as f64 / steps as f64).cos();
        // One place is kept for every later step, and the last leaves none.
        let left = if step == steps { 0 } else { (share * places as f64).floor() as usize };
        let end = (places - left).max(drawn + 1).min(places - (steps - step));
        let range = drawn..end;
        drawn = end;
        range
    };
    (1..=steps).map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    proptest! {
        #[test]
        fn the_steps_draw_every_place_once_and_none_draws_nothing(
            places in 1usize..300,
            steps in 1usize..400,
        ) {
            let ranges = unmasking(places, steps);
            prop_assert_eq!(ranges.len(), steps.min(places));
            let mut next = 0;
            for range in ranges {
                prop_assert_eq!(range.start, next);
                prop_assert!(range.end > range.start);
                next = range.end;
            }
            prop_assert_eq!(next, places);
        }

        #[test]
        fn a_mask_of_training_hides_seven_tenths_or_more(places in 1usize..200, seed: u64) {
            let mask = training_mask(places, &mut ChaCha8Rng::seed_from_u64(seed));
            let hidden = mask.iter().filter(|hidden| **hidden).count();
            prop_assert_eq!(mask.len(), places);
            prop_assert!(hidden as f64 >= LEAST_SHARE * places as f64);
        }
    }

    /// The values are those of the formula, in MAR's arithmetic.
    #[test]
    fn ten_steps_draw_few_places_first_and_many_last() {
        let ends: Vec<usize> = unmasking(64, 10).into_iter().map(|range| range.end).collect();
        assert_eq!(ends, [1, 4, 7, 13, 19, 27, 35, 45, 54, 64]);
    }

    /// The mean of a half normal distribution of deviation s that is cut at c is
    /// s √(2/π) (1 - e^{-c²/2s²}) / erf(c / s√2): 0.1330 for 0.25 and 0.3.
    #[test]
    fn the_mean_share_of_training_masks_is_that_of_a_truncated_normal_distribution() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let hidden = |rng: &mut _| training_mask(1000, rng).iter().filter(|one| **one).count();
        let mean = (0..4000).map(|_| hidden(&mut rng)).sum::<usize>() as f64 / 4000.0 / 1000.0;
        assert!((mean - 0.8670).abs() < 0.005, "{mean}");
    }
}
