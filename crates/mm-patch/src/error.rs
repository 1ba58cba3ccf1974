//! What can be wrong with a picture, a size or a buffer of patches that came from outside.

/// Why pictures or patches were refused.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// A side of a picture is zero or absurdly long.
    #[error("`{name}` is {found}, wanted 1 to {max}", max = crate::image::MAX_SIDE)]
    Side {
        /// Which side.
        name: &'static str,
        /// Its length in pixels.
        found: usize,
    },
    /// A count that must be positive is zero.
    #[error("`{name}` is 0, wanted at least 1")]
    Zero {
        /// Which count.
        name: &'static str,
    },
    /// A side is no whole number of patches.
    #[error("`{name}` is {found} pixels, wanted a multiple of `patch`, which is {patch}")]
    Divide {
        /// Which side.
        name: &'static str,
        /// Its length in pixels.
        found: usize,
        /// Pixels of a patch's side.
        patch: usize,
    },
    /// More pixels than any picture may have.
    #[error("{width} x {height} pixels are too many, wanted at most {max} in all", max = crate::MAX_PIXELS)]
    Large {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// A pixel buffer does not have three bytes a pixel.
    #[error("`rgb` has {found} bytes, an image of {width} x {height} pixels wants three a pixel")]
    Pixels {
        /// Bytes given.
        found: usize,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// A picture does not have the size of its grid.
    #[error("the image is {} x {} pixels, the grid wants {} x {}", found.0, found.1, wanted.0, wanted.1)]
    Size {
        /// Width and height of the picture.
        found: (usize, usize),
        /// Width and height of the grid.
        wanted: (usize, usize),
    },
    /// A buffer of patches does not have the numbers of its grid.
    #[error(
        "`patches` has {found} numbers, a grid of {rows} x {cols} patches of {patch} x {patch} pixels wants three a pixel"
    )]
    Numbers {
        /// Numbers given.
        found: usize,
        /// Rows of the grid.
        rows: usize,
        /// Columns of the grid.
        cols: usize,
        /// Pixels of a patch's side.
        patch: usize,
    },
    /// A file of no bytes.
    #[error("the image file is empty")]
    Empty,
    /// A file of a kind that is not read.
    #[error("the image file {found}, wanted png, jpeg, webp, gif or bmp")]
    UnknownFormat {
        /// How the file looks.
        found: String,
    },
    /// A file that ends before its picture does.
    #[error("the {format} file is truncated: it ends after {found} bytes, before its image does")]
    Truncated {
        /// Format of the file.
        format: &'static str,
        /// Bytes of the file.
        found: usize,
    },
    /// A picture with more pixels than the caller allows.
    #[error("the image has {width} x {height} pixels, `max_pixels` is {max}")]
    TooManyPixels {
        /// Width that the file's header claims.
        width: u32,
        /// Height that the file's header claims.
        height: u32,
        /// Pixels allowed.
        max: u64,
    },
    /// A picture that takes more bytes than the caller allows.
    #[error("the image takes {found} bytes, `max_bytes` is {max}")]
    TooManyBytes {
        /// Bytes of the file or of its decoded pixels.
        found: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// A file that its decoder refuses.
    #[error("cannot decode the {format} file")]
    Decode {
        /// Format of the file.
        format: &'static str,
        /// The decoder's reason.
        source: image::ImageError,
    },
    /// A picture that its encoder refuses.
    #[error("cannot encode an image of {width} x {height} pixels as {format}")]
    Encode {
        /// Format wanted.
        format: &'static str,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// The encoder's reason.
        source: image::ImageError,
    },
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::{Fit, Grid, Image, PatchError, image_to_patches, patches_to_image};

    #[test]
    fn messages_name_what_was_found_and_wanted() {
        let image = Image::filled(4, 2, [0; 3]);
        let grid = Grid { rows: 1, cols: 1, patch: 4 };
        let errors: Vec<PatchError> = vec![
            Image::new(0, 2, vec![]).unwrap_err(),
            Image::new(2, 2, vec![0; 11]).unwrap_err(),
            Grid::of_size(32, 30, 16).unwrap_err(),
            Grid::of_size(32, 30, 0).unwrap_err(),
            Grid::of_size(4_000_000, 4_000_000, 8).unwrap_err(),
            Fit::Bucket { max_patches: 0 }.apply(&image, 2).unwrap_err(),
            image_to_patches(&image, grid).unwrap_err(),
            patches_to_image(&[0.0; 47], grid).unwrap_err(),
        ];
        let lines: Vec<String> = errors.iter().map(|error| format!("{error}\n")).collect();
        expect![[r#"
            `width` is 0, wanted 1 to 2147483647
            `rgb` has 11 bytes, an image of 2 x 2 pixels wants three a pixel
            `height` is 30 pixels, wanted a multiple of `patch`, which is 16
            `patch` is 0, wanted at least 1
            4000000 x 4000000 pixels are too many, wanted at most 67108864 in all
            `max_patches` is 0, wanted at least 1
            the image is 4 x 2 pixels, the grid wants 4 x 4
            `patches` has 47 numbers, a grid of 1 x 1 patches of 4 x 4 pixels wants three a pixel
        "#]]
        .assert_eq(&lines.concat());
    }
}
