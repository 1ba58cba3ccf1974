//! Which records are held out: a fixed tenth, decided by a hash of what the record is, or those
//! whose folders or files say so by their names.
//!
//! The hash of a record is its own alone, so records that are added move none of the others. The
//! hash of a record with an image is that of the image's bytes, so equal images stand on one side.

use std::collections::HashSet;

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

/// The words of names of folders and files that hold records out, as Hugging Face's `datasets` has
/// them, and some more.
pub(crate) const HELD_OUT: &[&str] = &[
    "dev",
    "devset",
    "eval",
    "evalset",
    "evaluation",
    "heldout",
    "holdout",
    "test",
    "testing",
    "tests",
    "testset",
    "unseen",
    "val",
    "valid",
    "validation",
    "valset",
];

/// Returns whether the name of a folder or file says "held out": one of its words does, where a
/// word is a run of letters up to a capital behind a small one, as in `val2017`, `testA` or
/// `test-00000-of-00001.parquet`.
pub(crate) fn says_held_out(name: &str) -> bool {
    let mut apart = String::new();
    let mut was_small = false;
    for sign in name.chars() {
        if was_small && sign.is_uppercase() {
            apart.push(' ');
        }
        was_small = sign.is_lowercase();
        apart.push(sign);
    }
    let name = apart.to_lowercase();
    let words: Vec<&str> =
        name.split(|sign: char| !sign.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    let two = |pair: &[&str]| matches!(pair, ["held" | "hold", "out"]);
    words.iter().any(|word| HELD_OUT.contains(word)) || words.windows(2).any(two)
}

/// What decides on the split of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SplitKey {
    /// A hash of what must not stand on both sides.
    pub(crate) content: u64,
    /// Whether a name says that the record is held out.
    pub(crate) held_out: bool,
}

/// How a source is divided, from the keys of all its records.
#[derive(Debug)]
pub(crate) enum Division {
    /// Names say what is held out: this content. The rest is trained on.
    ByNames(HashSet<u64>),
    /// No name says anything: each record goes by its own hash.
    ByHashes,
    /// The hash of every record would hold it out: all are trained on, since a run needs some.
    TrainOnly,
}

impl Division {
    /// Chooses by the keys of all records.
    pub(crate) fn of(keys: impl Iterator<Item = SplitKey> + Clone) -> Self {
        let named: HashSet<u64> =
            keys.clone().filter(|key| key.held_out).map(|key| key.content).collect();
        if !named.is_empty() {
            Self::ByNames(named)
        } else if keys.into_iter().all(|key| Split::of_hash(key.content) == Split::HeldOut) {
            Self::TrainOnly
        } else {
            Self::ByHashes
        }
    }

    /// Returns the split of a record; `None` where it stands among those for training, but equals
    /// one that a name holds out, so that it belongs to neither.
    pub(crate) fn split(&self, key: SplitKey) -> Option<Split> {
        match self {
            Self::ByNames(_) if key.held_out => Some(Split::HeldOut),
            Self::ByNames(named) => (!named.contains(&key.content)).then_some(Split::Train),
            Self::ByHashes => Some(Split::of_hash(key.content)),
            Self::TrainOnly => Some(Split::Train),
        }
    }
}

/// What is wrong with a record of the training split that equals a held-out one.
pub(crate) const EQUALS_HELD_OUT: &str = "not trained on: its image is a held-out one, too";
/// What is wrong with a document, which need not have an image, that equals a held-out one.
pub(crate) const DOCUMENT_EQUALS_HELD_OUT: &str = "not trained on: it equals a held-out one";

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

    /// Takes entries out of the training split.
    pub(crate) fn take_out(&mut self, is_out: impl Fn(&T) -> bool) -> Vec<T> {
        self.0[Split::Train as usize].extract_if(.., |entry| is_out(entry)).collect()
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
    fn names_that_say_held_out_do_so_by_a_whole_word() {
        let held_out =
            ["dev", "Val", "validation", "EVAL", "test", "testing", "val2017", "held-out"];
        let more =
            ["test-00000-of-00001.parquet", "my_holdout", "hold_out", "heldout", "valid.jsonl"];
        for name in held_out.iter().chain(&more) {
            assert!(says_held_out(name), "{name}");
        }
        for name in ["train", "training", "contest", "devices", "valley", "evaluate", "out", "cats"]
        {
            assert!(!says_held_out(name), "{name}");
        }
    }

    #[test]
    fn equal_content_stands_on_one_side_and_a_run_has_something_to_train_on() {
        let key = |content, held_out| SplitKey { content, held_out };
        let splits = |keys: &[SplitKey]| -> Vec<Option<Split>> {
            let division = Division::of(keys.iter().copied());
            keys.iter().map(|key| division.split(*key)).collect()
        };
        let (train, held_out) = (Some(Split::Train), Some(Split::HeldOut));
        assert_eq!(
            splits(&[key(1, false), key(10, false), key(10, false)]),
            [train, held_out, held_out]
        );
        assert_eq!(splits(&[key(10, false), key(20, false)]), [train; 2]);
        assert_eq!(splits(&[key(10, false), key(2, true), key(2, false)]), [train, held_out, None]);
    }

    #[test]
    fn a_spread_reaches_over_the_whole_split() {
        let splits = Splits::new((0..1000).collect(), vec![1000]);
        let spread: Vec<i32> = splits.spread(300).copied().collect();
        assert_eq!((spread.len(), spread[1], spread[249]), (250, 4, 996));
        assert_eq!((splits.spread(5000).count(), splits.iter().count()), (1000, 1001));
    }
}
