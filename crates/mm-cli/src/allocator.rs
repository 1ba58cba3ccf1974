//! The program's allocator, mimalloc, told to keep what is freed for ten seconds: every training step frees and asks for the
//! same large pieces, and pages that go back to the system meanwhile come back zeroed, at the price of some 4 % of a step.

/// The number of `mi_option_purge_delay` in mimalloc's header, the same in its versions 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds.
const DELAY: std::ffi::c_long = 10_000;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sets the delay, unless the environment does.
pub fn keep_freed_memory() {
    // SAFETY: the function takes any option's number and any value, and is called before other threads start.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, DELAY) }
}
