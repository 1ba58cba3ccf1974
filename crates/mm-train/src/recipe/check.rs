//! The checks of fields, which every table of a recipe uses.

use crate::RecipeError;

/// Collects what is wrong with the values of a recipe, so that all of it is said at once.
#[derive(Debug, Default)]
pub(super) struct Checks {
    errors: Vec<RecipeError>,
}

impl Checks {
    /// Adds an error if something does not hold of a field; what the field holds is filled in where
    /// validation ends. Only the first error of a field is kept.
    pub(super) fn check(&mut self, field: &'static str, holds: bool, wanted: &'static str) {
        let known = |why: &RecipeError| matches!(why, RecipeError::Field { field: other, .. } if *other == field);
        if !holds && !self.errors.iter().any(known) {
            self.errors.push(RecipeError::Field { field, found: String::new(), wanted });
        }
    }

    /// Adds the error of another check.
    pub(super) fn add<E: Into<RecipeError>>(&mut self, found: Result<(), E>) {
        self.errors.extend(found.err().map(Into::into));
    }

    /// Returns whether nothing is wrong so far.
    pub(super) fn are_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// Returns the errors in the order in which they were found.
    pub(super) fn into_errors(self) -> Vec<RecipeError> {
        self.errors
    }
}
