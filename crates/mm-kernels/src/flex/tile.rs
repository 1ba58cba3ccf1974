//! Tiles of products: what a kernel of some rows and some vectors of columns computes.
//!
//! A word of a factor holds a number, and of [rounded factors](super::bf16) a pair of them: an
//! inner index of a tile is then a pair of the product's.

/// The most vectors of columns of a tile.
pub(super) const MOST_VECTORS: usize = 3;
/// The most columns of a tile.
pub(super) const TILE_COLUMNS: usize = 16 * MOST_VECTORS;

/// One tile of a product, by pointers into packed factors.
pub(super) struct Tile<'a, T> {
    /// Inner index `p` of row `m` is at `m a_row + p a_step`.
    pub a: *const T,
    pub a_row: usize,
    pub a_step: usize,
    /// There are one to [`MOST_VECTORS`] vectors, at most as many as a tile of the way has.
    pub columns: &'a [Columns<T>],
    /// The words from one inner index to the next in the right factor.
    pub b_step: usize,
    /// Where in the right factor the sections of the inner index begin, as words behind those of
    /// the columns. In the left factor they follow each other.
    pub sections: &'a [usize],
    /// The inner indices of a section, at least one.
    pub inner: usize,
    pub rows: usize,
    /// Where the first row goes behind the columns' first numbers.
    pub out_first: usize,
    pub out_row: usize,
    pub scale: f32,
    /// Whether the product is added to what is there.
    pub keep: bool,
}

/// A vector of at most sixteen columns of a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns<T> {
    /// Inner index `p` of column `n` is at `p b_step + n`.
    pub b: *const T,
    /// Number `n` of row `m` goes to `m out_row + n`.
    pub out: *mut f32,
    pub count: usize,
}

impl<T> Columns<T> {
    /// Cuts columns that follow each other in the right factor and in the product into vectors.
    ///
    /// # Safety
    ///
    /// Both pointers reach as far as there are columns, at least one and at most [`TILE_COLUMNS`].
    pub unsafe fn side_by_side(
        b: *const T,
        out: *mut f32,
        count: usize,
    ) -> ([Self; MOST_VECTORS], usize) {
        let vector = |n: usize| {
            let at = 16 * n.min(count.div_ceil(16) - 1);
            // SAFETY: the caller's promise.
            unsafe { Self { b: b.add(at), out: out.add(at), count: (count - at).min(16) } }
        };
        (std::array::from_fn(vector), count.div_ceil(16))
    }
}

/// Calls a kernel of AVX-512 that is generic over the rows, at most eight, and the vectors, at most
/// three, of a tile.
#[cfg(target_arch = "x86_64")]
macro_rules! of_its_size {
    ($kernel:ident, $tile:ident) => {
        match $tile.columns.len() {
            1 => of_its_size!($kernel, $tile, 1),
            2 => of_its_size!($kernel, $tile, 2),
            _ => of_its_size!($kernel, $tile, 3),
        }
    };
    ($kernel:ident, $tile:ident, $vectors:literal) => {
        match $tile.rows {
            1 => $kernel::<1, $vectors>($tile),
            2 => $kernel::<2, $vectors>($tile),
            3 => $kernel::<3, $vectors>($tile),
            4 => $kernel::<4, $vectors>($tile),
            5 => $kernel::<5, $vectors>($tile),
            6 => $kernel::<6, $vectors>($tile),
            7 => $kernel::<7, $vectors>($tile),
            _ => $kernel::<8, $vectors>($tile),
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use of_its_size;
