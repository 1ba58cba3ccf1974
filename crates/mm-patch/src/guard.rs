//! Parsers of others that panic where a damaged file surprises them: such a panic is an error of
//! the item, and no news for a terminal.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Says whether a panic of this thread, now, is caught by [`guarded`] and becomes the error of
/// a record or a file. A program's panic hook asks this, and prints such a panic no more than other
/// errors that are handled.
///
/// ```
/// std::panic::set_hook(Box::new(|panic| {
///     if !mm_patch::is_guarded() {
///         eprintln!("{panic}");
///     }
/// }));
/// assert!(!mm_patch::is_guarded());
/// ```
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// Runs what parses outside bytes in another's code, and returns its panic as an error. What `work`
/// changed before it panicked is left as it is. Where panics end the process, as in a browser, this
/// catches nothing.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    let before = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_guarded_while_it_parses_and_not_after_a_panic() {
        assert!(!is_guarded());
        assert_eq!(guarded(is_guarded).ok(), Some(true));
        let inner = guarded(|| (guarded(is_guarded).ok(), is_guarded()));
        assert_eq!(inner.ok(), Some((Some(true), true)));
        assert!(guarded(|| std::panic::resume_unwind(Box::new("damaged"))).is_err());
        assert!(!is_guarded());
    }
}
