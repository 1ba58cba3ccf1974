//! Tiles of products of 32-bit floats, with fused multiply-add, for products whose right factor
//! stands in no matrix ([`neighbors`](super::neighbors)); the others go through the `gemm` crate.

use super::buffer::Words;
use super::neighbors::{Factors, Framed};
use super::tile::Tile;

/// The instructions that a tile is computed with. Other processors have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Single {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Single {
    /// Returns the fastest way of this processor, or nothing if it has none.
    pub fn of_this_processor() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::InstructionSet;
            match InstructionSet::of_this_processor() {
                InstructionSet::Avx512 => Some(Self::Avx512),
                InstructionSet::Avx2 => Some(Self::Avx2),
                InstructionSet::Baseline => None,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// Returns every way of this processor.
    #[cfg(test)]
    pub fn all() -> Vec<Self> {
        let own = Self::of_this_processor();
        #[cfg(target_arch = "x86_64")]
        if own == Some(Self::Avx512) {
            return vec![Self::Avx512, Self::Avx2];
        }
        own.into_iter().collect()
    }
}

/// A number stands in a word of its own.
// SAFETY: the images are as long as the trait says, and tiles have these sizes.
unsafe impl Factors for Single {
    type Word = f32;
    const NUMBERS: usize = 1;

    fn tile_size(self) -> [usize; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => [8, 48],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => [6, 16],
        }
    }

    unsafe fn tile(self, tile: &Tile<'_, f32>) {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = tile;
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the caller's promise; the processor was found to have what this way needs.
            Self::Avx512 => unsafe { x86::avx512(tile) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2 => unsafe { x86::avx2(tile) },
        }
    }

    fn line(self, numbers: &[f32], to: &mut [f32]) {
        to[..numbers.len()].copy_from_slice(numbers);
    }

    fn channels(self, image: &Framed) -> Words<'_, f32> {
        Words::Lent(image.numbers())
    }

    fn pixels(self, image: &Framed, first: usize) -> Words<'_, f32> {
        debug_assert_eq!(first, 0, "a number in a word");
        let (step, stride) = (image.channels().next_multiple_of(16), image.stride());
        let mut turned: Words<'_, f32> = Words::take(stride * step);
        let lines = &image.numbers()[..image.channels() * stride];
        for channel in (0..step).step_by(16) {
            for at in (0..stride).step_by(16) {
                let mut square = [[0.0_f32; 16]; 16];
                for (row, line) in lines.chunks_exact(stride).skip(channel).take(16).enumerate() {
                    let numbers: &[f32; 16] = line[at..].first_chunk().expect("whole vectors");
                    for (square, number) in square.iter_mut().zip(numbers) {
                        square[row] = *number;
                    }
                }
                for (row, numbers) in square.iter().enumerate() {
                    turned[(at + row) * step + channel..][..16].copy_from_slice(numbers);
                }
            }
        }
        turned
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::tile::{Columns, Tile, of_its_size};

    /// Computes one tile of at most eight rows and three vectors of columns: 24 sums, three vectors
    /// of the right factor and one of the left fill the 32 registers.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, and the pointers of the tile reach as far as it says.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512(tile: &Tile<'_, f32>) {
        // SAFETY: the caller's promise is passed on.
        unsafe { of_its_size!(avx512_of, tile) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_of<const M: usize, const N: usize>(tile: &Tile<'_, f32>) {
        let mut sums = [[_mm512_setzero_ps(); N]; M];
        let columns: &[Columns<f32>; N] = tile.columns.first_chunk().expect("as many vectors");
        let mut a = tile.a;
        // SAFETY: the caller's tile holds so many sections, inner indices, rows and vectors.
        unsafe {
            for section in tile.sections {
                let mut at = *section;
                for _ in 0..tile.inner {
                    let right = columns.map(|of| _mm512_loadu_ps(of.b.add(at)));
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let left = _mm512_set1_ps(*a.add(m * tile.a_row));
                        for (sum, right) in sums.iter_mut().zip(right) {
                            *sum = _mm512_fmadd_ps(left, right, *sum);
                        }
                    }
                    a = a.add(tile.a_step);
                    at += tile.b_step;
                }
            }
            let scale = _mm512_set1_ps(tile.scale);
            for (m, sums) in sums.into_iter().enumerate() {
                for (of, sum) in columns.iter().zip(sums) {
                    let out = of.out.add(tile.out_first + m * tile.out_row);
                    let mask = if of.count >= 16 { !0 } else { (1 << of.count) - 1 };
                    let mut y = _mm512_mul_ps(sum, scale);
                    if tile.keep {
                        y = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), y);
                    }
                    _mm512_mask_storeu_ps(out, mask, y);
                }
            }
        }
    }

    /// Computes one tile of at most six rows and one vector of columns, in two halves: twelve sums,
    /// two of the right factor and one of the left in sixteen registers.
    ///
    /// # Safety
    ///
    /// The processor has AVX2 and FMA, and the pointers of the tile reach as far as it says.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2(tile: &Tile<'_, f32>) {
        // SAFETY: the caller's promise is passed on.
        unsafe {
            match tile.rows {
                1 => avx2_of::<1>(tile),
                2 => avx2_of::<2>(tile),
                3 => avx2_of::<3>(tile),
                4 => avx2_of::<4>(tile),
                5 => avx2_of::<5>(tile),
                _ => avx2_of::<6>(tile),
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_of<const M: usize>(tile: &Tile<'_, f32>) {
        let mut sums = [[_mm256_setzero_ps(); 2]; M];
        let [of] = tile.columns else { unreachable!("a tile of one vector") };
        let mut a = tile.a;
        // SAFETY: the caller's tile holds so many sections, inner indices and rows.
        unsafe {
            for section in tile.sections {
                let mut at = *section;
                for _ in 0..tile.inner {
                    let right = [0, 8].map(|half| _mm256_loadu_ps(of.b.add(at + half)));
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let left = _mm256_set1_ps(*a.add(m * tile.a_row));
                        for (sum, right) in sums.iter_mut().zip(right) {
                            *sum = _mm256_fmadd_ps(left, right, *sum);
                        }
                    }
                    a = a.add(tile.a_step);
                    at += tile.b_step;
                }
            }
            for (m, sums) in sums.into_iter().enumerate() {
                let out = of.out.add(tile.out_first + m * tile.out_row);
                let mut numbers = [0.0_f32; 16];
                _mm256_storeu_ps(numbers.as_mut_ptr(), sums[0]);
                _mm256_storeu_ps(numbers.as_mut_ptr().add(8), sums[1]);
                for (n, number) in numbers.into_iter().enumerate().take(of.count) {
                    let y = number * tile.scale;
                    let out = out.add(n);
                    *out = if tile.keep { *out + y } else { y };
                }
            }
        }
    }
}
