//! The product of packed factors with AVX512-BF16, and the packing: `vdpbf16ps` multiplies two
//! pairs of 16-bit numbers in each of sixteen lanes and adds both products to 32-bit sums.

use std::arch::x86_64::*;

use super::{Columns, Panel, Tile};
use crate::flex::tile::of_its_size;

/// Rows of a full tile.
pub(super) const ROWS: usize = 8;
/// Vectors of sixteen columns of a full tile: 24 sums, three vectors of the right factor and one of
/// the left fill the 32 registers.
pub(super) const VECTORS: usize = 3;

/// Computes one tile of at most [`ROWS`] rows and [`VECTORS`] vectors of columns.
///
/// # Safety
///
/// The processor has AVX-512 F, BW and BF16, and the pointers of the tile reach as far as it says.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn tile(tile: &Tile<'_, u32>) {
    // SAFETY: the caller's promise is passed on.
    unsafe { of_its_size!(tile_of, tile) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile_of<const M: usize, const N: usize>(tile: &Tile<'_, u32>) {
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    let columns: &[Columns<u32>; N] = tile.columns.first_chunk().expect("as many vectors");
    let mut a = tile.a;
    // SAFETY: the caller's tile holds so many sections, pairs, rows and vectors.
    unsafe {
        for section in tile.sections {
            let mut at = *section;
            for _ in 0..tile.inner {
                let right = columns.map(|of| _mm512_loadu_si512(of.b.add(at).cast()));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let left = bf16(_mm512_set1_epi32(*a.add(m * tile.a_row) as i32));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = _mm512_dpbf16_ps(*sum, left, bf16(right));
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
                let mask = mask(of.count);
                let mut y = _mm512_mul_ps(sum, scale);
                if tile.keep {
                    y = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), y);
                }
                if mask == !0 {
                    _mm512_storeu_ps(out, y);
                } else {
                    _mm512_mask_storeu_ps(out, mask, y);
                }
            }
        }
    }
}

/// Selects the first lanes, as many as `count`, at most sixteen.
fn mask(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bf16(x: __m512i) -> __m512bh {
    // SAFETY: both types are 64 bytes, and every bit pattern is a value of each.
    unsafe { std::mem::transmute(x) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both types are 64 bytes, and every bit pattern is a value of each.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Rounds one line, whose numbers stand one after another, to pairs one after another.
///
/// # Safety
///
/// The processor has AVX-512 F and BF16; `from` holds `count` numbers and `to` as many rounded up
/// to 32, two in a place.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn pack_line(from: *const f32, count: usize, to: *mut u32) {
    // SAFETY: the caller's promise; masks keep the last loads inside.
    unsafe {
        for at in (0..count).step_by(32) {
            let left = count - at;
            let (low, high) = if left >= 32 {
                (_mm512_loadu_ps(from.add(at)), _mm512_loadu_ps(from.add(at + 16)))
            } else {
                let low = _mm512_maskz_loadu_ps(mask(left), from.add(at));
                let high = from.wrapping_add(at + 16);
                (low, _mm512_maskz_loadu_ps(mask(left.saturating_sub(16)), high))
            };
            _mm512_storeu_si512(to.add(at / 2).cast(), rounded(low, high));
        }
    }
}

/// Packs a panel whose lines hold the same inner index: two lines become one of pairs.
///
/// # Safety
///
/// The processor has AVX-512 F, BW and BF16; the panel's pointers reach as far as it says.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn interleave(panel: &Panel) {
    let mut order = [0u16; 32];
    for (at, place) in order.iter_mut().enumerate() {
        *place = (at / 2 + at % 2 * 16) as u16;
    }
    let vectors = panel.cols.div_ceil(16);
    // SAFETY: the caller's promise; masks keep the last loads inside.
    unsafe {
        let order = _mm512_loadu_si512(order.as_ptr().cast());
        for pair in 0..panel.inner.div_ceil(2) {
            let low = panel.from.add(2 * pair * panel.line);
            let has_high = 2 * pair + 1 < panel.inner;
            let high = if has_high { low.add(panel.line) } else { low };
            let to = panel.to.add(pair * panel.step);
            for n in 0..vectors {
                let lanes = mask(panel.cols - 16 * n);
                let (low, high) = if lanes == !0 && has_high {
                    (_mm512_loadu_ps(low.add(16 * n)), _mm512_loadu_ps(high.add(16 * n)))
                } else {
                    let of_high = if has_high { lanes } else { 0 };
                    (
                        _mm512_maskz_loadu_ps(lanes, low.add(16 * n)),
                        _mm512_maskz_loadu_ps(of_high, high.add(16 * n)),
                    )
                };
                let pairs = _mm512_permutexvar_epi16(order, rounded(low, high));
                _mm512_storeu_si512(to.add(16 * n).cast(), pairs);
            }
        }
    }
}

/// Packs a panel whose lines hold the same column: sixteen lines are turned at a time.
///
/// # Safety
///
/// The processor has AVX-512 F and BF16; the panel's pointers reach as far as it says.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn transpose(panel: &Panel) {
    // SAFETY: the caller's promise; masks keep the last loads inside.
    unsafe {
        for col in (0..panel.cols).step_by(16) {
            let lines = (panel.cols - col).min(16);
            for inner in (0..panel.inner).step_by(32) {
                let left = panel.inner - inner;
                let masks = [mask(left), mask(left.saturating_sub(16))];
                let mut square = [_mm512_setzero_si512(); 16];
                for (line, pairs) in square.iter_mut().enumerate().take(lines) {
                    let from = panel.from.add((col + line) * panel.line + inner);
                    let low = _mm512_maskz_loadu_ps(masks[0], from);
                    let high = _mm512_maskz_loadu_ps(masks[1], from.wrapping_add(16));
                    *pairs = rounded(low, high);
                }
                turn(&mut square);
                let to = panel.to.add(inner / 2 * panel.step + col);
                for (pair, numbers) in square.iter().enumerate().take(left.div_ceil(2)) {
                    _mm512_storeu_si512(to.add(pair * panel.step).cast(), *numbers);
                }
            }
        }
    }
}

/// Transposes sixteen rows of sixteen places.
#[inline]
#[target_feature(enable = "avx512f")]
fn turn(rows: &mut [__m512i; 16]) {
    let r = *rows;
    let mut s = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        s[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        s[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    let mut t = [_mm512_setzero_si512(); 16]; // t[4 g + c]: column 4 l + c of rows 4 g.. in lane l
    for g in 0..4 {
        t[4 * g] = _mm512_unpacklo_epi64(s[4 * g], s[4 * g + 2]);
        t[4 * g + 1] = _mm512_unpackhi_epi64(s[4 * g], s[4 * g + 2]);
        t[4 * g + 2] = _mm512_unpacklo_epi64(s[4 * g + 1], s[4 * g + 3]);
        t[4 * g + 3] = _mm512_unpackhi_epi64(s[4 * g + 1], s[4 * g + 3]);
    }
    for c in 0..4 {
        let even = _mm512_shuffle_i32x4::<0x88>(t[c], t[4 + c]); // lanes 0, 2 of both
        let odd = _mm512_shuffle_i32x4::<0xdd>(t[c], t[4 + c]); // lanes 1, 3 of both
        let even_more = _mm512_shuffle_i32x4::<0x88>(t[8 + c], t[12 + c]);
        let odd_more = _mm512_shuffle_i32x4::<0xdd>(t[8 + c], t[12 + c]);
        rows[c] = _mm512_shuffle_i32x4::<0x88>(even, even_more);
        rows[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even, even_more);
        rows[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd, odd_more);
        rows[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_more);
    }
}
