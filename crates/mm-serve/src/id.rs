//! Names and times of what is made.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// Makes an id that no other object has, such as `resp_3f…`.
pub(crate) fn new_id(prefix: &str) -> String {
    let keyed = RandomState::new(); // its keys come from the operating system
    format!("{prefix}_{:016x}{:016x}", keyed.hash_one(0), keyed.hash_one(1))
}

/// Returns a seed that differs from request to request. It has 32 bits, so that programs that keep
/// numbers as floats can give it back.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one("seed") >> 32
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
