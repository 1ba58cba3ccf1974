//! [`Grid`]: how many patches an image has, and the best grid for an image under a budget.

use serde::{Deserialize, Serialize};

use crate::PatchError;
use crate::image::{MAX_PIXELS, MAX_SIDE, RGB_CHANNELS};

/// How much more a wrong aspect weighs than an unused budget, see [`Grid::nearest`].
const ASPECT_WEIGHT: f64 = 4.0;

/// An image as `rows x cols` patches of `patch x patch` pixels with `channels` numbers each.
///
/// The constructors make grids of [`RGB_CHANNELS`]. Another number of channels is for tensors
/// alone, since an [`Image`](crate::Image) always has three:
///
/// ```
/// use mm_patch::{Grid, RGB_CHANNELS};
///
/// let grid = Grid::new(2, 4, 16);
/// assert_eq!((grid.channels, grid.patch_dim()), (RGB_CHANNELS, 16 * 16 * 3));
/// let gray = Grid { channels: 1, ..grid };
/// assert_eq!((gray.tokens(), gray.patch_dim()), (8, 16 * 16));
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// The number of patches from top to bottom.
    pub rows: usize,
    /// The number of patches from left to right.
    pub cols: usize,
    /// The side of a patch in pixels.
    pub patch: usize,
    /// The count of numbers of one pixel.
    pub channels: usize,
}

impl Grid {
    /// Returns the grid of `rows x cols` patches of RGB pixels.
    pub const fn new(rows: usize, cols: usize, patch: usize) -> Self {
        Self { rows, cols, patch, channels: RGB_CHANNELS }
    }

    /// Returns the grid of an RGB image whose sides in pixels are whole numbers of patches.
    ///
    /// A side that is zero, too long or not a multiple of `patch` is an error, and so are more
    /// than [`MAX_PIXELS`] pixels.
    ///
    /// ```
    /// use mm_patch::Grid;
    ///
    /// assert_eq!(Grid::of_size(64, 32, 16)?, Grid::new(2, 4, 16));
    /// assert!(Grid::of_size(64, 30, 16).is_err());
    /// # Ok::<(), mm_patch::PatchError>(())
    /// ```
    pub fn of_size(width: usize, height: usize, patch: usize) -> Result<Self, PatchError> {
        positive("patch", patch)?;
        for (name, found) in [("width", width), ("height", height)] {
            if !(1..=MAX_SIDE).contains(&found) {
                return Err(PatchError::Side { name, found, max: MAX_SIDE });
            }
            if !found.is_multiple_of(patch) {
                return Err(PatchError::Divide { name, found, patch });
            }
        }
        if width as u64 * height as u64 > MAX_PIXELS {
            return Err(PatchError::Large { width, height, max: MAX_PIXELS });
        }
        Ok(Self::new(height / patch, width / patch, patch))
    }

    /// Returns the grid of at most `max_patches` patches that suits an RGB image of this size best.
    ///
    /// The grid keeps the aspect, uses the budget, and is on neither side larger than the image
    /// rounded up to whole patches. An image that divides and fits the budget therefore keeps its
    /// exact size.
    ///
    /// The logarithms of aspect and area of the best grid are closest (in least squares, with the
    /// aspect counted four times) to those of the image, shrunk to the budget where it is larger.
    /// An image too long for the budget loses its aspect, because a side has at least one patch.
    ///
    /// ```
    /// use mm_patch::Grid;
    ///
    /// assert_eq!(Grid::nearest(1920, 1080, 16, 1024)?, Grid::new(24, 42, 16));
    /// assert_eq!(Grid::nearest(48, 32, 16, 1024)?, Grid::new(2, 3, 16));
    /// # Ok::<(), mm_patch::PatchError>(())
    /// ```
    pub fn nearest(
        width: usize,
        height: usize,
        patch: usize,
        max_patches: usize,
    ) -> Result<Self, PatchError> {
        for (name, found) in
            [("width", width), ("height", height), ("patch", patch), ("max_patches", max_patches)]
        {
            positive(name, found)?;
        }
        let (most_rows, most_cols) = (height.div_ceil(patch), width.div_ceil(patch));
        let aspect = (width as f64).ln() - (height as f64).ln();
        let natural = (width as f64).ln() + (height as f64).ln() - 2.0 * (patch as f64).ln();
        let area = natural.min((max_patches as f64).ln());
        let cost = |rows: usize, cols: usize| {
            let (rows, cols) = ((rows as f64).ln(), (cols as f64).ln());
            ASPECT_WEIGHT * (cols - rows - aspect).powi(2) + (cols + rows - area).powi(2)
        };

        let (mut best, mut least) = (Self::new(1, 1, patch), f64::INFINITY);
        for rows in 1..=most_rows.min(max_patches) {
            // For given rows the cost is a parabola in ln(cols). The derivative gives its bottom,
            // which lies between two numbers of columns.
            let bottom = (ASPECT_WEIGHT * ((rows as f64).ln() + aspect) + area
                - (rows as f64).ln())
                / (ASPECT_WEIGHT + 1.0);
            let bottom = bottom.exp().floor() as usize;
            for cols in [bottom, bottom.saturating_add(1)] {
                let cols = cols.clamp(1, most_cols.min(max_patches / rows));
                let cost = cost(rows, cols);
                if cost < least {
                    (best, least) = (Self::new(rows, cols, patch), cost);
                }
            }
        }
        Ok(best)
    }

    /// Returns the number of patches, which is the number of tokens.
    pub const fn tokens(&self) -> usize {
        self.rows * self.cols
    }

    /// Returns the count of numbers of one patch: `channels` for each of its pixels.
    pub const fn patch_dim(&self) -> usize {
        self.patch * self.patch * self.channels
    }

    /// Returns the width of the image in pixels.
    pub const fn width(&self) -> usize {
        self.cols * self.patch
    }

    /// Returns the height of the image in pixels.
    pub const fn height(&self) -> usize {
        self.rows * self.patch
    }
}

fn positive(name: &'static str, found: usize) -> Result<(), PatchError> {
    if found == 0 { Err(PatchError::Zero { name }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    fn check_nearest(
        sizes: &[(usize, usize)],
        patch: usize,
        max_patches: usize,
        expected: expect_test::Expect,
    ) {
        let line = |&(width, height): &(usize, usize)| {
            let Grid { rows, cols, .. } = Grid::nearest(width, height, patch, max_patches).unwrap();
            format!("{width}x{height} -> {cols}x{rows}\n")
        };
        expected.assert_eq(&sizes.iter().map(line).collect::<String>());
    }

    #[test]
    fn the_nearest_grid_keeps_the_aspect_under_the_budget() {
        let sizes =
            [(512, 512), (4000, 3000), (3000, 4000), (1920, 1080), (1000, 250), (100, 5000)];
        check_nearest(
            &sizes,
            16,
            256,
            expect![[r#"
            512x512 -> 16x16
            4000x3000 -> 18x14
            3000x4000 -> 14x18
            1920x1080 -> 21x12
            1000x250 -> 32x8
            100x5000 -> 2x105
        "#]],
        );
    }

    #[test]
    fn small_and_extreme_images_get_a_grid_too() {
        let sizes = [(1, 1), (17, 17), (24, 24), (40, 8), (1, 5000), (5000, 1), (1, 2_000_000_000)];
        check_nearest(
            &sizes,
            16,
            64,
            expect![[r#"
            1x1 -> 1x1
            17x17 -> 1x1
            24x24 -> 2x2
            40x8 -> 3x1
            1x5000 -> 1x64
            5000x1 -> 64x1
            1x2000000000 -> 1x64
        "#]],
        );
    }

    proptest! {
        #[test]
        fn the_nearest_grid_keeps_budget_and_bounds(
            (width, height) in (1usize..6000, 1usize..6000),
            (patch, budget) in (1usize..40, 1usize..2000),
        ) {
            let grid = Grid::nearest(width, height, patch, budget).unwrap();
            prop_assert!(grid.tokens() >= 1 && grid.tokens() <= budget);
            prop_assert!(grid.width() < width + patch && grid.height() < height + patch);
        }

        #[test]
        fn an_image_that_divides_and_fits_keeps_its_size(
            (rows, cols, patch, spare) in (1usize..40, 1usize..40, 1usize..40, 0usize..100)
        ) {
            let grid = Grid::new(rows, cols, patch);
            let budget = grid.tokens() + spare;
            let nearest = Grid::nearest(grid.width(), grid.height(), patch, budget);
            prop_assert_eq!(nearest.unwrap(), grid);
        }

        #[test]
        fn the_short_search_finds_what_the_long_one_finds(
            (width, height, budget) in (1usize..900, 1usize..900, 1usize..80)
        ) {
            let cost = |rows: usize, cols: usize| {
                let area = ((width * height) as f64 / 256.0).min(budget as f64);
                let aspect = (cols as f64 * height as f64) / (rows as f64 * width as f64);
                ASPECT_WEIGHT * aspect.ln().powi(2) + ((rows * cols) as f64 / area).ln().powi(2)
            };
            let mut least = f64::INFINITY;
            for rows in 1..=height.div_ceil(16).min(budget) {
                for cols in 1..=width.div_ceil(16).min(budget / rows) {
                    least = least.min(cost(rows, cols));
                }
            }
            let Grid { rows, cols, .. } = Grid::nearest(width, height, 16, budget).unwrap();
            prop_assert!(cost(rows, cols) <= least + 1e-9);
        }
    }
}
