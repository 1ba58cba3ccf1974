//! Work memory that is used again: what a step has taken, the next step takes.
//!
//! Buffers come in sizes of four steps an octave, so that batches of changing lengths share them;
//! at most a quarter of a buffer is unused. Nothing is zeroed on the way: a taken buffer holds
//! whatever it held before.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use crate::work_memory::buffer_size;

static FREE: Mutex<BTreeMap<usize, Vec<Vec<f32>>>> = Mutex::new(BTreeMap::new());

/// Some numbers of work memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    data: Vec<f32>,
    len: usize,
}

/// Takes `len` numbers with unspecified values.
pub(crate) fn take(len: usize) -> Buffer {
    let size = buffer_size(len);
    let free = FREE.lock().expect("no holder panics").get_mut(&size).and_then(Vec::pop);
    Buffer { data: free.unwrap_or_else(|| vec![0.0; size]), len }
}

/// Takes `len` zeros.
pub(crate) fn take_zeroed(len: usize) -> Buffer {
    let mut buffer = take(len);
    buffer.fill(0.0);
    buffer
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        FREE.lock().expect("no holder panics").entry(data.len()).or_default().push(data);
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = take(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.len]
    }
}

/// What work memory holds: a float, or a pair of 16-bit ones.
///
/// # Safety
///
/// It is as large as a 32-bit float and aligned as one, and any bits are a value of it.
pub(crate) unsafe trait Word: Copy + Default + Send + Sync {}

// SAFETY: a 32-bit float is as large as itself.
unsafe impl Word for f32 {}
// SAFETY: both have four bytes, and any bits are an integer.
unsafe impl Word for u32 {}

/// Packed numbers: work memory that begins at the start of a line of the cache, or what was there.
#[derive(Debug)]
pub(crate) enum Words<'a, T> {
    Own {
        numbers: Buffer,
        /// Those in front of a line of the cache.
        skipped: usize,
        words: PhantomData<T>,
    },
    Lent(&'a [T]),
}

impl<T: Word> Words<'_, T> {
    /// Takes so many words with unspecified values.
    pub fn take(count: usize) -> Self {
        let numbers = take(count + 16);
        let skipped = numbers.as_ptr().cast::<u8>().align_offset(64) / size_of::<f32>();
        Self::Own { numbers, skipped, words: PhantomData }
    }
}

impl<T: Word> Deref for Words<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Own { numbers, skipped, .. } => {
                let numbers = &numbers[*skipped..];
                // SAFETY: words are as large as numbers, and any bits are one.
                unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len()) }
            }
            Self::Lent(words) => words,
        }
    }
}

impl<T: Word> DerefMut for Words<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let Self::Own { numbers, skipped, .. } = self else {
            unreachable!("what was there is only read")
        };
        let numbers = &mut numbers[*skipped..];
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), numbers.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_as_long_as_asked_and_wastes_at_most_a_quarter() {
        for len in (1..5000).chain([1 << 20, (1 << 20) + 1]) {
            let size = buffer_size(len);
            assert!(size >= len && (size <= len + len / 4 + 1 || size == 64), "{len}: {size}");
            assert_eq!(take(len).len(), len);
        }
    }
}
