//! Matrix products of factors that are rounded to bfloat16, with 32-bit sums.
//!
//! ```text
//! C = c C₀ + s Σ_k bf16(A_ik) bf16(B_kj)
//! ```
//!
//! Factors are rounded while they are packed in pairs of inner indices, the form that `vdpbf16ps`
//! takes. A block of the left factor, [`MOST_ROWS`] by [`MOST_INNER`], stays in the second cache;
//! the right factor is packed a panel of a tile's columns at a time, which meets all rows of the
//! block, unless it was [packed](Packed) as a whole before.
//!
//! The sum of a number of the product runs over the inner index in order, in one lane, cut at every
//! [`MOST_INNER`]: its bits depend on nothing but its own row, its own column and that cut. Other
//! processors take the [portable] way, which gives the same bits, but for numbers below the
//! smallest normal one, which `vdpbf16ps` takes for zero.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
#[cfg(test)]
mod tests;

use super::buffer::Words;
use super::factor::Matrix;
use super::neighbors::{Factors, Framed, GAP};
use super::tile::{Columns, TILE_COLUMNS, Tile};

/// Rows of a packed block of the left factor.
const MOST_ROWS: usize = 512;
/// Inner indices of a packed block, an even number.
const MOST_INNER: usize = 768;
/// Columns of a packed panel of a left factor whose rows stand apart.
const LEFT_PANEL: usize = 16;

/// A panel of a factor, which is to be packed.
struct Panel {
    from: *const f32,
    /// Numbers from one line to the next.
    line: usize,
    /// Inner indices.
    inner: usize,
    /// Columns; packed ones are rounded up to sixteen with zeros.
    cols: usize,
    to: *mut u32,
    /// Words from one pair of inner indices to the next.
    step: usize,
}

/// The instructions that a product is computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    Portable,
}

impl Way {
    pub fn of_this_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        if crate::InstructionSet::has_bf16() {
            return Self::Avx512;
        }
        Self::Portable
    }

    /// Returns the rows and the columns of a full tile.
    fn tile_size(self) -> [usize; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => [avx512::ROWS, 16 * avx512::VECTORS],
            Self::Portable => [portable::ROWS, 16 * portable::VECTORS],
        }
    }

    /// Computes a tile.
    ///
    /// # Safety
    ///
    /// The pointers of the tile reach as far as it says.
    unsafe fn tile(self, tile: &Tile<'_, u32>) {
        // SAFETY: the caller's promise; the processor was found to have what this way needs.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::tile(tile),
                Self::Portable => portable::tile(tile),
            }
        }
    }

    /// Rounds and packs one line of a left factor.
    ///
    /// # Safety
    ///
    /// `from` holds `count` numbers and `to` as many rounded up to 32, two in a place.
    unsafe fn pack_line(self, from: *const f32, count: usize, to: *mut u32) {
        // SAFETY: the caller's promise; the processor was found to have what this way needs.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::pack_line(from, count, to),
                Self::Portable => portable::pack_line(from, count, to),
            }
        }
    }

    /// Rounds and packs a panel, whose lines hold the same inner index if they are `rows`, and the
    /// same column otherwise.
    ///
    /// # Safety
    ///
    /// The panel's pointers reach as far as it says.
    unsafe fn pack(self, panel: &Panel, lines: Lines) {
        // SAFETY: the caller's promise; the processor was found to have what this way needs.
        unsafe {
            match (self, lines) {
                #[cfg(target_arch = "x86_64")]
                (Self::Avx512, Lines::OfInner) => avx512::interleave(panel),
                #[cfg(target_arch = "x86_64")]
                (Self::Avx512, Lines::OfColumn) => avx512::transpose(panel),
                (Self::Portable, Lines::OfInner) => portable::interleave(panel),
                (Self::Portable, Lines::OfColumn) => portable::transpose(panel),
            }
        }
    }
}

/// Two rounded numbers stand in a word: two channels of a pixel, or two pixels that follow each
/// other.
// SAFETY: the panels are as long as the trait says, and tiles have these sizes.
unsafe impl Factors for Way {
    type Word = u32;
    const NUMBERS: usize = 2;

    fn tile_size(self) -> [usize; 2] {
        Self::tile_size(self)
    }

    unsafe fn tile(self, tile: &Tile<'_, u32>) {
        // SAFETY: the caller's promise.
        unsafe { Self::tile(self, tile) }
    }

    fn line(self, numbers: &[f32], to: &mut [u32]) {
        assert!(to.len() >= numbers.len().next_multiple_of(32) / 2, "room for a line");
        // SAFETY: the line has room for the numbers, rounded up to 32.
        unsafe { self.pack_line(numbers.as_ptr(), numbers.len(), to.as_mut_ptr()) };
    }

    fn channels(self, image: &Framed) -> Words<'_, u32> {
        let step = image.stride();
        let mut words = Words::take(image.channels().div_ceil(2) * step + TILE_COLUMNS);
        let panel = Panel {
            from: image.numbers().as_ptr(),
            line: step,
            inner: image.channels(),
            cols: step,
            to: words.as_mut_ptr(),
            step,
        };
        // SAFETY: the panel is all channels, and there is room for their pairs.
        unsafe { self.pack(&panel, Lines::OfInner) };
        words
    }

    fn pixels(self, image: &Framed, first: usize) -> Words<'_, u32> {
        let step = image.channels().next_multiple_of(16);
        let mut words = Words::take(image.stride() / 2 * step);
        let panel = Panel {
            from: image.numbers()[first..].as_ptr(),
            line: image.stride(),
            inner: image.stride() - first,
            cols: image.channels(),
            to: words.as_mut_ptr(),
            step,
        };
        assert!(first < Self::NUMBERS, "a number of the first word");
        // SAFETY: the panel is every channel from number `first` on; a channel has an even count of
        // them, so there is room for the pairs.
        unsafe { self.pack(&panel, Lines::OfColumn) };
        words
    }
}

/// What the numbers of one line of a panel share.
#[derive(Clone, Copy)]
enum Lines {
    OfInner,
    OfColumn,
}

/// A packed block of the left factor: pair `p` of row `m` is at `m row + p step` behind `first`, or
/// in panels of [`LEFT_PANEL`] rows.
struct Left {
    first: *const u32,
    row: usize,
    step: usize,
    /// Words from one panel of rows to the next.
    panel: usize,
    /// Rows of a panel.
    rows: usize,
}

impl Left {
    fn at(&self, row: usize) -> *const u32 {
        // SAFETY: the caller asks for rows of the block alone.
        unsafe { self.first.add(row / self.rows * self.panel + row % self.rows * self.row) }
    }
}

/// The product's place: rows of numbers, `row` apart.
pub(super) struct Out {
    pub data: *mut f32,
    pub row: usize,
}

/// Computes `out = scale · a b`, or adds it to what is there.
///
/// # Safety
///
/// Both factors are inside their slices, one stride of each is 1, their inner sizes are equal and
/// all sizes are at least 1; `out` is as large as the product, apart from both, and its rows do not
/// overlap.
pub(super) unsafe fn product(out: Out, a: Matrix<'_>, b: Right<'_>, scale: f32, keep: bool) {
    // SAFETY: the caller's promise.
    unsafe { product_by(Way::of_this_processor(), out, a, b, scale, keep) }
}

unsafe fn product_by(way: Way, out: Out, a: Matrix<'_>, b: Right<'_>, scale: f32, keep: bool) {
    let ([m, k], [_, n]) = (a.shape, b.shape());
    let [tile_rows, tile_cols] = way.tile_size();
    let (block_rows, block_inner) = (m.min(MOST_ROWS), k.min(MOST_INNER));
    let pairs = block_inner.next_multiple_of(32) / 2;
    let left_places = block_rows.next_multiple_of(LEFT_PANEL) * (pairs + GAP);
    let mut left_buffer: Words<'_, u32> = Words::take(left_places);
    let left_start = left_buffer.as_mut_ptr();
    let mut right_buffer: Words<'_, u32> = Words::take(pairs * tile_cols);
    let right = right_buffer.as_mut_ptr();
    for row in (0..m).step_by(MOST_ROWS) {
        let rows = MOST_ROWS.min(m - row);
        for inner in (0..k).step_by(MOST_INNER) {
            let count = MOST_INNER.min(k - inner);
            let keep = keep || inner > 0;
            // SAFETY: rows and inner indices are inside the factor; the buffer is large enough.
            let left = unsafe { pack_left(way, a, [row, rows], [inner, count], left_start) };
            for col in (0..n).step_by(tile_cols) {
                let cols = tile_cols.min(n - col);
                let right = match b {
                    // SAFETY: the panel is inside the factor; the buffer is large enough.
                    Right::Loose(b) => unsafe {
                        pack_right(way, b, [inner, count], [col, cols], right);
                        right.cast_const()
                    },
                    Right::Packed(b) => b.panel(inner, col),
                };
                // SAFETY: the panel and the product hold these columns.
                let (columns, vectors) =
                    unsafe { Columns::side_by_side(right, out.data.add(col), cols) };
                for first in (0..rows).step_by(tile_rows) {
                    // SAFETY: packed blocks hold these rows and columns, as `out` does.
                    unsafe {
                        way.tile(&Tile {
                            a: left.at(first),
                            a_row: left.row,
                            a_step: left.step,
                            columns: &columns[..vectors],
                            b_step: cols.next_multiple_of(16),
                            sections: &[0],
                            inner: count.div_ceil(2),
                            rows: tile_rows.min(rows - first),
                            out_first: (row + first) * out.row,
                            out_row: out.row,
                            scale,
                            keep,
                        });
                    }
                }
            }
        }
    }
}

/// Packs `[first, count]` inner indices and columns of the right factor, a panel of a tile.
unsafe fn pack_right(way: Way, b: Matrix<'_>, inner: [usize; 2], cols: [usize; 2], to: *mut u32) {
    let [[inner, count], [col, cols]] = [inner, cols];
    let at = inner * b.strides[0] + col * b.strides[1];
    let (line, lines) = lines_of(b.t());
    let step = cols.next_multiple_of(16);
    let panel = Panel { from: b.data[at..].as_ptr(), line, inner: count, cols, to, step };
    // SAFETY: the caller's promise.
    unsafe { way.pack(&panel, lines) };
}

/// A right factor, which many products share.
#[derive(Debug)]
pub(super) struct Packed {
    pairs: Words<'static, u32>,
    /// Inner indices and columns.
    shape: [usize; 2],
}

impl Packed {
    /// Rounds and packs a whole factor, which lies inside its slice, has a stride of 1 and no size
    /// of 0.
    pub fn new(b: Matrix<'_>) -> Self {
        Self::by(Way::of_this_processor(), b)
    }

    fn by(way: Way, b: Matrix<'_>) -> Self {
        let [k, n] = b.shape;
        assert!(k * n > 0 && b.strides.contains(&1), "a matrix of lines");
        assert!(b.reach() <= b.data.len(), "the factor is inside its slice");
        let pairs = Words::take(n.next_multiple_of(16) * k.div_ceil(2));
        let mut packed = Self { pairs, shape: b.shape };
        let [_, tile_cols] = way.tile_size();
        for inner in (0..k).step_by(MOST_INNER) {
            for col in (0..n).step_by(tile_cols) {
                let sizes = [[inner, MOST_INNER.min(k - inner)], [col, tile_cols.min(n - col)]];
                let at = packed.offset(inner, col);
                // SAFETY: the panel is inside the factor, and behind its offset there is room.
                unsafe {
                    let to = packed.pairs.as_mut_ptr().add(at);
                    pack_right(way, b, sizes[0], sizes[1], to);
                }
            }
        }
        packed
    }

    /// Returns where the panel of a tile's columns begins in a block of inner indices: in front of
    /// it are all columns of earlier blocks and this block's pairs of earlier columns.
    fn offset(&self, inner: usize, col: usize) -> usize {
        let [k, n] = self.shape;
        let pairs = MOST_INNER.min(k - inner).div_ceil(2);
        inner / 2 * n.next_multiple_of(16) + pairs * col
    }

    fn panel(&self, inner: usize, col: usize) -> *const u32 {
        self.pairs[self.offset(inner, col)..].as_ptr()
    }
}

/// The right factor of a product.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// Numbers that are packed on the way.
    Loose(Matrix<'a>),
    /// A factor that was packed before.
    Packed(&'a Packed),
}

impl Right<'_> {
    /// Returns the inner indices and the columns.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Loose(matrix) => matrix.shape,
            Self::Packed(packed) => packed.shape,
        }
    }
}

/// Returns the distance of a matrix's lines and what one of them holds, given a matrix of columns
/// and inner indices.
fn lines_of(matrix: Matrix<'_>) -> (usize, Lines) {
    let [of_column, of_inner] = matrix.strides;
    if of_column == 1 { (of_inner, Lines::OfInner) } else { (of_column, Lines::OfColumn) }
}

/// Packs `[first, count]` rows and inner indices of the left factor.
unsafe fn pack_left(
    way: Way,
    a: Matrix<'_>,
    rows: [usize; 2],
    inner: [usize; 2],
    to: *mut u32,
) -> Left {
    let [[row, rows], [inner, count]] = [rows, inner];
    let at = row * a.strides[0] + inner * a.strides[1];
    let from = a.data[at..].as_ptr();
    if a.strides[1] == 1 {
        let own = count.next_multiple_of(32) / 2 + GAP;
        for line in 0..rows {
            // SAFETY: the caller's promise.
            unsafe { way.pack_line(from.add(line * a.strides[0]), count, to.add(line * own)) };
        }
        return Left { first: to, row: own, step: 1, panel: 0, rows: usize::MAX };
    }
    let pairs = count.div_ceil(2);
    for first in (0..rows).step_by(LEFT_PANEL) {
        // SAFETY: the caller's promise.
        unsafe {
            let panel = Panel {
                from: from.add(first),
                line: a.strides[1],
                inner: count,
                cols: LEFT_PANEL.min(rows - first),
                to: to.add(first * pairs),
                step: LEFT_PANEL,
            };
            way.pack(&panel, Lines::OfInner);
        }
    }
    Left { first: to, row: 1, step: LEFT_PANEL, panel: LEFT_PANEL * pairs, rows: LEFT_PANEL }
}
