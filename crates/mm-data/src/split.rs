//! Which records are held out: a fixed tenth, decided by a hash of what the record is.

use serde::{Deserialize, Serialize};

/// A split of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What the model is trained on.
    Train,
    /// What the model never sees in training.
    HeldOut,
}

impl Split {
    /// Both splits.
    pub const ALL: [Self; 2] = [Self::Train, Self::HeldOut];

    /// Returns the split that `key` belongs to: held out where [`split_hash`] is divisible by ten.
    /// No seed enters, so what is held out is the same in every run.
    ///
    /// ```
    /// use mm_data::Split;
    ///
    /// let held_out = (0..1000).filter(|i| Split::of_key(&i.to_string()) == Split::HeldOut).count();
    /// assert!((70..130).contains(&held_out));
    /// ```
    pub fn of_key(key: &str) -> Self {
        Self::of_hash(split_hash(key))
    }

    /// Returns the split of a key whose hash is known.
    pub(crate) fn of_hash(hash: u64) -> Self {
        if hash.is_multiple_of(10) { Self::HeldOut } else { Self::Train }
    }

    /// Returns the name that messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::HeldOut => "held-out",
        }
    }
}

/// Computes the 64-bit FNV-1a of the UTF-8 bytes, then the finalizer of SplitMix64 (Steele, Lea,
/// Flood 2014), because the low bits of FNV-1a alone are weak.
pub fn split_hash(key: &str) -> u64 {
    hash_bytes(key.as_bytes())
}

/// Computes [`split_hash`] of bytes that need not be text.
pub(crate) fn hash_bytes(key: &[u8]) -> u64 {
    let fnv = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut z = fnv;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The entries of both splits of a finite source, each in the order in which they were found.
#[derive(Debug)]
pub(crate) struct Splits<T>([Vec<T>; 2]);

impl<T> Splits<T> {
    /// Holds the entries of both splits.
    pub(crate) fn new(train: Vec<T>, held_out: Vec<T>) -> Self {
        Self([train, held_out])
    }

    /// Appends to a split.
    pub(crate) fn push(&mut self, split: Split, entry: T) {
        self.0[split as usize].push(entry);
    }

    /// Returns the entries of a split.
    pub(crate) fn of(&self, split: Split) -> &[T] {
        &self.0[split as usize]
    }

    /// Returns an entry of a split.
    pub(crate) fn at(&self, split: Split, at: u64) -> &T {
        &self.0[split as usize][at as usize]
    }

    /// Counts the entries of a split.
    pub(crate) fn len(&self, split: Split) -> Option<u64> {
        Some(self.0[split as usize].len() as u64)
    }

    /// Iterates over the entries of both splits.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    /// Returns up to `most` entries of the training split, spread evenly: enough to train a
    /// tokenizer on.
    pub(crate) fn spread(&self, most: usize) -> impl Iterator<Item = &T> {
        let train = self.of(Split::Train);
        train.iter().step_by(train.len().div_ceil(most.max(1)).max(1))
    }
}

impl<T> Default for Splits<T> {
    fn default() -> Self {
        Self::new(vec![], vec![])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed hash would move held-out records into the training split of older checkpoints.
    #[test]
    fn the_hash_never_changes() {
        let hashes = ["", "red K on yellow", "grinning face"].map(split_hash);
        assert_eq!(
            hashes,
            [17_665_956_581_633_026_203, 13_995_527_678_397_154_044, 1_304_404_712_869_365_705]
        );
    }

    #[test]
    fn a_spread_reaches_over_the_whole_split() {
        let splits = Splits::new((0..1000).collect(), vec![1000]);
        let spread: Vec<i32> = splits.spread(300).copied().collect();
        assert_eq!((spread.len(), spread[1], spread[249]), (250, 4, 996));
        assert_eq!((splits.spread(5000).count(), splits.iter().count()), (1000, 1001));
    }
}
