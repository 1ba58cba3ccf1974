//! Files of one run, in memory where the system has a file system there.

use std::path::Path;

use tempfile::TempDir;

/// Makes a folder that is gone when it is dropped.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a writable folder for temporary files")
}

/// Writes a file of a temporary folder.
pub fn write(folder: &TempDir, name: &str, bytes: &[u8]) {
    fs_err::write(folder.path().join(name), bytes).expect("a writable temporary folder");
}
