//! How far two sets of numbers are apart.

use super::numbers::Numbers;

/// The largest differences over all numbers of a check.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Difference {
    /// As it is.
    pub absolute: f64,
    /// As a share of the largest number of the same tensor. A tensor whose numbers nearly cancel is as exact as the terms it is
    /// a sum of, so this largest number counts as at least a hundredth of the largest of the whole check.
    pub relative: f64,
}

/// The difference of what a device found from what was wanted; a reason where the two can't be compared.
pub fn difference(found: &[Numbers], wanted: &[Numbers]) -> Result<Difference, String> {
    if found.len() != wanted.len() {
        return Err(format!("{} tensors, wanted {}", found.len(), wanted.len()));
    }
    let most = wanted.iter().map(largest).fold(0.0, f64::max);
    let mut difference = Difference { absolute: 0.0, relative: 0.0 };
    for (found, wanted) in found.iter().zip(wanted) {
        let name = &wanted.name;
        if found.values.len() != wanted.values.len() {
            let (found, wanted) = (found.values.len(), wanted.values.len());
            return Err(format!("{name}: {found} numbers, wanted {wanted}"));
        }
        let scale = largest(wanted).max(most / 100.0).max(f64::MIN_POSITIVE);
        for (found, wanted) in found.values.iter().zip(&wanted.values) {
            let (Some(found), Some(wanted)) = (found, wanted) else {
                return Err(format!("{name} is not finite"));
            };
            let apart = (found - wanted).abs();
            difference.absolute = difference.absolute.max(apart);
            difference.relative = difference.relative.max(apart / scale);
        }
    }
    Ok(difference)
}

fn largest(numbers: &Numbers) -> f64 {
    numbers.values.iter().flatten().fold(0.0, |most, value| value.abs().max(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[f64]) -> Numbers {
        Numbers::new("x", values.iter().copied())
    }

    fn check(found: &[&[f64]], wanted: &[&[f64]]) -> Result<Difference, String> {
        let all = |tensors: &[&[f64]]| tensors.iter().map(|x| numbers(x)).collect::<Vec<_>>();
        difference(&all(found), &all(wanted))
    }

    #[test]
    fn the_largest_difference_counts_against_the_largest_number_of_its_tensor() {
        let found = check(&[&[1.0, 4.5], &[100.0]], &[&[1.0, 5.0], &[101.0]]).unwrap();
        assert_eq!(found, Difference { absolute: 1.0, relative: 0.1 });
    }

    #[test]
    fn numbers_that_cancel_are_held_to_a_hundredth_of_the_largest() {
        let found = check(&[&[1e-3], &[100.0]], &[&[0.0], &[100.0]]).unwrap();
        assert_eq!(found.relative, 1e-3);
        assert_eq!(check(&[&[0.0]], &[&[0.0]]).unwrap().relative, 0.0);
    }

    #[test]
    fn what_is_missing_or_not_finite_is_no_small_difference() {
        assert!(check(&[&[1.0]], &[&[1.0], &[1.0]]).is_err());
        assert!(check(&[&[1.0]], &[&[1.0, 1.0]]).is_err());
        assert_eq!(check(&[&[f64::NAN]], &[&[1.0]]).unwrap_err(), "x is not finite");
    }
}
