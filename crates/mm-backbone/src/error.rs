//! What can be wrong with a configuration that comes from outside.

/// An unusable backbone configuration.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
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
}
