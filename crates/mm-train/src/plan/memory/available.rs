//! How much memory a process may take, where the system says it (Linux).

use std::path::Path;

/// Reads a file of the system; gives nothing if it is not there.
type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// Returns the bytes that this process may hold in all: what is free, on disk too, and what it
/// holds already, but no more than the limits of its control groups. Returns nothing where the
/// system does not tell.
pub(super) fn available_bytes() -> Option<f64> {
    available(&|path| fs_err::read_to_string(path).ok())
}

fn available(read: Read<'_>) -> Option<f64> {
    let machine = read(Path::new("/proc/meminfo"))?;
    let own = read(Path::new("/proc/self/status")).unwrap_or_default();
    let others = [(&machine, "SwapFree:"), (&own, "RssAnon:")];
    let more: f64 = others.iter().filter_map(|(text, name)| bytes_of(text, name)).sum();
    let free = bytes_of(&machine, "MemAvailable:")? + more;
    Some(limits(read).into_iter().fold(free, f64::min))
}

/// Returns the bytes that the text gives for a name, in kibibytes.
fn bytes_of(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(1024.0 * line.split_whitespace().next()?.parse::<f64>().ok()?)
}

/// Returns the limits of the control groups of this process, of both versions of them, and of the
/// groups around those.
fn limits(read: Read<'_>) -> Vec<f64> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mut limits = vec![];
    for line in groups.lines() {
        let (root, file, group) = match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            [_, "", group] => ("/sys/fs/cgroup", "memory.max", group),
            [_, "memory", group] => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", group),
            _ => continue,
        };
        for group in Path::new(group.trim_start_matches('/')).ancestors() {
            let text = read(&Path::new(root).join(group).join(file));
            // Without a limit the file holds the word `max`.
            limits.extend(text.and_then(|text| text.trim().parse::<f64>().ok()));
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], wanted: Option<f64>) {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        assert_eq!(available(&read), wanted, "{files:?}");
    }

    #[test]
    fn what_is_free_and_held_counts_up_to_the_limit_of_any_group() {
        let machine = ("/proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    7 kB\nSwapFree: 2 kB\n");
        let own = ("/proc/self/status", "VmRSS:\t    4 kB\nRssAnon:\t       3 kB\n");
        check(&[], None);
        check(&[machine], Some(9.0 * 1024.0));
        check(&[machine, own], Some(12.0 * 1024.0));
        let group = ("/proc/self/cgroup", "4:memory:/a/b\n3:cpu:/c\n0::/d\n");
        let outer = ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "5000\n");
        check(&[machine, own, group, outer], Some(5000.0));
        let second = ("/sys/fs/cgroup/memory.max", "4000\n");
        check(&[machine, own, group, outer, second], Some(4000.0));
        check(&[machine, own, group, ("/sys/fs/cgroup/d/memory.max", "max\n")], Some(12288.0));
    }
}
