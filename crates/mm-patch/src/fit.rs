//! Policies that turn an image of any size into one of whole patches.

use serde::{Deserialize, Serialize};

use crate::{Grid, Image, PatchError};

/// How an image of any size becomes a whole number of patches.
///
/// ```
/// use mm_patch::{Fit, Image};
///
/// let photo = Image::filled(640, 480, [90, 120, 150]);
/// let (image, grid) = Fit::CenterCrop { width: 64, height: 64 }.apply(&photo, 16)?;
/// assert_eq!((image.width(), grid.tokens()), (64, 16));
/// # Ok::<(), mm_patch::PatchError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(tag = "policy", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fit {
    /// Crops the largest centered rectangle of the wanted aspect and resizes it. All images get the
    /// same size; borders are lost.
    CenterCrop {
        /// The width in pixels.
        width: usize,
        /// The height in pixels.
        height: usize,
    },
    /// Places the whole image, as large as it fits with its aspect kept, in the middle of a plain
    /// background.
    Pad {
        /// The width in pixels.
        width: usize,
        /// The height in pixels.
        height: usize,
        /// The color around the image.
        background: [u8; 3],
    },
    /// Resizes the whole image to [`Grid::nearest`], which nearly keeps its aspect and does not
    /// enlarge it beyond whole patches.
    Bucket {
        /// The most patches an image may have.
        max_patches: usize,
    },
    /// Shrinks the whole image until it fits, with its aspect kept, and fills up to whole patches
    /// on the right and at the bottom, as Fuyu's image processor does. A smaller image keeps its
    /// size.
    ShrinkAndFill {
        /// The most columns of pixels.
        width: usize,
        /// The most rows of pixels.
        height: usize,
        /// The color of what is filled up.
        background: [u8; 3],
    },
}

impl Fit {
    /// Returns the image under this policy, and its grid. A size of the policy that is not a whole
    /// number of patches is an error.
    pub fn apply(&self, image: &Image, patch: usize) -> Result<(Image, Grid), PatchError> {
        match *self {
            Self::CenterCrop { width, height } => {
                let grid = Grid::of_size(width, height, patch)?;
                Ok((center_crop(image, width, height), grid))
            }
            Self::Pad { width, height, background } => {
                let grid = Grid::of_size(width, height, patch)?;
                Ok((pad(image, Image::filled(width, height, background)), grid))
            }
            Self::Bucket { max_patches } => {
                let grid = Grid::nearest(image.width(), image.height(), patch, max_patches)?;
                Ok((image.resize(grid.width(), grid.height()), grid))
            }
            Self::ShrinkAndFill { width, height, background } => {
                Grid::of_size(width, height, patch)?;
                let inside = shrunk(image, width, height);
                let whole = |side: usize| side.next_multiple_of(patch);
                let (width, height) = (whole(inside.width()), whole(inside.height()));
                let grid = Grid::of_size(width, height, patch)?;
                let mut canvas = Image::filled(width, height, background);
                canvas.paste(&inside, 0, 0);
                Ok((canvas, grid))
            }
        }
    }
}

/// Crops first and resizes then, because the other way round a long strip would grow beyond all
/// memory.
fn center_crop(image: &Image, width: usize, height: usize) -> Image {
    let (kept_width, kept_height) = inscribed(width, height, image.width(), image.height());
    let (x, y) = ((image.width() - kept_width) / 2, (image.height() - kept_height) / 2);
    image.crop(x, y, kept_width, kept_height).resize(width, height)
}

fn pad(image: &Image, mut canvas: Image) -> Image {
    let (width, height) = inscribed(image.width(), image.height(), canvas.width(), canvas.height());
    let (x, y) = ((canvas.width() - width) / 2, (canvas.height() - height) / 2);
    canvas.paste(&image.resize(width, height), x, y);
    canvas
}

/// Shrinks an image that is too large, by a triangle filter; sides are rounded down, as Fuyu's
/// image processor does.
fn shrunk(image: &Image, width: usize, height: usize) -> Image {
    if image.width() <= width && image.height() <= height {
        return image.clone();
    }
    let (across, down) =
        (width as f64 / image.width() as f64, height as f64 / image.height() as f64);
    let scaled = |side: usize| ((side as f64 * across.min(down)) as usize).max(1);
    image.resize_by_triangles(scaled(image.width()), scaled(image.height()))
}

/// Returns width and height of the largest rectangle with the aspect of `width x height` inside one
/// of `outer_width x outer_height`.
fn inscribed(
    width: usize,
    height: usize,
    outer_width: usize,
    outer_height: usize,
) -> (usize, usize) {
    let scaled = |side: usize, by: usize, over: usize| {
        let (product, over) = (side as u128 * by as u128, over as u128);
        ((product + over / 2) / over).max(1) as usize
    };
    if width as u128 * outer_height as u128 >= height as u128 * outer_width as u128 {
        (outer_width, scaled(height, outer_width, width))
    } else {
        (scaled(width, outer_height, height), outer_height)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::image::tests::gradient;

    #[test]
    fn a_center_crop_keeps_the_middle() {
        let fit = Fit::CenterCrop { width: 4, height: 4 };
        let (image, grid) = fit.apply(&gradient(10, 4), 2).unwrap();
        assert_eq!((image, grid), (gradient(10, 4).crop(3, 0, 4, 4), Grid::new(2, 2, 2)));
        let (image, _) = fit.apply(&gradient(4, 9), 2).unwrap();
        assert_eq!(image, gradient(4, 9).crop(0, 2, 4, 4));
    }

    #[test]
    fn a_padded_image_is_whole_and_centered() {
        let fit = Fit::Pad { width: 8, height: 8, background: [1, 2, 3] };
        let (image, _) = fit.apply(&gradient(8, 4), 4).unwrap();
        let mut expected = Image::filled(8, 8, [1, 2, 3]);
        expected.paste(&gradient(8, 4), 0, 2);
        assert_eq!(image, expected);

        let (image, _) = fit.apply(&Image::filled(1, 2, [200; 3]), 4).unwrap();
        let mut expected = Image::filled(8, 8, [1, 2, 3]);
        expected.paste(&Image::filled(4, 8, [200; 3]), 2, 0);
        assert_eq!(image, expected);
    }

    #[test]
    fn a_bucket_leaves_an_image_that_divides_and_fits_untouched() {
        let (image, grid) = Fit::Bucket { max_patches: 6 }.apply(&gradient(48, 32), 16).unwrap();
        assert_eq!((image, grid), (gradient(48, 32), Grid::new(2, 3, 16)));
    }

    #[test]
    fn what_is_filled_up_is_on_the_right_and_at_the_bottom() {
        let fit = Fit::ShrinkAndFill { width: 8, height: 8, background: [1; 3] };
        let (image, grid) = fit.apply(&gradient(3, 5), 2).unwrap();
        let mut expected = Image::filled(4, 6, [1; 3]);
        expected.paste(&gradient(3, 5), 0, 0);
        assert_eq!((image, grid), (expected, Grid::new(3, 2, 2)));
        // 20 x 7 is shrunk by 0.4, to 8 x 2.8.
        let (image, grid) = fit.apply(&Image::filled(20, 7, [9; 3]), 2).unwrap();
        assert_eq!((image, grid), (Image::filled(8, 2, [9; 3]), Grid::new(1, 4, 2)));
    }

    #[test]
    fn every_policy_survives_every_shape() {
        let policies = [
            Fit::CenterCrop { width: 32, height: 16 },
            Fit::Pad { width: 16, height: 32, background: [0; 3] },
            Fit::Bucket { max_patches: 40 },
            Fit::ShrinkAndFill { width: 16, height: 32, background: [0; 3] },
        ];
        for (width, height) in [(1, 1), (1, 5000), (5000, 1), (3, 700), (257, 255)] {
            let flat = Image::filled(width, height, [77; 3]);
            for fit in policies {
                let (image, grid) = fit.apply(&flat, 8).unwrap();
                assert_eq!((image.width(), image.height()), (grid.width(), grid.height()));
                assert!(image.rgb().contains(&77), "{fit:?} loses {width} x {height}");
                assert!(image.rgb().iter().all(|&value| value == 77
                    || matches!(fit, Fit::Pad { .. } | Fit::ShrinkAndFill { .. })));
            }
        }
    }

    #[test]
    fn a_size_that_is_not_a_whole_number_of_patches_is_refused() {
        let image = gradient(20, 20);
        for fit in [
            Fit::CenterCrop { width: 20, height: 16 },
            Fit::Pad { width: 16, height: 20, background: [0; 3] },
            Fit::CenterCrop { width: 0, height: 16 },
        ] {
            assert!(fit.apply(&image, 16).is_err(), "{fit:?}");
        }
        assert!(matches!(
            Fit::Bucket { max_patches: 9 }.apply(&image, 0),
            Err(PatchError::Zero { name: "patch" })
        ));
    }

    #[test]
    fn policies_are_written_by_name_and_misspelled_fields_refused() {
        let policies = [
            Fit::CenterCrop { width: 64, height: 32 },
            Fit::Pad { width: 64, height: 32, background: [255; 3] },
            Fit::Bucket { max_patches: 1024 },
        ];
        let lines: Vec<String> =
            policies.iter().map(|fit| serde_json::to_string(fit).unwrap() + "\n").collect();
        expect![[r#"
            {"policy":"center-crop","width":64,"height":32}
            {"policy":"pad","width":64,"height":32,"background":[255,255,255]}
            {"policy":"bucket","max_patches":1024}
        "#]]
        .assert_eq(&lines.concat());
        for (fit, line) in policies.iter().zip(&lines) {
            assert_eq!(serde_json::from_str::<Fit>(line).unwrap(), *fit);
        }
        let error =
            serde_json::from_str::<Fit>(r#"{"policy":"bucket","max_patch":9}"#).unwrap_err();
        assert!(error.to_string().contains("max_patch"), "{error}");
    }
}
