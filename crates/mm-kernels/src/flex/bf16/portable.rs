//! The product of packed factors on every processor, with the rounding of `vdpbf16ps`: products of
//! two 16-bit numbers are exact in 32 bits, so a sum is rounded once a product.

use super::{Panel, Tile};
use crate::flex::simd::vectorised;

/// Rows of a full tile.
pub(super) const ROWS: usize = 4;
/// Vectors of sixteen columns of a full tile.
pub(super) const VECTORS: usize = 1;
const COLS: usize = 16 * VECTORS;

/// Rounds to the nearest of 16 bits, ties to even. As `vcvtneps2bf16` does, it takes what is below
/// the smallest normal number for zero, and makes NaN quiet.
#[inline(always)]
pub(super) fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let size = bits & 0x7fff_ffff;
    if size > 0x7f80_0000 {
        return (bits >> 16) | 0x40;
    }
    if size < 0x0080_0000 {
        return (bits >> 31) << 15;
    }
    (bits + 0x7fff + (bits >> 16 & 1)) >> 16
}

vectorised! {
    /// Computes one tile of at most [`ROWS`] rows and [`VECTORS`] vectors of columns.
    fn tile_in_vectors(a: &[u32], b: &[u32], tile: &Tile<'_, u32>, sums: &mut [[f32; COLS]; ROWS]) {
        let mut own = *sums;
        let pairs = tile.sections.iter().flat_map(|at| (0..tile.inner).map(move |p| (at, p)));
        for (index, (section, pair)) in pairs.enumerate() {
            let right = &b[section + pair * tile.b_step..][..COLS];
            for (m, sums) in own.iter_mut().enumerate() {
                let left = a[m.min(tile.rows - 1) * tile.a_row + index * tile.a_step];
                let [low, high] = halves(left);
                for (sum, right) in sums.iter_mut().zip(right) {
                    let [right_low, right_high] = halves(*right);
                    *sum = *sum + high * right_high + low * right_low;
                }
            }
        }
        *sums = own;
    }
}

#[inline(always)]
fn halves(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}

/// Computes one tile.
///
/// # Safety
///
/// The pointers of the tile reach as far as it says.
pub(super) unsafe fn tile(tile: &Tile<'_, u32>) {
    let [columns] = tile.columns else { unreachable!("a tile of one vector") };
    let mut sums = [[0.0; COLS]; ROWS];
    let pairs = tile.sections.len() * tile.inner;
    let a_len = (tile.rows - 1) * tile.a_row + (pairs - 1) * tile.a_step + 1;
    let last = tile.sections.iter().max().expect("a section");
    let b_len = last + (tile.inner - 1) * tile.b_step + COLS;
    // SAFETY: the caller's promise.
    let (a, b) = unsafe {
        (std::slice::from_raw_parts(tile.a, a_len), std::slice::from_raw_parts(columns.b, b_len))
    };
    tile_in_vectors(a, b, tile, &mut sums);
    for (m, sums) in sums.iter().enumerate().take(tile.rows) {
        let first = tile.out_first + m * tile.out_row;
        // SAFETY: the caller's promise.
        let out = unsafe { std::slice::from_raw_parts_mut(columns.out.add(first), columns.count) };
        for (out, sum) in out.iter_mut().zip(sums) {
            let y = sum * tile.scale;
            *out = if tile.keep { *out + y } else { y };
        }
    }
}

/// Packs one line; see the file beside.
///
/// # Safety
///
/// `from` holds `count` numbers and `to` as many rounded up to 32, two in a place.
pub(super) unsafe fn pack_line(from: *const f32, count: usize, to: *mut u32) {
    // SAFETY: the caller's promise.
    let (from, to) = unsafe {
        let to = std::slice::from_raw_parts_mut(to, count.next_multiple_of(32) / 2);
        (std::slice::from_raw_parts(from, count), to)
    };
    to.fill(0);
    for (to, from) in to.iter_mut().zip(from.chunks(2)) {
        *to = round(from[0]) | from.get(1).map_or(0, |x| round(*x) << 16);
    }
}

/// Packs a panel whose lines hold the same inner index.
///
/// # Safety
///
/// The panel's pointers reach as far as it says.
pub(super) unsafe fn interleave(panel: &Panel) {
    // SAFETY: the caller's promise.
    unsafe { pack(panel, panel.line, 1) }
}

/// Packs a panel whose lines hold the same column.
///
/// # Safety
///
/// The panel's pointers reach as far as it says.
pub(super) unsafe fn transpose(panel: &Panel) {
    // SAFETY: the caller's promise.
    unsafe { pack(panel, 1, panel.line) }
}

unsafe fn pack(panel: &Panel, inner_step: usize, col_step: usize) {
    for pair in 0..panel.inner.div_ceil(2) {
        for col in 0..panel.cols.next_multiple_of(16) {
            let number = |inner: usize| {
                if inner >= panel.inner || col >= panel.cols {
                    return 0;
                }
                // SAFETY: the caller's promise; both indices are inside.
                round(unsafe { *panel.from.add(inner * inner_step + col * col_step) })
            };
            let both = number(2 * pair) | number(2 * pair + 1) << 16;
            // SAFETY: the caller's promise.
            unsafe { *panel.to.add(pair * panel.step + col) = both }
        }
    }
}
