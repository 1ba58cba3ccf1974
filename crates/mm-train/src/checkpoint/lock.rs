//! One process at a time trains in a run folder.
//!
//! The lock is on an open file, so it goes with the process that holds it, however that ends. The
//! file itself stays and means nothing. Where the file system knows no locks there is none.

use std::fs::TryLockError;
use std::path::Path;

use crate::TrainError;

/// The name of the file that is locked.
const NAME: &str = "lock";

/// Locks a folder for as long as the file is open; fails if another process has locked it, or this
/// one already.
pub(super) fn take(folder: &Path) -> Result<fs_err::File, TrainError> {
    // The file is open for reading too, because some systems lock no file that can only be appended
    // to.
    let mut options = fs_err::OpenOptions::new();
    let file = options.read(true).append(true).create(true).open(folder.join(NAME))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(TrainError::Busy { path: folder.to_owned() }),
        Err(TryLockError::Error(_)) | Ok(()) => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path()).unwrap();
        let said = take(folder.path()).unwrap_err();
        assert!(matches!(&said, TrainError::Busy { path } if path == folder.path()), "{said}");
        drop(first);
        take(folder.path()).unwrap();
    }
}
