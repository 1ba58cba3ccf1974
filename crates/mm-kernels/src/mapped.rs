//! Files that are mapped into memory.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use memmap2::{Mmap, MmapAsRawDesc};

/// The bytes of a file, which are read when they are first asked for.
#[derive(Debug, Clone)]
pub struct MappedFile(Bytes);

/// Maps a whole file to be read.
///
/// The bytes are those of the file: it must not be changed or shortened as long as they are used.
/// This program replaces files of weights by renaming new ones over them, which leaves a mapping as
/// it is.
pub fn map_file(file: impl MmapAsRawDesc) -> io::Result<MappedFile> {
    // SAFETY: the mapping is read alone. Nobody writes into a file of weights, as said above.
    let map = unsafe { Mmap::map(file) }?;
    Ok(MappedFile(Bytes::from_owner(map)))
}

impl MappedFile {
    /// Returns bytes of the file without a copy; nothing if it is shorter.
    pub fn get(&self, range: Range<usize>) -> Option<Bytes> {
        (range.start <= range.end && range.end <= self.0.len()).then(|| self.0.slice(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_has_the_bytes_of_the_file_and_no_others() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let wanted = fs_err::read(path).unwrap();
        let mapped = map_file(&fs_err::File::open(path).unwrap().into_file()).unwrap();
        assert_eq!(&mapped.get(0..wanted.len()).unwrap()[..], &wanted[..]);
        assert_eq!(&mapped.get(3..5).unwrap()[..], &wanted[3..5]);
        assert!(mapped.get(0..wanted.len() + 1).is_none());
    }
}
