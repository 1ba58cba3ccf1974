//! Fitted pixels of a folder's images in one file, so that an image is decoded once and not once an
//! epoch.
//!
//! The file is a row of slots of equal size, one for each image of the listing, and is filled as
//! images are first used: a run starts at once, and from the second epoch on reads pixels.
//!
//! ```text
//! file = HEAD | slot | slot | ...
//! slot = stamp u64 | width u32 | height u32 | checksum u64 | pixels, padded to the largest image
//! ```
//!
//! A file that does not begin with [`HEAD`] is somebody's, and is refused rather than written over.
//!
//! The stamp is a hash of the image's place in the folder, its length, its time of modification and
//! the settings it was fitted with; the checksum is over the pixels. A slot that does not bear the
//! wanted stamp, or was cut short by a kill, is stale: its image is decoded again and the slot
//! written over. So the file needs no renaming, is always safe to delete, and may be shared by
//! processes.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use mm_patch::Image;

use crate::error::DataError;
use crate::image::Frame;

/// What a cache begins with; the number is the version of what follows.
const HEAD: &[u8; 16] = b"mm pixel cache 1";
const HEADER_BYTES: usize = 24;

/// The open file.
#[derive(Debug)]
pub(super) struct Cache {
    file: Mutex<fs_err::File>,
    slot_bytes: usize,
    settings: u64,
}

impl Cache {
    /// Opens a cache, or makes one that is empty. Holes take no place on most file systems.
    pub(super) fn open(path: &Path, frame: &Frame) -> Result<Self, DataError> {
        let (file, is_cache) = open(path).map_err(DataError::Cache)?;
        if !is_cache {
            return Err(DataError::NoCache { path: path.into() });
        }
        let slot_bytes = HEADER_BYTES + frame.most_pixel_bytes();
        Ok(Self { file: Mutex::new(file), slot_bytes, settings: frame.hash() })
    }

    /// Returns the image of a slot, if it is there and of this stamp.
    pub(super) fn get(&self, slot: usize, stamp: u64) -> Option<Image> {
        let mut bytes = vec![0; self.slot_bytes];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(self.place(slot))).ok()?;
            file.read_exact(&mut bytes).ok()?;
        }
        self.unpack(&bytes, stamp)
    }

    /// Fills a slot; an image larger than a slot is left out.
    pub(super) fn put(&self, slot: usize, stamp: u64, image: &Image) -> io::Result<()> {
        let rgb = image.rgb();
        if HEADER_BYTES + rgb.len() > self.slot_bytes {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.slot_bytes);
        bytes.extend((stamp ^ self.settings).to_le_bytes());
        bytes.extend((image.width() as u32).to_le_bytes());
        bytes.extend((image.height() as u32).to_le_bytes());
        bytes.extend(checksum(rgb).to_le_bytes());
        bytes.extend(rgb);
        bytes.resize(self.slot_bytes, 0);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.place(slot)))?;
        file.write_all(&bytes)
    }

    fn unpack(&self, bytes: &[u8], stamp: u64) -> Option<Image> {
        let (header, pixels) = bytes.split_at_checked(HEADER_BYTES)?;
        let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let short = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        if long(0) != stamp ^ self.settings {
            return None;
        }
        let (width, height) = (short(8) as usize, short(12) as usize);
        let rgb = pixels.get(..width.checked_mul(height)?.checked_mul(mm_patch::RGB_CHANNELS)?)?;
        if checksum(rgb) != long(16) {
            return None;
        }
        Image::new(width, height, rgb.to_vec()).ok()
    }

    fn place(&self, slot: usize) -> u64 {
        HEAD.len() as u64 + slot as u64 * self.slot_bytes as u64
    }
}

/// Opens a file and says whether it is a cache; an empty one becomes one. Processes that begin one
/// together write the same bytes.
fn open(path: &Path) -> io::Result<(fs_err::File, bool)> {
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    let mut head = Vec::with_capacity(HEAD.len());
    (&file).take(HEAD.len() as u64).read_to_end(&mut head)?;
    if head.is_empty() {
        file.write_all(HEAD)?;
        head.extend(HEAD);
    }
    Ok((file, head == HEAD))
}

/// Computes FNV-1a over words of eight bytes: fast, and any flipped bit changes it.
fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64, |hash, word| {
        (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{most_pixels, white};
    use crate::{ImageFit, ImageSettings};

    fn frame(width: usize) -> Frame {
        let image = ImageSettings { width, height: 8, patch: 8 };
        Frame::new(ImageFit::CenterCrop, white(), most_pixels(), image).unwrap()
    }

    #[test]
    fn a_slot_comes_back_under_its_own_stamp_and_settings_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pixels");
        let (red, blue) = (Image::filled(16, 8, [200, 0, 0]), Image::filled(8, 8, [0, 0, 200]));
        let cache = Cache::open(&path, &frame(16)).unwrap();
        assert_eq!(cache.get(0, 7), None);
        cache.put(5, 7, &red).unwrap();
        cache.put(2, 8, &blue).unwrap();
        cache.put(1, 9, &Image::filled(80, 80, [0; 3])).unwrap();
        let again = Cache::open(&path, &frame(16)).unwrap();
        assert_eq!((again.get(5, 7), again.get(2, 8)), (Some(red), Some(blue)));
        assert_eq!((again.get(5, 8), again.get(1, 9), again.get(0, 0)), (None, None, None));
        assert_eq!(Cache::open(&path, &frame(24)).unwrap().get(0, 7), None);
    }

    #[test]
    fn a_slot_with_a_flipped_bit_or_a_cut_end_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pixels");
        let cache = Cache::open(&path, &frame(16)).unwrap();
        cache.put(0, 7, &Image::filled(16, 8, [1, 2, 3])).unwrap();
        let whole = fs_err::read(&path).unwrap();
        for at in [0, 9, 13, 17, 24, 24 + 100] {
            let mut bytes = whole.clone();
            bytes[HEAD.len() + at] ^= 0x40;
            fs_err::write(&path, bytes).unwrap();
            assert_eq!(cache.get(0, 7), None, "byte {at}");
        }
        fs_err::write(&path, &whole[..100]).unwrap();
        assert_eq!(cache.get(0, 7), None);
    }

    #[test]
    fn a_file_that_is_no_cache_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious.txt");
        for bytes in [&b"m"[..], b"precious", b"mm pixel cache 2 and its slots", &[0; 500]] {
            fs_err::write(&path, bytes).unwrap();
            let error = Cache::open(&path, &frame(16)).unwrap_err().to_string();
            let wanted = format!("`data.cache` `{}` is no cache of images", path.display());
            assert!(error.starts_with(&wanted) && error.contains("delete"), "{error}");
            assert_eq!(fs_err::read(&path).unwrap(), bytes);
        }
        fs_err::write(&path, b"").unwrap();
        Cache::open(&path, &frame(16)).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), HEAD);
    }
}
