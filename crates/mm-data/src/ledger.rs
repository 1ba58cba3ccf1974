//! What a source leaves out: counted and named, skipped up to a limit, then an error.
//!
//! A run over a million pictures should not end because of one that is broken, and should not go on for days on the
//! tenth that is left when nine are. So every source has a `max_bad`: the share of its items that may be broken, rounded
//! up to a whole item. A file of many items weighs by what it loses: the shares of files that cannot be read are at most
//! `max_bad` of all files together, and nothing is rounded up. What was never meant to be an item, such as a `README.md`
//! between pictures, is named and not counted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::DataError;

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, or with an item in it.
    pub why: String,
}

impl Skipped {
    /// A file and what is wrong.
    pub fn new(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.into(), why: why.into() }
    }
}

/// The default of `max_bad`: one item in a hundred.
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

/// How much of a source is broken, and how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// Items, the broken ones among them.
    pub items: usize,
    /// Broken items; a broken file is one of them.
    pub bad: usize,
    /// Files of a source whose files hold many items; 0 of others.
    pub files: usize,
    /// Broken files.
    pub bad_files: usize,
    /// What of them cannot be read, in files: a half of one that is broken in its middle.
    pub lost_files: f64,
}

impl Tally {
    /// How many items may be broken.
    pub fn allowed(&self, max_bad: f64) -> usize {
        allowed(self.items, max_bad)
    }

    /// Whether more items are broken, or more of the files, than `max_bad` allows.
    pub fn exceeds(&self, max_bad: f64) -> bool {
        self.bad > self.allowed(max_bad) || self.loses_files(max_bad)
    }

    /// How much of the files may be lost, in files.
    pub fn allowed_files(&self, max_bad: f64) -> f64 {
        self.files as f64 * max_bad
    }

    /// Whether more of the files is lost than `max_bad` allows.
    fn loses_files(&self, max_bad: f64) -> bool {
        self.lost_files > self.allowed_files(max_bad) + SLACK
    }
}

/// What products such as `100 * 0.29` miss of the whole number that is meant.
const SLACK: f64 = 1e-9;

/// The books of one source.
#[derive(Debug)]
pub(crate) struct Ledger {
    source_name: &'static str,
    max_bad: f64,
    items: usize,
    files: usize,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    broken: BTreeSet<Skipped>,
    /// Files that are broken, each with the share of it that cannot be read.
    lost: Vec<(Skipped, f64)>,
    passed_over: BTreeSet<Skipped>,
}

impl Ledger {
    /// Empty books of a source whose files are items.
    pub(crate) fn new(source_name: &'static str, max_bad: f64) -> Self {
        Self::of_files(source_name, max_bad, 0)
    }

    /// Empty books of a source of so many files, each of many items.
    pub(crate) fn of_files(source_name: &'static str, max_bad: f64, files: usize) -> Self {
        Self { source_name, max_bad, items: 0, files, lists: Mutex::default() }
    }

    /// Names something that is no item.
    pub(crate) fn pass_over(&self, path: &Path, why: impl Into<String>) {
        self.lists().passed_over.insert(Skipped::new(path, why));
    }

    /// Names a broken item; how many there may be is checked by [`Self::opened`] and by [`Self::first_good`].
    pub(crate) fn broken(&self, path: &Path, why: impl Into<String>) {
        self.lists().broken.insert(Skipped::new(path, why));
    }

    /// Names a broken file, of which the share `lost` cannot be read; it is a broken item too.
    pub(crate) fn broken_file(&self, path: &Path, why: impl Into<String>, lost: f64) {
        let skipped = Skipped::new(path, why);
        let mut lists = self.lists();
        lists.lost.push((skipped.clone(), lost));
        lists.broken.insert(skipped);
    }

    /// Ends the opening of a source that has `good` items beside those found broken.
    pub(crate) fn opened(mut self, good: usize) -> Result<Self, DataError> {
        let broken = self.lists().broken.len();
        self.items = good + broken;
        self.check_files()?;
        self.check()?;
        Ok(self)
    }

    /// The item number `index` of a part of `of`, which wraps around, or the next one that can be loaded.
    pub(crate) fn first_good<T>(
        &self,
        of: usize,
        index: u64,
        load: impl Fn(usize) -> Result<T, Skipped>,
    ) -> Result<T, DataError> {
        let start = (index % of.max(1) as u64) as usize;
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
        Err(DataError::AllBroken { path, files: of, why })
    }

    /// The item number `index` of a part of `of`, which wraps around, and nothing in its place: a broken one is named and counted
    /// to the end, whatever the limit.
    pub(crate) fn exactly<T>(
        &self,
        of: usize,
        index: u64,
        load: impl Fn(usize) -> Result<T, Skipped>,
    ) -> Option<T> {
        match load((index % of.max(1) as u64) as usize) {
            Ok(item) => Some(item),
            Err(skipped) => {
                self.lists().broken.insert(skipped);
                None
            }
        }
    }

    /// Everything left out so far: first the broken items, then what was passed over, each sorted by path.
    pub(crate) fn skipped(&self) -> Vec<Skipped> {
        let lists = self.lists();
        let others = lists.passed_over.difference(&lists.broken);
        lists.broken.iter().chain(others).cloned().collect()
    }

    /// How many broken items were met so far.
    pub(crate) fn bad(&self) -> usize {
        self.lists().broken.len()
    }

    /// What is broken so far.
    pub(crate) fn tally(&self) -> Tally {
        let lists = self.lists();
        Tally {
            items: self.items,
            bad: lists.broken.len(),
            files: self.files,
            bad_files: lists.lost.len(),
            lost_files: lists.lost.iter().fold(0.0, |sum, (_, lost)| sum + lost), // an empty `sum` is -0.0
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

/// How many of `items` may be broken.
fn allowed(items: usize, max_bad: f64) -> usize {
    (items as f64 * max_bad - SLACK).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_from(bad: &[usize]) -> impl Fn(usize) -> Result<usize, Skipped> {
        move |at| match bad.contains(&at) {
            true => Err(Skipped::new(Path::new("shard"), format!("item {at}"))),
            false => Ok(at),
        }
    }

    #[test]
    fn a_broken_item_gives_way_to_the_next_and_counts_once() {
        let books = Ledger::new("test", 0.01).opened(150).unwrap();
        for _ in 0..5 {
            assert_eq!(books.first_good(150, 3, load_from(&[3, 4])).unwrap(), 5);
        }
        assert_eq!(books.bad(), 2);
        assert_eq!(
            books.first_good(150, 149, load_from(&[149])).unwrap_err().to_string(),
            "3 of 150 items of the test data set are broken, `max_bad` allows 2; one of them: `shard`: item 4"
        );
    }

    #[test]
    fn an_exact_item_has_no_substitute_and_no_limit() {
        let books = Ledger::new("test", 0.0).opened(2).unwrap();
        let load = load_from(&[0, 1]);
        assert_eq!([0, 1, 2].map(|index| books.exactly(2, index, &load)), [None; 3]);
        assert_eq!(books.bad(), 2);
        assert_eq!(books.exactly(3, 5, &load), Some(2));
    }

    #[test]
    fn a_broken_file_weighs_by_what_it_loses_and_no_share_is_rounded_up() {
        let opened = |files: usize, lost: &[f64]| {
            let books = Ledger::of_files("test", 0.01, files);
            for (at, lost) in lost.iter().enumerate() {
                books.broken_file(Path::new(&format!("{at}.tar")), "cut", *lost);
            }
            books.opened(10_000).map(|books| books.tally()).map_err(|why| why.to_string())
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
            let books = Ledger::new("test", max_bad);
            books.broken(Path::new("a.tar"), "truncated");
            books.pass_over(Path::new("README.md"), "no shard");
            books.opened(0)
        };
        assert!(opened(0.0).unwrap_err().to_string().contains("1 of 1 items"));
        let books = opened(0.01).unwrap();
        let named: Vec<String> = books.skipped().into_iter().map(|skipped| skipped.why).collect();
        assert_eq!((books.bad(), named), (1, vec!["truncated".into(), "no shard".into()]));
        assert!(check_max_bad(1.5).unwrap_err().to_string().starts_with("`max_bad` is `1.5`"));
    }
}
