//! This module gives a share of counted things with its interval.

use std::fmt;

use serde::Serialize;

/// The quantile of the standard normal distribution that leaves 2.5 % above.
pub(crate) const Z: f64 = 1.959_963_984_540_054;

/// A share of `of` things with its 95 % interval (Wilson 1927; Brown, Cai and DasGupta 2001 compare
/// it with others). Unlike `p ± 1.96 √(p (1 - p) / n)`, it stays within 0 and 1 and does not shrink
/// to nothing where all or none are right.
///
/// ```
/// use mm_eval::Share;
///
/// let share = Share::new(297, 300);
/// assert_eq!(share.to_string(), "297 of 300 (99.0 %, 95 % interval 97.1 to 99.7 %)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// The number of things that count.
    pub right: usize,
    /// The number of all things.
    pub of: usize,
    /// The share, 0 to 1; 0 of none.
    pub value: f64,
    /// The lower end of the interval; 0 of none.
    pub low: f64,
    /// The upper end of the interval; 1 of none.
    pub high: f64,
}

impl Share {
    /// Returns the share of `right` among `of` things, with its interval:
    ///
    /// ```text
    /// (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n)
    /// ```
    pub fn new(right: usize, of: usize) -> Self {
        let value = if of == 0 { 0.0 } else { right as f64 / of as f64 };
        let Interval { low, high } = Self::of_rate(value, of as f64);
        Self { right, of, value, low, high }
    }

    /// Returns the interval of a rate that was found among `n` independent things, a number that
    /// need not be whole; from 0 to 1 if there are none.
    pub(crate) fn of_rate(rate: f64, n: f64) -> Interval {
        if n <= 0.0 {
            return Interval { low: 0.0, high: 1.0 };
        }
        let (p, square) = (rate, Z * Z / n);
        let half = Z * (p * (1.0 - p) / n + square / (4.0 * n)).sqrt();
        let end = |sign: f64| ((p + square / 2.0 + sign * half) / (1.0 + square)).clamp(0.0, 1.0);
        Interval { low: end(-1.0), high: end(1.0) }
    }
}

/// The ends of a 95 % interval.
pub(crate) struct Interval {
    /// The lower end, 0 to 1.
    pub(crate) low: f64,
    /// The upper end, 0 to 1.
    pub(crate) high: f64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { right, of, .. } = self;
        let [value, low, high] = [self.value, self.low, self.high].map(|share| 100.0 * share);
        write!(f, "{right} of {of} ({value:.1} %, 95 % interval {low:.1} to {high:.1} %)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those of Newcombe 1998 (table I, method 3), with more digits by the formula.
    #[test]
    fn intervals_are_wilsons() {
        for (right, of, low, high) in [
            (81, 263, 0.255_289, 0.366_210),
            (15, 148, 0.062_386, 0.160_487),
            (0, 20, 0.0, 0.161_125),
            (29, 29, 0.883_030, 1.0),
        ] {
            let share = Share::new(right, of);
            let off = (share.low - low).abs().max((share.high - high).abs());
            assert!(off < 1e-5, "{share:?}, wanted {low} to {high}");
        }
        let none = Share::new(0, 0);
        assert_eq!((none.value, none.low, none.high), (0.0, 0.0, 1.0));
    }

    /// The true share is 0.98, which about 95 % of 2000 samples of 300 have in their interval.
    #[test]
    fn intervals_cover_the_true_share() {
        use mm_model::random::{Purpose, stream};
        use rand::RngExt;
        let rng = &mut stream(0, Purpose::Example, 0, 0);
        let mut covered = 0;
        for _ in 0..2000 {
            let right = (0..300).filter(|_| rng.random::<f64>() < 0.98).count();
            let share = Share::new(right, 300);
            covered += usize::from(share.low <= 0.98 && 0.98 <= share.high);
        }
        assert!((1860..1960).contains(&covered), "{covered} of 2000");
    }
}
