//! What Linux tells about this machine and this process; other systems tell nothing.

/// Returns the highest resident memory of this process in MiB, since its start or since
/// [`reset_peak_memory`].
pub fn peak_memory_mib() -> Option<f64> {
    Some(kib("/proc/self/status", "VmHWM:")? / 1024.0)
}

/// Returns the resident memory of this process in MiB.
pub fn memory_mib() -> Option<f64> {
    Some(kib("/proc/self/status", "VmRSS:")? / 1024.0)
}

/// Makes the system measure the peak anew. Where that is not allowed, the peak is the one since the
/// start.
pub fn reset_peak_memory() {
    let _ = fs_err::write("/proc/self/clear_refs", "5");
}

/// Returns the memory of the machine in MiB.
pub fn total_memory_mib() -> Option<u64> {
    Some(kib("/proc/meminfo", "MemTotal:")? as u64 / 1024)
}

/// Returns the name of the processor.
pub fn processor() -> Option<String> {
    let text = fs_err::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the number in the line of a file that begins with `name`.
fn kib(path: &str, name: &str) -> Option<f64> {
    let text = fs_err::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
