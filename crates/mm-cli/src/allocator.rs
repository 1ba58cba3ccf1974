//! The allocator of the program: mimalloc, which keeps freed memory for ten seconds. Every training
//! step frees and allocates the same large blocks, and pages that return to the system meanwhile
//! come back zeroed, which costs about 4 % of a step.

/// The number of `mi_option_purge_delay` in mimalloc's header, the same in its versions 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// The delay in milliseconds.
const DELAY: std::ffi::c_long = 10_000;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sets the delay, unless the environment sets it.
#[allow(unsafe_code)]
pub fn keep_freed_memory() {
    // SAFETY: the function takes the number of any option and any value, and it is called before
    // other threads start.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, DELAY) }
}
