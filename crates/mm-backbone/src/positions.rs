//! Two-dimensional positions for everything: where text tokens and patches stand on one plane.
//!
//! A text token stands on the diagonal, `(n, n)`, so that pure text has the usual 1-D RoPE. An
//! image of `rows x cols` patches after a text that ended at position `L` (the last text token
//! stands at `L`) is placed by the scheme; `w` is cols, `h` is rows, `i` and `j` count from 1:
//!
//! | scheme | row of a patch | column of a patch | next text |
//! | --- | --- | --- | --- |
//! | RoPE-TV | `L + (wh - h)/2 + i` | `L + (wh - w)/2 + j` | `L + wh + 1` |
//! | RoPE-Tie | `L + i (wh + 1)/(h + 1)` | `L + j (wh + 1)/(w + 1)` | `L + wh + 1` |
//! | halves | `L + i` | `L + j` | `L + max(w, h) + 1` |
//! | sequence | `L + w(i - 1) + j` | `L + w(i - 1) + j` | `L + wh + 1` |
//!
//! Sources: RoPE-Tie, kexue.fm/archives/10040; RoPE-TV, kexue.fm/archives/10352. The network of
//! `su2024` has images alone, and "halves" is its layout of channels with the plain grid of
//! positions; relative positions are all that rotary embedding sees.

use serde::{Deserialize, Serialize};

/// How positions are assigned and which channels turn with which axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PositionScheme {
    /// Unit spacing inside an image, equal gaps before and after it; frequencies alternate row,
    /// column.
    RopeTv,
    /// The image stretched over the interval that its tokens take; frequencies alternate row,
    /// column.
    RopeTie,
    /// The layout of `su2024`: the first half of the channels turns with the row, the second with
    /// the column.
    Halves,
    /// One after another in reading order, patches as text, as in Fuyu. Every token sees those
    /// before it and no other.
    Sequence,
}

/// Hands out positions `[row, column]` from the start of a document to its end.
///
/// ```
/// use mm_backbone::{PositionScheme, Positions};
///
/// let mut positions = Positions::new(PositionScheme::RopeTv);
/// assert_eq!(positions.text(), [0.0, 0.0]);
/// assert_eq!(positions.image(1, 2), [[1.5, 1.0], [1.5, 2.0]]);
/// assert_eq!(positions.text(), [3.0, 3.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Positions {
    scheme: PositionScheme,
    last: f64,
}

impl Positions {
    /// Begins a document, whose first token will stand at `(0, 0)`.
    pub fn new(scheme: PositionScheme) -> Self {
        Self { scheme, last: -1.0 }
    }

    /// Returns the next text token's position.
    pub fn text(&mut self) -> [f64; 2] {
        self.last += 1.0;
        [self.last; 2]
    }

    /// Returns the positions of the next image's patches in reading order, `rows * cols` of them.
    pub fn image(&mut self, rows: usize, cols: usize) -> Vec<[f64; 2]> {
        let (h, w, l) = (rows as f64, cols as f64, self.last);
        if self.scheme == PositionScheme::Sequence {
            return (0..rows * cols).map(|_| self.text()).collect();
        }
        let (start, step, length) = match self.scheme {
            PositionScheme::RopeTv => ([(w * h - h) / 2.0, (w * h - w) / 2.0], [1.0, 1.0], w * h),
            PositionScheme::RopeTie => {
                ([0.0, 0.0], [(w * h + 1.0) / (h + 1.0), (w * h + 1.0) / (w + 1.0)], w * h)
            }
            PositionScheme::Halves | PositionScheme::Sequence => ([0.0, 0.0], [1.0, 1.0], w.max(h)),
        };
        self.last = l + length;
        let coordinate =
            |axis: usize, index: usize| l + start[axis] + step[axis] * (index + 1) as f64;
        (0..rows * cols).map(|k| [coordinate(0, k / cols), coordinate(1, k % cols)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rope_tv_leaves_equal_gaps_and_unit_spacing() {
        let mut positions = Positions::new(PositionScheme::RopeTv);
        assert_eq!(positions.text(), [0.0, 0.0]);
        let image = positions.image(2, 4);
        assert_eq!(image[0], [4.0, 3.0]); // L = 0: row (8 - 2)/2 + 1, column (8 - 4)/2 + 1
        assert_eq!(image[7], [5.0, 6.0]);
        assert_eq!(positions.text(), [9.0, 9.0]);
    }

    proptest! {
        #[test]
        fn an_image_lies_symmetrically_between_its_neighbors(
            rows in 1usize..9, cols in 1usize..9, before in 1usize..5, tie in any::<bool>(),
        ) {
            let scheme = if tie { PositionScheme::RopeTie } else { PositionScheme::RopeTv };
            let mut positions = Positions::new(scheme);
            let last = (0..before).map(|_| positions.text()).last().unwrap();
            let image = positions.image(rows, cols);
            let next = positions.text();
            let (first_patch, last_patch) = (image[0], image[rows * cols - 1]);
            for axis in 0..2 {
                let before = first_patch[axis] - last[axis];
                prop_assert!((before - (next[axis] - last_patch[axis])).abs() < 1e-9);
                prop_assert_eq!(next[axis] - last[axis], (rows * cols + 1) as f64);
            }
        }

        #[test]
        fn text_stands_on_the_diagonal(n in 1usize..20) {
            let mut positions = Positions::new(PositionScheme::RopeTv);
            for k in 0..n {
                prop_assert_eq!(positions.text(), [k as f64; 2]);
            }
        }
    }
}
