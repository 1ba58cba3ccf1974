//! The integer repair of rounded pixels.

use std::ops::RangeInclusive;

/// Moves bytes by single levels until the sum of `weights * bytes` lies in `range`, always the one
/// that `exact` wants to go furthest that way. The range must hold as many integers as the largest
/// weight, so that no move jumps over it, and it must meet the sums of all bytes.
pub(super) fn into_range(
    bytes: &mut [u8],
    exact: &[f64],
    weights: &[i64],
    range: &RangeInclusive<i64>,
) {
    let mut sum: i64 =
        bytes.iter().zip(weights).map(|(&byte, weight)| i64::from(byte) * weight).sum();
    while !range.contains(&sum) {
        let up = sum < *range.start();
        let movable = (0..bytes.len()).filter(|&at| bytes[at] != if up { 255 } else { 0 });
        let wish = |at: usize| {
            let ahead = exact[at] - f64::from(bytes[at]);
            if up { ahead } else { -ahead }
        };
        let Some(at) = movable.max_by(|&a, &b| wish(a).total_cmp(&wish(b))) else { return };
        if up {
            bytes[at] += 1;
            sum += weights[at];
        } else {
            bytes[at] -= 1;
            sum -= weights[at];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_that_were_rounded_furthest_away_are_moved() {
        let mut bytes = [10, 10, 10, 0];
        into_range(&mut bytes, &[10.4, 10.1, 9.6, 0.0], &[1; 4], &(32..=40));
        assert_eq!(bytes, [11, 11, 10, 0]);
        into_range(&mut bytes, &[10.4, 10.1, 9.6, 0.0], &[1; 4], &(20..=30));
        assert_eq!(bytes, [10, 10, 10, 0]);
    }

    proptest! {
        #[test]
        fn every_range_that_bytes_can_reach_is_reached(
            bytes in proptest::collection::vec(any::<u8>(), 3),
            wanted: u8,
        ) {
            let weights = [19_595, 38_470, 7_471];
            let exact: Vec<f64> = bytes.iter().map(|&byte| f64::from(byte)).collect();
            let mut bytes = bytes;
            let middle = 65_536 * i64::from(wanted);
            into_range(&mut bytes, &exact, &weights, &(middle - 32_768..=middle + 32_767));
            let sum: i64 = bytes.iter().zip(weights).map(|(&b, w)| i64::from(b) * w).sum();
            prop_assert_eq!((sum + 32_768) / 65_536, i64::from(wanted));
        }
    }
}
