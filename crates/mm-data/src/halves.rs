//! The two parts of a finite source.

use super::Split;

/// Entries of the training part and of the held-out part, each in the order in which they were found.
#[derive(Debug)]
pub(crate) struct Halves<T>([Vec<T>; 2]);

impl<T> Halves<T> {
    /// Two empty parts.
    pub(crate) fn new() -> Self {
        Self([Vec::new(), Vec::new()])
    }

    /// Appends to a part.
    pub(crate) fn push(&mut self, split: Split, entry: T) {
        self.0[split as usize].push(entry);
    }

    /// A part.
    pub(crate) fn of(&self, split: Split) -> &[T] {
        &self.0[split as usize]
    }

    /// Entries of both parts.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// At most `most` entries of the training part, spread evenly: enough to learn a vocabulary from.
    pub(crate) fn spread(&self, most: usize) -> impl Iterator<Item = &T> {
        let train = self.of(Split::Train);
        train.iter().step_by(train.len().div_ceil(most.max(1)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_reaches_over_the_whole_part() {
        let mut halves = Halves::new();
        (0..1000).for_each(|at| halves.push(Split::Train, at));
        halves.push(Split::HeldOut, 1000);
        let spread: Vec<i32> = halves.spread(300).copied().collect();
        assert_eq!((spread.len(), spread[1], spread[249]), (250, 4, 996));
        assert_eq!((halves.spread(5000).count(), halves.len()), (1000, 1001));
    }
}
