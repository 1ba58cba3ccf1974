//! [`Grid`]: how many patches a picture has, and the best grid for a picture under a budget.

use serde::{Deserialize, Serialize};

use crate::image::MAX_SIDE;
use crate::{MAX_PIXELS, PatchError};

/// How much more a wrong aspect weighs than an unused budget, see [`Grid::nearest`].
const ASPECT_WEIGHT: f64 = 4.0;

/// A picture as `rows x cols` patches of `patch x patch` pixels.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches from left to right.
    pub cols: usize,
    /// Pixels of a patch's side.
    pub patch: usize,
}

impl Grid {
    /// The grid of an image that is a whole number of patches, and no larger than [`MAX_PIXELS`].
    ///
    /// ```
    /// use mm_patch::Grid;
    ///
    /// let grid = Grid::of_size(64, 32, 16)?;
    /// assert_eq!(grid, Grid { rows: 2, cols: 4, patch: 16 });
    /// assert!(Grid::of_size(64, 30, 16).is_err());
    /// # Ok::<(), mm_patch::PatchError>(())
    /// ```
    pub fn of_size(width: usize, height: usize, patch: usize) -> Result<Self, PatchError> {
        positive("patch", patch)?;
        for (name, found) in [("width", width), ("height", height)] {
            if !(1..=MAX_SIDE).contains(&found) {
                return Err(PatchError::Side { name, found });
            }
            if !found.is_multiple_of(patch) {
                return Err(PatchError::Divide { name, found, patch });
            }
        }
        if width as u64 * height as u64 > MAX_PIXELS {
            return Err(PatchError::Large { width, height });
        }
        Ok(Self { rows: height / patch, cols: width / patch, patch })
    }

    /// The grid of at most `max_patches` patches that suits a picture of this size best: it keeps the aspect, uses the
    /// budget, and is nowhere larger than the picture rounded up to whole patches. A picture that divides and fits the
    /// budget so keeps its very size.
    ///
    /// Of all grids the one wins whose logarithms of aspect and area lie closest (least squares, the aspect counted
    /// four times) to those of the picture, shrunk to the budget where it is larger. A picture too long for the budget
    /// loses its aspect: one patch is the least a side can have.
    ///
    /// ```
    /// use mm_patch::Grid;
    ///
    /// assert_eq!(Grid::nearest(1920, 1080, 16, 1024)?, Grid { rows: 24, cols: 42, patch: 16 });
    /// assert_eq!(Grid::nearest(48, 32, 16, 1024)?, Grid { rows: 2, cols: 3, patch: 16 });
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

        let (mut best, mut least) = (Self { rows: 1, cols: 1, patch }, f64::INFINITY);
        for rows in 1..=most_rows.min(max_patches) {
            // For given rows the cost is a parabola in ln(cols); its bottom, from the derivative, lies between two cols.
            let bottom = (ASPECT_WEIGHT * ((rows as f64).ln() + aspect) + area
                - (rows as f64).ln())
                / (ASPECT_WEIGHT + 1.0);
            let bottom = bottom.exp().floor() as usize;
            for cols in [bottom, bottom.saturating_add(1)] {
                let cols = cols.clamp(1, most_cols.min(max_patches / rows));
                let cost = cost(rows, cols);
                if cost < least {
                    (best, least) = (Self { rows, cols, patch }, cost);
                }
            }
        }
        Ok(best)
    }

    /// Number of patches, which is the number of tokens.
    pub fn tokens(&self) -> usize {
        self.rows * self.cols
    }

    /// Numbers of one patch: three for each of its pixels.
    pub fn numbers(&self) -> usize {
        self.patch * self.patch * 3
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.cols * self.patch
    }

    /// Pixels of a column.
    pub fn height(&self) -> usize {
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
            (width, height, patch, budget) in (1usize..6000, 1usize..6000, 1usize..40, 1usize..2000)
        ) {
            let grid = Grid::nearest(width, height, patch, budget).unwrap();
            prop_assert!(grid.tokens() >= 1 && grid.tokens() <= budget);
            prop_assert!(grid.width() < width + patch && grid.height() < height + patch);
        }

        #[test]
        fn an_image_that_divides_and_fits_keeps_its_size(
            (rows, cols, patch, spare) in (1usize..40, 1usize..40, 1usize..40, 0usize..100)
        ) {
            let grid = Grid { rows, cols, patch };
            let nearest = Grid::nearest(grid.width(), grid.height(), patch, grid.tokens() + spare).unwrap();
            prop_assert_eq!(nearest, grid);
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
            let rows_of = |rows| (1..=width.div_ceil(16).min(budget / rows)).map(move |cols| cost(rows, cols));
            let least = (1..=height.div_ceil(16).min(budget)).flat_map(rows_of).fold(f64::INFINITY, f64::min);
            let Grid { rows, cols, .. } = Grid::nearest(width, height, 16, budget).unwrap();
            prop_assert!(cost(rows, cols) <= least + 1e-9);
        }
    }
}
