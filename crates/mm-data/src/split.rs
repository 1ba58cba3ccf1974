//! Which examples are held out: a fixed tenth, decided by a hash of what the example is.

use serde::{Deserialize, Serialize};

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What the model is trained on.
    Train,
    /// What it never sees in training.
    HeldOut,
}

impl Split {
    /// Both parts.
    pub const ALL: [Self; 2] = [Self::Train, Self::HeldOut];

    /// The part that `key` belongs to: held out where [`split_hash`] is divisible by ten. No seed enters, so what is
    /// held out is the same in every run.
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

    /// The part of a key whose hash is known.
    pub(crate) fn of_hash(hash: u64) -> Self {
        if hash.is_multiple_of(10) { Self::HeldOut } else { Self::Train }
    }

    /// The name that messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::HeldOut => "held-out",
        }
    }
}

/// 64-bit FNV-1a of the UTF-8 bytes, then the finaliser of SplitMix64 (Steele, Lea, Flood 2014), because the low bits
/// of FNV-1a alone are weak.
pub fn split_hash(key: &str) -> u64 {
    hash_bytes(key.as_bytes())
}

/// [`split_hash`] of bytes that need not be text.
pub(crate) fn hash_bytes(key: &[u8]) -> u64 {
    let fnv = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut z = fnv;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed hash would move held-out examples into the training set of older checkpoints.
    #[test]
    fn the_hash_never_changes() {
        let hashes = ["", "red K on yellow", "grinning face"].map(split_hash);
        assert_eq!(
            hashes,
            [17_665_956_581_633_026_203, 13_995_527_678_397_154_044, 1_304_404_712_869_365_705]
        );
    }
}
