//! What can be wrong with a configuration or a mask that comes from outside.

/// An unusable backbone configuration or mask.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum BackboneError {
    /// A size is zero.
    #[error("`{field}` is 0, it must be at least 1")]
    Zero {
        /// The field's name.
        field: &'static str,
    },
    /// One size must be a multiple of another.
    #[error("`{field}` is {found}, it must be a multiple of {of}")]
    NotMultiple {
        /// The field's name.
        field: &'static str,
        /// Its value.
        found: usize,
        /// What it must be a multiple of.
        of: usize,
    },
    /// A stack has no middle.
    #[error("`{field}` is {found}, it must be odd")]
    Even {
        /// The field's name.
        field: &'static str,
        /// Its value.
        found: usize,
    },
    /// A number is not positive and finite.
    #[error("`{field}` is {found}, it must be a positive number")]
    NotPositive {
        /// The field's name.
        field: &'static str,
        /// Its value.
        found: f64,
    },
    /// A list of key ranges does not fit the batch.
    #[error("the mask has {found} key ranges, {wanted} queries want one each")]
    RangeCount {
        /// Number of ranges.
        found: usize,
        /// Number of queries in the batch.
        wanted: usize,
    },
    /// A query may attend nothing, or keys that do not exist.
    #[error(
        "query {query} of row {row} may attend keys {start}..{end}, wanted a range that is not empty within 0..{keys}"
    )]
    Range {
        /// Row of the batch.
        row: usize,
        /// Query in the row.
        query: usize,
        /// First key.
        start: usize,
        /// One past the last key.
        end: usize,
        /// Number of keys.
        keys: usize,
    },
}
