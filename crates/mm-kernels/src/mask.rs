//! The mask, `may_attend`, as one range of keys a query.
//!
//! Every mask of this design (causal text, both directions inside an image, several documents
//! packed in one row, padding on either side, a cached prefix) lets a query attend one unbroken
//! range of keys: from the start of its document to itself, or to the end of its image. So the mask
//! is two numbers a query, and kernels can skip what is hidden.

use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;

/// A list of key ranges that is no mask.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRangesError {
    /// The number of ranges is no multiple of the rows of the batch, or zero.
    #[error("the mask has {found} key ranges, {wanted} queries want one each")]
    Count {
        /// The number of ranges.
        found: usize,
        /// The number of queries in the batch.
        wanted: usize,
    },
    /// A query may attend nothing, or keys that do not exist.
    #[error(
        "query {query} of row {row} may attend keys {start}..{end}, \
         wanted a range that is not empty within 0..{keys}"
    )]
    Range {
        /// The row of the batch.
        row: usize,
        /// The query in the row.
        query: usize,
        /// The first key.
        start: usize,
        /// One past the last key.
        end: usize,
        /// The number of keys.
        keys: usize,
    },
}

/// The keys that each query of each row may attend, `start..end`, which are never none.
///
/// ```
/// use mm_kernels::KeyRanges;
///
/// // A token of text, then two patches of an image that see each other.
/// let ranges = KeyRanges::new(1, 3, vec![[0, 1], [0, 3], [0, 3]]).unwrap();
/// assert!(ranges.may_attend(0, 1, 2) && !ranges.may_attend(0, 0, 1));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRanges {
    batch: usize,
    queries: usize,
    keys: usize,
    ranges: Arc<Vec<[u32; 2]>>,
}

impl KeyRanges {
    /// Checks and keeps `ranges`: entry `row * queries + query` is `[start, end]` among `keys`
    /// keys. With a cached prefix of `p` tokens, key `p + i` is query `i`'s own. The number of
    /// queries in a row is `ranges.len() / batch`.
    pub fn new(batch: usize, keys: usize, ranges: Vec<[u32; 2]>) -> Result<Self, KeyRangesError> {
        let queries = ranges.len().checked_div(batch).unwrap_or(0);
        if queries == 0 || queries * batch != ranges.len() {
            return Err(KeyRangesError::Count {
                found: ranges.len(),
                wanted: batch * queries.max(1),
            });
        }
        for (at, &[start, end]) in ranges.iter().enumerate() {
            let (start, end) = (start as usize, end as usize);
            if start >= end || end > keys {
                let (row, query) = (at / queries, at % queries);
                return Err(KeyRangesError::Range { row, query, start, end, keys });
            }
        }
        Ok(Self { batch, queries, keys, ranges: Arc::new(ranges) })
    }

    /// Returns the rows of the batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the queries in a row.
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Returns the keys in a row, a cached prefix included.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Returns the ranges `[start, end]`, row by row.
    pub fn ranges(&self) -> &[[u32; 2]] {
        &self.ranges
    }

    /// Says whether `query` of `row` may attend `key`.
    pub fn may_attend(&self, row: usize, query: usize, key: usize) -> bool {
        let [start, end] = self.ranges[row * self.queries + query];
        (start as usize..end as usize).contains(&key)
    }

    /// Returns the smallest range of keys that holds all that these queries of all rows may attend.
    #[cfg_attr(not(feature = "cube"), allow(dead_code))]
    pub(crate) fn span(&self, queries: Range<usize>) -> Range<usize> {
        let all = || (0..self.batch).flat_map(|row| &self.row(row)[queries.clone()]);
        let start = all().map(|range| range[0]).min().unwrap_or(0);
        let end = all().map(|range| range[1]).max().unwrap_or(0);
        start as usize..end as usize
    }

    /// Says whether these queries of all rows may attend exactly these keys.
    #[cfg_attr(not(feature = "cube"), allow(dead_code))]
    pub(crate) fn all_attend(&self, queries: Range<usize>, keys: Range<usize>) -> bool {
        let wanted = [keys.start as u32, keys.end as u32];
        (0..self.batch).all(|row| self.row(row)[queries.clone()].iter().all(|it| *it == wanted))
    }

    /// Returns the ranges of one row.
    #[cfg_attr(not(feature = "cube"), allow(dead_code))]
    fn row(&self, row: usize) -> &[[u32; 2]] {
        &self.ranges[row * self.queries..(row + 1) * self.queries]
    }

    /// Returns the first key of every query, and one past the last, `[batch, 1, queries, 1]` each.
    pub(crate) fn columns(&self, device: &Device) -> [Tensor<4, Int>; 2] {
        [0, 1].map(|side| {
            let numbers: Vec<i32> = self.ranges.iter().map(|range| range[side] as i32).collect();
            Tensor::from_data(TensorData::new(numbers, [self.batch, 1, self.queries, 1]), device)
        })
    }
}

/// Returns the mask of some keys as operations of a device take it, `[batch, 1, queries, keys]`,
/// where `true` means hidden, given the first key of every query and one past the last,
/// `[batch, 1, queries, 1]` each. This is the one place where the mask is inverted.
pub(crate) fn hidden(
    start: Tensor<4, Int>,
    end: Tensor<4, Int>,
    keys: Range<usize>,
) -> Tensor<4, Bool> {
    let [batch, _, queries, _] = start.dims();
    let shape = [batch, 1, queries, keys.len()];
    let keys = Tensor::<1, Int>::arange(keys.start as i64..keys.end as i64, &start.device())
        .reshape([1, 1, 1, keys.len()])
        .expand(shape);
    keys.clone().lower(start.expand(shape)).bool_or(keys.greater_equal(end.expand(shape)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check_mask(ranges: Vec<[u32; 2]>, expected: Expect) {
        let tokens = ranges.len();
        let mask = KeyRanges::new(1, tokens, ranges).unwrap();
        let [start, end] = mask.columns(&Device::flex());
        let hidden = hidden(start, end, 0..tokens).into_data().try_to_vec::<bool>().unwrap();
        let mut drawing = String::new();
        for query in 0..tokens {
            for key in 0..tokens {
                assert_eq!(mask.may_attend(0, query, key), !hidden[query * tokens + key]);
                drawing.push(if mask.may_attend(0, query, key) { 'x' } else { '.' });
            }
            drawing.push('\n');
        }
        expected.assert_eq(&drawing);
    }

    #[test] // rows ask, columns answer; two documents in one row: `t[ii]t` and `tt`
    fn patches_of_one_image_see_each_other_while_text_stays_causal_and_documents_apart() {
        let expected = expect![[r#"
            x.....
            xxx...
            xxx...
            xxxx..
            ....x.
            ....xx
        "#]];
        check_mask(vec![[0, 1], [0, 3], [0, 3], [0, 4], [4, 5], [4, 6]], expected);
    }

    #[test]
    fn a_query_that_may_attend_nothing_is_refused() {
        let error = KeyRanges::new(1, 2, vec![[0, 1], [1, 1]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "query 1 of row 0 may attend keys 1..1, wanted a range that is not empty within 0..2"
        );
        assert!(KeyRanges::new(1, 2, vec![[0, 3]]).is_err());
        assert!(KeyRanges::new(2, 2, vec![[0, 1]]).is_err());
        assert!(KeyRanges::new(0, 2, vec![]).is_err());
    }
}
