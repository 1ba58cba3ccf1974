//! The check of one field, which every table of a recipe uses.

use crate::RecipeError;

/// Fails if something does not hold of a field; what the field holds is filled in where validation
/// ends.
pub(super) fn check(
    field: &'static str,
    holds: bool,
    wanted: &'static str,
) -> Result<(), RecipeError> {
    if holds { Ok(()) } else { Err(RecipeError::Field { field, found: String::new(), wanted }) }
}
