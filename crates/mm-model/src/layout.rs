//! Which places of a sequence an image takes, and in which order: one place a patch, or one place a
//! byte where the bytes of pixels are tokens.

use mm_backbone::Positions;
use mm_patch::Grid;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The order in which the patches of an image follow each other, where they are written one after
/// another. But for [`Order::Masked`] it is a function of the number of rows and columns alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Order {
    /// Reading order: row by row, each from left to right.
    #[default]
    Rows,
    /// Row by row, every second one from right to left, so that neighbors follow each other.
    Snake,
    /// The nearest to the center first; what is equally far is in reading order.
    CenterOut,
    /// One fixed permutation for each size, drawn once for all.
    Random,
    /// None that is fixed: codes are masked at places drawn anew for every image, see each other,
    /// and are drawn several at once, as in MAR (Li et al. 2024, arXiv:2406.11838). The patches
    /// stand in reading order.
    Masked,
}

/// The seed of [`Order::Random`], which is a part of what a model was trained on.
const SEED: u64 = 0x6f72_6465;

impl Order {
    /// Says whether patches stand in reading order.
    pub fn is_rows(&self) -> bool {
        *self == Self::Rows
    }

    /// Says whether patches are masked and see each other.
    pub fn is_masked(&self) -> bool {
        *self == Self::Masked
    }

    /// Returns the patches in their order, each by its number in reading order.
    ///
    /// ```
    /// use mm_model::Order;
    ///
    /// assert_eq!(Order::Snake.patches(2, 3), [0, 1, 2, 5, 4, 3]);
    /// assert_eq!(Order::CenterOut.patches(3, 3), [4, 1, 3, 5, 7, 0, 2, 6, 8]);
    /// ```
    pub fn patches(&self, rows: usize, cols: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..rows * cols).collect();
        match self {
            Self::Rows | Self::Masked => {}
            Self::Snake => {
                for odd in all.chunks_mut(cols.max(1)).skip(1).step_by(2) {
                    odd.reverse();
                }
            }
            Self::CenterOut => all.sort_by_key(|at| {
                // Twice the distance along each axis, so that it is a whole number.
                let along = |at: usize, side: usize| (2 * at + 1).abs_diff(side);
                along(at / cols, rows).pow(2) + along(at % cols, cols).pow(2)
            }),
            Self::Random => {
                let seed = SEED ^ ((rows as u64) << 48) ^ ((cols as u64) << 32);
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                for last in (1..all.len()).rev() {
                    let other = rng.random::<u64>() % (last as u64 + 1);
                    all.swap(last, other as usize);
                }
            }
        }
        all
    }
}

/// Which places the patches of an image take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageLayout {
    /// The order of the patches.
    pub order: Order,
    /// Whether every value of a patch has a place of its own, as where bytes are tokens.
    pub each_value: bool,
}

impl ImageLayout {
    /// Returns how many places a patch of `grid` takes.
    pub fn places_of_patch(&self, grid: Grid) -> usize {
        if self.each_value { grid.patch_dim() } else { 1 }
    }

    /// Returns how many places an image of `grid` takes.
    pub fn places(&self, grid: Grid) -> usize {
        grid.tokens() * self.places_of_patch(grid)
    }

    /// Returns for every place the number of what stands there: of the patch in reading order, or
    /// of its number where all numbers of patches in reading order are counted.
    pub fn items(&self, grid: Grid) -> Vec<usize> {
        let each = self.places_of_patch(grid);
        let patches = self.order.patches(grid.rows, grid.cols);
        patches.into_iter().flat_map(|patch| patch * each..(patch + 1) * each).collect()
    }

    /// Returns where each place of the next image stands on the plane. The colors of a pixel stand
    /// beside each other, as columns of their own.
    pub fn positions(&self, next: &mut Positions, grid: Grid) -> Vec<[f64; 2]> {
        let items = self.items(grid);
        if !self.each_value {
            let all = next.image(grid.rows, grid.cols);
            return items.into_iter().map(|item| all[item]).collect();
        }
        let Grid { rows, cols, patch, channels } = grid;
        let width = cols * patch * channels;
        let all = next.image(rows * patch, width);
        let at = |item: usize| {
            let (of_patch, number) = (item / grid.patch_dim(), item % grid.patch_dim());
            let (row, col) = (of_patch / cols * patch, of_patch % cols * patch);
            let (pixel, color) = (number / channels, number % channels);
            all[(row + pixel / patch) * width + (col + pixel % patch) * channels + color]
        };
        items.into_iter().map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm_backbone::PositionScheme;
    use mm_patch::{Image, image_to_patches};
    use proptest::prelude::*;

    const ORDERS: [Order; 5] =
        [Order::Rows, Order::Snake, Order::CenterOut, Order::Random, Order::Masked];

    proptest! {
        #[test]
        fn every_order_has_every_patch_once(rows in 1usize..9, cols in 1usize..9) {
            for order in ORDERS {
                let mut found = order.patches(rows, cols);
                found.sort_unstable();
                prop_assert_eq!(found, (0..rows * cols).collect::<Vec<_>>());
            }
        }

        #[test]
        fn neighbors_follow_each_other_in_a_snake(rows in 1usize..9, cols in 1usize..9) {
            for pair in Order::Snake.patches(rows, cols).windows(2) {
                let apart = |axis: fn(usize, usize) -> usize| {
                    axis(pair[0], cols).abs_diff(axis(pair[1], cols))
                };
                prop_assert_eq!(apart(|at, cols| at / cols) + apart(|at, cols| at % cols), 1);
            }
        }
    }

    #[test]
    fn a_random_order_is_the_same_each_time_and_no_reading_order() {
        let found = Order::Random.patches(4, 5);
        assert_eq!(found, Order::Random.patches(4, 5));
        assert_ne!(found, Order::Rows.patches(4, 5));
        assert_ne!(Order::Random.patches(2, 8)[..8], Order::Random.patches(4, 4)[..8]);
    }

    /// Colors are written so that a byte tells its row, its column and its color.
    #[test]
    fn a_byte_stands_where_its_pixel_and_its_color_are() {
        let grid = Grid::new(1, 2, 2); // 4 x 2 pixels
        let bytes: Vec<u8> = (0..24).collect();
        let image = Image::new(4, 2, bytes).unwrap();
        let numbers = image_to_patches(&image, grid).unwrap();
        for order in ORDERS {
            let layout = ImageLayout { order, each_value: true };
            let mut next = Positions::new(PositionScheme::Halves);
            let positions = layout.positions(&mut next, grid);
            assert_eq!((positions.len(), layout.places(grid)), (24, 24));
            for (item, [row, col]) in layout.items(grid).into_iter().zip(positions) {
                let byte = ((numbers[item] + 1.0) * 127.5).round() as usize;
                assert_eq!([row, col], [(byte / 12) as f64, (byte % 12) as f64]);
            }
        }
    }
}
