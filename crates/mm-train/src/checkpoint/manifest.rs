//! The manifest of a checkpoint: `checksums.json`, written last, lists every other file with its
//! size and CRC-32.
//!
//! A file that was cut short or lost, or in which a byte has changed on the disk, is named before
//! anything is read from it. CRC-32 is against accidents, not against forgery.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use mm_model::folder::write_atomic;
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// The name of the file of checksums.
const NAME: &str = "checksums.json";
/// The format that this version writes and reads.
const FORMAT: &str = "mm-checksums-1";

/// Says what a checkpoint folder turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manifest {
    /// Every file is as it was written.
    Whole,
    /// The folder has no checksums.
    Absent,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checksums {
    format: String,
    files: BTreeMap<String, Checksum>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checksum {
    bytes: u64,
    /// The checksum as eight hexadecimal digits.
    crc32: String,
}

/// Brings every file of `folder` to the disk and writes their checksums beside them.
pub(super) fn write(folder: &Path) -> Result<(), TrainError> {
    let mut files = BTreeMap::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        // The file is open for writing too, because some systems bring only such files to the disk.
        let mut file = fs_err::OpenOptions::new().read(true).write(true).open(&path)?;
        file.sync_all()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, checksum(&mut file)?);
    }
    let sums = Checksums { format: FORMAT.to_owned(), files };
    let json = serde_json::to_string_pretty(&sums).expect("checksums are plain data");
    write_atomic(&folder.join(NAME), json.as_bytes())?;
    sync_folder(folder)
}

/// Compares every file of `folder` with its checksum; the error names the first that differs, and
/// how.
pub(super) fn check(folder: &Path) -> Result<Manifest, TrainError> {
    let path = folder.join(NAME);
    if !path.exists() {
        return Ok(Manifest::Absent);
    }
    let wrong = |path: &Path, why: String| TrainError::State { path: path.to_owned(), why };
    let sums: Checksums = serde_json::from_slice(&fs_err::read(&path)?)
        .map_err(|why| wrong(&path, why.to_string()))?;
    if sums.format != FORMAT {
        let why = format!("has format `{}`, this program reads `{FORMAT}`", sums.format);
        return Err(wrong(&path, why));
    }
    for (name, written) in &sums.files {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(wrong(&path, "the file is missing".to_owned()));
        }
        let found = checksum(&mut fs_err::File::open(&path)?)?;
        if found.bytes != written.bytes {
            let why = format!("has {} bytes, {} were written", found.bytes, written.bytes);
            return Err(wrong(&path, why));
        }
        if found.crc32 != written.crc32 {
            let why = format!(
                "its content has changed: CRC-32 is {}, {} was written",
                found.crc32, written.crc32
            );
            return Err(wrong(&path, why));
        }
    }
    Ok(Manifest::Whole)
}

/// Brings the names in a folder to the disk, where the system has a way to.
pub(super) fn sync_folder(folder: &Path) -> Result<(), TrainError> {
    if cfg!(unix) {
        fs_err::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn checksum(file: &mut fs_err::File) -> Result<Checksum, TrainError> {
    let (mut crc, mut bytes) = (crc32fast::Hasher::new(), 0);
    let mut part = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            return Ok(Checksum { bytes, crc32: format!("{:08x}", crc.finalize()) });
        }
        crc.update(&part[..read]);
        bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what a folder of two files with a manifest is said to be after `harm`.
    fn said(harm: impl Fn(&Path)) -> String {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("a"), b"123456789").unwrap();
        fs_err::write(folder.path().join("b"), vec![7; 300_000]).unwrap();
        write(folder.path()).unwrap();
        harm(folder.path());
        match check(folder.path()) {
            Ok(found) => format!("{found:?}"),
            Err(why) => why.to_string().rsplit('/').next().unwrap().to_owned(),
        }
    }

    #[test]
    fn what_happened_to_a_file_is_said_by_its_name() {
        assert_eq!(said(|_| ()), "Whole");
        assert_eq!(said(|at| fs_err::remove_file(at.join(NAME)).unwrap()), "Absent");
        let said_of_a = |bytes: &[u8]| said(|at| fs_err::write(at.join("a"), bytes).unwrap());
        assert_eq!(said_of_a(b"12345678"), "a`: has 8 bytes, 9 were written");
        assert_eq!(
            said_of_a(b"123456788"),
            "a`: its content has changed: CRC-32 is bcf309b0, cbf43926 was written"
        );
        assert_eq!(
            said(|at| fs_err::remove_file(at.join("b")).unwrap()),
            "b`: the file is missing"
        );
        assert!(said(|at| fs_err::write(at.join(NAME), b"{").unwrap()).starts_with(NAME));
    }
}
