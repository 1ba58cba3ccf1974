//! What a source leaves out: counted and named, skipped up to a limit, then an error.
//!
//! A run over a million images should not end because of one that is bad, and should not go on for
//! days on the tenth that is left when nine are. So every source has a `max_bad`: the share of its
//! items that may be bad, rounded up to a whole item. A file of many items weighs by what it loses:
//! the shares of files that cannot be read are at most `max_bad` of all files together, and nothing
//! is rounded up. What was never meant to be an item, such as a `README.md` between images, is
//! named and not counted.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::DataError;

/// Something that was left out. The order is that of the paths, and of the numbers in what is
/// wrong: line 2 comes before line 10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, or with an item in it.
    pub why: String,
}

impl Skipped {
    /// Names a file and what is wrong.
    pub fn new(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.into(), why: why.into() }
    }
}

impl Ord for Skipped {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_numbers = || numbers_in(&self.why).cmp(&numbers_in(&other.why));
        let by_text = || self.why.cmp(&other.why);
        self.path.cmp(&other.path).then_with(by_numbers).then_with(by_text)
    }
}

impl PartialOrd for Skipped {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Returns a text in runs: what is no digits, and the number that follows.
fn numbers_in(text: &str) -> Vec<(&str, u64)> {
    let mut runs = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let start = rest.find(|sign: char| sign.is_ascii_digit()).unwrap_or(rest.len());
        let (words, digits) = rest.split_at(start);
        let end = digits.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(digits.len());
        runs.push((words, digits[..end].parse().unwrap_or(u64::MAX)));
        rest = &digits[end..];
    }
    runs
}

impl From<Skipped> for DataError {
    fn from(Skipped { path, why }: Skipped) -> Self {
        Self::BadRecord { path, why }
    }
}

/// Returns the default of `max_bad`: one item in a hundred.
pub(crate) fn one_percent() -> f64 {
    0.01
}

/// Checks a `max_bad`.
pub(crate) fn check_max_bad(share: f64) -> Result<(), DataError> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(DataError::Setting {
        field: "max_bad",
        found: share.to_string(),
        wanted: "a share from 0 to 1, such as 0.01",
    })
}

/// How much of a source is bad, and how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// The number of items, the bad ones among them.
    pub items: usize,
    /// The number of bad items; a bad file is one of them.
    pub bad: usize,
    /// The number of files of a source whose files hold many items; 0 of others.
    pub files: usize,
    /// The number of bad files.
    pub bad_files: usize,
    /// What of them cannot be read, in files: a half of one that is broken in its middle.
    pub lost_files: f64,
}

impl Tally {
    /// Returns how many items may be bad.
    pub fn allowed(&self, max_bad: f64) -> usize {
        allowed(self.items, max_bad)
    }

    /// Returns whether more items are bad, or more of the files, than `max_bad` allows.
    pub fn exceeds(&self, max_bad: f64) -> bool {
        self.bad > self.allowed(max_bad) || self.loses_files(max_bad)
    }

    /// Returns how much of the files may be lost, in files.
    pub fn allowed_files(&self, max_bad: f64) -> f64 {
        self.files as f64 * max_bad
    }

    /// Returns whether more of the files is lost than `max_bad` allows.
    fn loses_files(&self, max_bad: f64) -> bool {
        self.lost_files > self.allowed_files(max_bad) + SLACK
    }

    /// Adds up two sources.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            items: self.items + other.items,
            bad: self.bad + other.bad,
            files: self.files + other.files,
            bad_files: self.bad_files + other.bad_files,
            lost_files: self.lost_files + other.lost_files,
        }
    }
}

/// What products such as `100 * 0.29` miss of the whole number that is meant.
const SLACK: f64 = 1e-9;

/// The bad records of one source: a source that can have some holds one of these.
#[derive(Debug)]
pub struct BadRecords {
    source_name: &'static str,
    max_bad: f64,
    items: usize,
    files: usize,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    broken: BTreeSet<Skipped>,
    /// The files that are broken, each with the share of it that cannot be read.
    lost: Vec<(Skipped, f64)>,
    passed_over: BTreeSet<Skipped>,
}

impl BadRecords {
    /// Starts with nothing bad, for a source whose files are items. `max_bad` is the share of them
    /// that may be bad.
    pub fn new(source_name: &'static str, max_bad: f64) -> Self {
        Self::of_files(source_name, max_bad, 0)
    }

    /// Starts with nothing bad, for a source of so many files, each of many items.
    pub fn of_files(source_name: &'static str, max_bad: f64, files: usize) -> Self {
        Self { source_name, max_bad, items: 0, files, lists: Mutex::default() }
    }

    /// Names something that is no item.
    pub fn pass_over(&self, path: &Path, why: impl Into<String>) {
        self.lists().passed_over.insert(Skipped::new(path, why));
    }

    /// Names those of some files that are `wanted`.
    pub(crate) fn pass_over_all(&self, others: Vec<Skipped>, wanted: impl Fn(&Path) -> bool) {
        self.lists().passed_over.extend(others.into_iter().filter(|other| wanted(&other.path)));
    }

    /// Names a bad item; how many there may be is checked by [`Self::opened`], and whenever a
    /// record is read.
    pub fn broken(&self, path: &Path, why: impl Into<String>) {
        self.lists().broken.insert(Skipped::new(path, why));
    }

    /// Names a bad file, of which the share `lost` cannot be read; it is a bad item too.
    pub fn broken_file(&self, path: &Path, why: impl Into<String>, lost: f64) {
        let skipped = Skipped::new(path, why);
        let mut lists = self.lists();
        lists.lost.push((skipped.clone(), lost));
        lists.broken.insert(skipped);
    }

    /// Ends the opening of a source that has `good` items beside those found bad. More bad ones
    /// than allowed are an error.
    pub fn opened(mut self, good: usize) -> Result<Self, DataError> {
        let broken = self.lists().broken.len();
        self.items = good + broken;
        self.check_files()?;
        self.check()?;
        Ok(self)
    }

    /// Ends the opening of a source of files as [`Self::opened`] does; nothing good is an error.
    pub(crate) fn opened_with_some(self, good: usize) -> Result<Self, DataError> {
        if good > 0 {
            return self.opened(good);
        }
        let (skipped, first) = self.skipped_and_first();
        Err(DataError::Nothing { source_name: self.source_name, skipped, first })
    }

    /// Counts what was left out, and describes the first of it.
    pub(crate) fn skipped_and_first(&self) -> (usize, String) {
        let (broken, others) = (self.broken_ones(), self.passed_over());
        let first = broken.first().or(others.first());
        let words = first.map(|one| format!(": `{}`: {}", one.path.display(), one.why));
        (broken.len() + others.len(), words.unwrap_or_default())
    }

    /// Returns the item number `index` of `of`, which wraps around, or the next one that can be
    /// loaded.
    pub(crate) fn first_good<T>(
        &self,
        of: u64,
        index: u64,
        mut load: impl FnMut(u64) -> Result<T, Skipped>,
    ) -> Result<T, DataError> {
        let start = index % of.max(1);
        let mut first = None;
        for at in (start..of).chain(0..start) {
            match load(at) {
                Ok(item) => return Ok(item),
                Err(skipped) => {
                    first.get_or_insert_with(|| skipped.clone());
                    self.lists().broken.insert(skipped);
                    self.check()?;
                }
            }
        }
        let Skipped { path, why } = first.unwrap_or_else(|| Skipped::new(Path::new(""), ""));
        Err(DataError::AllBroken { path, files: of as usize, why })
    }

    /// Returns the item number `index` of `of`, which wraps around, and nothing in its place: a bad
    /// one is named and counted, whatever the limit.
    pub(crate) fn exactly<T>(
        &self,
        of: u64,
        index: u64,
        load: impl FnOnce(u64) -> Result<T, Skipped>,
    ) -> Option<T> {
        match load(index % of.max(1)) {
            Ok(item) => Some(item),
            Err(skipped) => {
                self.lists().broken.insert(skipped);
                None
            }
        }
    }

    /// Returns the bad items, sorted by path.
    pub(crate) fn broken_ones(&self) -> Vec<Skipped> {
        self.lists().broken.iter().cloned().collect()
    }

    /// Returns what else was passed over, sorted by path.
    pub(crate) fn passed_over(&self) -> Vec<Skipped> {
        let lists = self.lists();
        lists.passed_over.difference(&lists.broken).cloned().collect()
    }

    /// Counts what is bad so far.
    pub(crate) fn tally(&self) -> Tally {
        let lists = self.lists();
        Tally {
            items: self.items,
            bad: lists.broken.len(),
            files: self.files,
            bad_files: lists.lost.len(),
            // An empty `sum` is -0.0.
            lost_files: lists.lost.iter().fold(0.0, |sum, (_, lost)| sum + lost),
        }
    }

    fn check_files(&self) -> Result<(), DataError> {
        let tally = self.tally();
        match self.lists().lost.last() {
            Some((Skipped { path, why }, _)) if tally.loses_files(self.max_bad) => {
                Err(DataError::TooManyBad {
                    source_name: self.source_name,
                    what: "files",
                    bad: tally.bad_files,
                    of: self.files,
                    allowed: (tally.allowed_files(self.max_bad) + SLACK) as usize,
                    path: path.clone(),
                    why: why.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), DataError> {
        let lists = self.lists();
        let (bad, allowed) = (lists.broken.len(), allowed(self.items, self.max_bad));
        match lists.broken.last() {
            Some(Skipped { path, why }) if bad > allowed => Err(DataError::TooManyBad {
                source_name: self.source_name,
                what: "items",
                bad,
                of: self.items,
                allowed,
                path: path.clone(),
                why: why.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how many of `items` may be bad.
fn allowed(items: usize, max_bad: f64) -> usize {
    (items as f64 * max_bad - SLACK).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_from(bad: &[u64]) -> impl Fn(u64) -> Result<u64, Skipped> {
        move |at| {
            if bad.contains(&at) {
                Err(Skipped::new(Path::new("shard"), format!("item {at}")))
            } else {
                Ok(at)
            }
        }
    }

    #[test]
    fn what_is_left_out_stands_in_the_order_of_paths_and_numbers() {
        let skipped = |path: &str, why: &str| Skipped::new(Path::new(path), why);
        let wanted = [
            skipped("a", "line 2: x"),
            skipped("a", "line 10: x"),
            skipped("a", "line 10: y"),
            skipped("b", "at byte 99999999999999999999999"),
        ];
        let mut found = wanted.clone().to_vec();
        found.reverse();
        found.sort();
        assert_eq!(found, wanted);
        assert_ne!(skipped("a", "01").cmp(&skipped("a", "1")), Ordering::Equal);
    }

    #[test]
    fn a_broken_item_gives_way_to_the_next_and_counts_once() {
        let bad = BadRecords::new("test", 0.01).opened(150).unwrap();
        for _ in 0..5 {
            assert_eq!(bad.first_good(150, 3, load_from(&[3, 4])).unwrap(), 5);
        }
        assert_eq!(bad.tally().bad, 2);
        assert_eq!(
            bad.first_good(150, 149, load_from(&[149])).unwrap_err().to_string(),
            "3 of 150 items of the test data set are broken, `max_bad` allows 2; one of them: `shard`: item 149"
        );
    }

    #[test]
    fn an_exact_item_has_no_substitute_and_no_limit() {
        let bad = BadRecords::new("test", 0.0).opened(2).unwrap();
        let load = load_from(&[0, 1]);
        assert_eq!([0, 1, 2].map(|index| bad.exactly(2, index, &load)), [None; 3]);
        assert_eq!(bad.tally().bad, 2);
        assert_eq!(bad.exactly(3, 5, &load), Some(2));
    }

    #[test]
    fn a_broken_file_weighs_by_what_it_loses_and_no_share_is_rounded_up() {
        let opened = |files: usize, lost: &[f64]| {
            let bad = BadRecords::of_files("test", 0.01, files);
            for (at, lost) in lost.iter().enumerate() {
                bad.broken_file(Path::new(&format!("{at}.tar")), "cut", *lost);
            }
            bad.opened(10_000).map(|bad| bad.tally()).map_err(|why| why.to_string())
        };
        assert_eq!(
            opened(3, &[1.0, 1.0]).unwrap_err(),
            "2 of 3 files of the test data set are broken, `max_bad` allows 0; one of them: `1.tar`: cut"
        );
        let tally = opened(1, &[0.008]).unwrap();
        assert_eq!((tally.items, tally.bad, tally.files, tally.bad_files), (10_001, 1, 1, 1));
        assert!(!tally.exceeds(0.01) && tally.exceeds(0.001));
        assert!(opened(1, &[0.97]).is_err() && opened(99, &[1.0]).is_err());
        assert!(opened(100, &[1.0]).is_ok() && opened(100, &[0.6, 0.6]).is_err());
    }

    #[test]
    fn a_product_that_is_a_little_more_than_a_whole_number_is_that_number() {
        assert_eq!([allowed(100, 0.07), allowed(701, 0.01), allowed(5, 0.0)], [7, 8, 0]);
    }

    #[test]
    fn the_limit_holds_at_opening_and_zero_allows_nothing() {
        let opened = |max_bad| {
            let bad = BadRecords::new("test", max_bad);
            bad.broken(Path::new("a.tar"), "truncated");
            bad.pass_over(Path::new("README.md"), "no shard");
            bad.opened(0)
        };
        assert!(opened(0.0).unwrap_err().to_string().contains("1 of 1 items"));
        let bad = opened(0.01).unwrap();
        assert_eq!(bad.broken_ones()[0].why, "truncated");
        assert_eq!(bad.passed_over()[0].why, "no shard");
        assert_eq!(bad.skipped_and_first(), (2, ": `a.tar`: truncated".into()));
        assert!(check_max_bad(1.5).unwrap_err().to_string().starts_with("`max_bad` is `1.5`"));
    }
}
