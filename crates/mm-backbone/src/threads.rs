//! Who does the work of the CPU kernels.

use std::cell::Cell;

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with every kernel that it calls kept on this thread: for callers that already gave each core a thread of
/// its own. Results are the same bits either way.
///
/// ```
/// assert_eq!(mm_backbone::on_this_thread(|| 2 + 2), 4);
/// ```
pub fn on_this_thread<R>(work: impl FnOnce() -> R) -> R {
    let before = ALONE.replace(true);
    let result = work();
    ALONE.set(before);
    result
}

/// Whether kernels called from this thread stay on it.
#[allow(dead_code)] // only kernels ask, and a build may have none
pub(crate) fn alone() -> bool {
    ALONE.get()
}
