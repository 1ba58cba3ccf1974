//! Names and times of what is made.

use std::time::{SystemTime, UNIX_EPOCH};

/// Makes an id that no other object has, such as `resp_3f…`.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}_{:032x}", rand::random::<u128>())
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
