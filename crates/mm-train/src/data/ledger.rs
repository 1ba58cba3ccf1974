//! What a source leaves out: counted and named, skipped up to a limit, then an error.
//!
//! A run over a million pictures should not end because of one that is broken, and should not go on for days on the
//! tenth that is left when nine are. So every source has a `max_bad`: the share of its items that may be broken, rounded
//! up to a whole item. What was never meant to be an item, such as a `README.md` between pictures, is named and not counted.

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

/// The books of one source.
#[derive(Debug)]
pub(crate) struct Ledger {
    source_name: &'static str,
    max_bad: f64,
    items: usize,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    broken: BTreeSet<Skipped>,
    passed_over: BTreeSet<Skipped>,
}

impl Ledger {
    /// Empty books.
    pub(crate) fn new(source_name: &'static str, max_bad: f64) -> Self {
        Self { source_name, max_bad, items: 0, lists: Mutex::default() }
    }

    /// Names something that is no item.
    pub(crate) fn pass_over(&self, path: &Path, why: impl Into<String>) {
        self.lists().passed_over.insert(Skipped::new(path, why));
    }

    /// Names a broken item; how many there may be is checked by [`Self::opened`] and by [`Self::first_good`].
    pub(crate) fn broken(&self, path: &Path, why: impl Into<String>) {
        self.lists().broken.insert(Skipped::new(path, why));
    }

    /// Ends the opening of a source that has `good` items beside those found broken.
    pub(crate) fn opened(mut self, good: usize) -> Result<Self, DataError> {
        let broken = self.lists().broken.len();
        self.items = good + broken;
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
pub(crate) fn allowed(items: usize, max_bad: f64) -> usize {
    (items as f64 * max_bad).ceil() as usize
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
